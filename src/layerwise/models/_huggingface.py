"""Opens networks of `transformers`: from the hub or a folder, safetensors only, no remote code.

The class is the one that the checkpoint was saved as, so that every weight in it is used and none
is random. Weights are brought to float32. Keeping a cache for generation is switched off.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.models._network import Inputs, Network
from layerwise.models._preparation import ImagePreparation, Interpolation, example_picture, stack
from layerwise.models._quiet import quiet
from layerwise.models._seeded import seeded
from layerwise.models._text import TextCollate, TextPreparation

EXAMPLE_TEXT = "The quick brown fox jumps over the lazy dog."
LONGEST = 1024
"""Most tokens of one text, for networks that take more: one long text must not fill the memory."""


def open_huggingface(
    place: str, *, name: str, source: str, card: str = "", random: bool = False
) -> Network:
    """Open a network of `transformers` with its own preparation.

    Args:
        place: a name on the hub, or a folder with `config.json`, safetensors and a tokenizer or
            image processor.
        name: short name for tables and files.
        source: the words that open it again.
        card: what is known of it; None writes what the configuration says.
        random: build it from its configuration with random weights, always the same.

    Raises:
        LayerwiseError: it cannot be fetched, read or fed, with the reason.
    """
    with quiet():
        module = huggingface_module(place, random=random)
        try:
            prepare, collate, modality = _feed(place, module)
        except (OSError, ValueError) as error:
            raise LayerwiseError(
                f"{source} has no preparation that could be read ({_first_line(error)}); open the "
                "module itself and give prepare="
            ) from error
    sample = example_picture() if modality == "image" else EXAMPLE_TEXT
    example: Inputs = collate([prepare(sample)])
    if isinstance(collate, TextCollate):
        collate.truncated = 0
    described = f"{type(module).__name__} of transformers, {'random weights' if random else place}"
    return Network(
        module,
        name=name,
        modality=modality,
        prepare=prepare,
        collate=collate,
        example=example,
        card=card or f"{described}, float32.",
        source=source,
    )


def huggingface_module(place: str, *, random: bool = False) -> nn.Module:
    """Build the module, with the weights of the place or with random ones.

    Raises:
        LayerwiseError: it cannot be fetched or read, or weights are missing.
    """
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False)
        if "use_cache" in config.to_dict():
            config.use_cache = False
        saved_as = (config.architectures or ["AutoModel"])[0]
        kind = getattr(transformers, saved_as, transformers.AutoModel)
        with seeded():
            if random:
                return _random(kind, config)
            return _pretrained(kind, place, config)
    except LayerwiseError:
        raise
    except Exception as error:
        where = "the folder" if Path(place).is_dir() else "the hub"
        raise LayerwiseError(
            f"hf:{place} could not be opened from {where}: {_first_line(error)}"
        ) from error


def _random(kind: Any, config: Any) -> nn.Module:
    built = kind.from_config(config) if kind.__name__ == "AutoModel" else kind(config)
    return built.float().eval()


def _pretrained(kind: Any, place: str, config: Any, **pooler: bool) -> nn.Module:
    module, report = kind.from_pretrained(
        place,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        **pooler,
    )
    missing = sorted(report["missing_keys"])
    if missing and not pooler and all("pooler." in key for key in missing):
        return _pretrained(kind, place, config, add_pooling_layer=False)
    if missing or report["mismatched_keys"]:
        wrong = missing + [str(key[0]) for key in report["mismatched_keys"]]
        raise LayerwiseError(
            f"the weights of hf:{place} do not fill {type(module).__name__}: {len(wrong)} tensors "
            f"would be random, such as {', '.join(wrong[:3])}"
        )
    return module.eval()


def _feed(
    place: str, module: nn.Module
) -> tuple[Callable[[Any], Any], Callable[[Sequence[Any]], Any], Literal["image", "text"]]:
    takes = inspect.signature(module.forward).parameters
    if "pixel_values" in takes and "input_ids" in takes:
        raise LayerwiseError(
            f"{type(module).__name__} takes pictures and texts at once; open the one tower you "
            "mean as a module of your own, with prepare="
        )
    if "pixel_values" in takes:
        return image_preparation(place), stack, "image"
    if "input_ids" in takes:
        return *_text_feed(place, module, "decoder_input_ids" in takes), "text"
    raise LayerwiseError(
        f"{type(module).__name__} takes {next(iter(takes))}, neither pictures nor texts; open it "
        "as a module of your own, with prepare= and example="
    )


def image_preparation(place: str) -> ImagePreparation:
    """The preparation that an image processor of `transformers` describes.

    Raises:
        LayerwiseError: it does more than resize, crop and normalise.
    """
    from PIL import Image
    from transformers import AutoImageProcessor

    said = AutoImageProcessor.from_pretrained(place, trust_remote_code=False).to_dict()
    size, crop = said.get("size") or {}, said.get("crop_size") or {}
    extra = [key for key in ("do_pad", "do_image_splitting", "do_thumbnail") if said.get(key)]
    plain = said.get("do_resize", True) and said.get("rescale_factor", 1 / 255) == 1 / 255
    if extra or not plain or not ("shortest_edge" in size or "height" in size):
        raise LayerwiseError(
            f"the image processor of {place} does more than resize, crop and normalise "
            f"({said.get('image_processor_type')}); open the module itself and give prepare="
        )
    normal = said.get("do_normalize", True)
    centre = (crop["height"], crop["width"]) if said.get("do_center_crop") else None
    return ImagePreparation(
        size["shortest_edge"] if "shortest_edge" in size else (size["height"], size["width"]),
        centre,
        cast(Interpolation, Image.Resampling(said["resample"]).name.lower()),
        tuple(said["image_mean"]) if normal else (0.0, 0.0, 0.0),
        tuple(said["image_std"]) if normal else (1.0, 1.0, 1.0),
    )


def _text_feed(
    place: str, module: nn.Module, has_decoder: bool
) -> tuple[TextPreparation, TextCollate]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise LayerwiseError(
            f"the tokenizer of {place} has no fast version; open the module itself, with prepare="
        )
    config: Any = module.config
    rules = tokenizer.backend_tokenizer.to_str().encode()
    length = min(LONGEST, tokenizer.model_max_length, _places(module, config))
    pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    start = config.decoder_start_token_id if has_decoder else None
    return (
        TextPreparation(tokenizer, hashlib.sha256(rules).hexdigest(), length),
        TextCollate(pad=pad, decoder_start=pad if has_decoder and start is None else start),
    )


def _places(module: nn.Module, config: Any) -> int:
    """How many positions a network can tell apart; RoBERTa and its like skip the first few."""
    most = int(config.to_dict().get("max_position_embeddings") or LONGEST)
    for name, part in module.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            most = min(most, part.num_embeddings - (part.padding_idx or -1) - 1)
    return most


def _first_line(error: Exception) -> str:
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
