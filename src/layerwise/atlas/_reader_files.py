"""A reader on disk: `reader.json`, `weights.safetensors`, a card, and its tokenizer if any.

Nothing in the folder is executed. The network is built anew from its library, or brought along by
the caller, and filled with the weights. Every file stands in `reader.json` with its SHA-256, and so
do the answers for an example, so that a reader either answers as when it was saved or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

import layerwise
from layerwise.atlas import _affine
from layerwise.atlas._card import card
from layerwise.atlas._facts import Facts
from layerwise.atlas._files import write_whole
from layerwise.atlas._heads import maker
from layerwise.atlas._plain import WrongShape, from_plain, to_plain
from layerwise.atlas._reader import Reader
from layerwise.errors import LayerwiseError
from layerwise.models import ImagePreparation, Layer, Layout, TextPreparation
from layerwise.models._architecture import Architecture
from layerwise.models._checkpoint import load_weights
from layerwise.models._feed import Feed
from layerwise.models._hooks import at_rest
from layerwise.models._own import AsIs, own_feed, stack
from layerwise.models._text import TextCollate
from layerwise.search import Mahalanobis
from layerwise.taps import Cut
from layerwise.taps._cut import without

FORMAT = 1
"""The version of `reader.json` that is written and read."""

_NAME, _WEIGHTS, _TOKENIZER, _CARD = (
    "reader.json",
    "weights.safetensors",
    "tokenizer.json",
    "README.md",
)
_CLOSE = 1e-3
_BODY, _INNER = "cut._cut.", "network."


def save_reader(reader: Reader, folder: str | Path) -> Path:
    """Write a reader into a folder, together with a card that says what it is.

    Args:
        reader: what to write.
        folder: made where there is none.

    Returns:
        The path of `reader.json`.

    Raises:
        LayerwiseError: the folder cannot be written.
    """
    folder = Path(folder)
    prepare = reader.feed.prepare
    contents = {_WEIGHTS: safetensors.torch.save(_tensors(reader))}
    if isinstance(prepare, TextPreparation):
        contents[_TOKENIZER] = prepare.tokenizer.backend_tokenizer.to_str().encode()
    with at_rest(reader):
        answers, _ = reader(reader.known_batch())
    body = {
        "format": FORMAT,
        "layerwise": layerwise.__version__,
        "facts": to_plain(reader.facts),
        "layers": [to_plain(layer) for layer in reader.cut.layers],
        "architecture": None if reader.architecture is None else asdict(reader.architecture),
        "preparation": _preparation(reader.feed),
        "answers": to_plain(answers[0].tolist()),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    contents[_CARD] = card(reader.facts, sum(map(len, contents.values()))).encode()
    for name, content in contents.items():
        write_whole(folder / name, content)
    # Last, so that a folder with a `reader.json` is whole.
    text = json.dumps(body | {"sha256": _seal(body)}, indent=1, ensure_ascii=False)
    write_whole(folder / _NAME, text.encode("utf-8", "backslashreplace"))
    return folder / _NAME


def load_reader(
    folder: str | Path,
    *,
    module: nn.Module | None = None,
    prepare: Callable[[Any], Any] | None = None,
    device: str | torch.device = "cpu",
) -> Reader:
    """Read the reader that `save_reader` wrote; it answers as the saved one did.

    Args:
        folder: with `reader.json`.
        module: the network, with any weights, where it was a module of the user's own.
        prepare: the preparation, where it was a function of the user's own.
        device: where it goes.

    Raises:
        LayerwiseError: a file is missing, was changed or is of another version; something that only
            the caller has was not given; or the reader answers otherwise than when it was saved.
    """
    folder = Path(folder)
    body = _body(folder)
    contents = {name: _checked(folder / name, seal) for name, seal in body["files"].items()}
    try:
        facts: Facts = from_plain(Facts, body["facts"], "facts")
        layers = [_layer(plain) for plain in body["layers"]]
        tensors = safetensors.torch.load(contents[_WEIGHTS])
    except (WrongShape, KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error
    architecture = _architecture(body["architecture"])
    feed = _feed(body["preparation"], contents, prepare, folder)
    network = _network(architecture, module, folder)
    short = without(network, facts.gone, shells=facts.shells)
    load_weights(short, _part(tensors, _INNER), source=str(folder))
    head, combine = _part(tensors, "head."), _part(tensors, "combine.")
    familiar = _part(tensors, "familiar.")
    reader = Reader(
        Cut(short.eval(), layers, gone=facts.gone, shells=facts.shells, note=facts.note),
        _filled(_affine.restored(combine), combine),
        _filled(maker(facts.readout).restored(head, facts.setting), head),
        Mahalanobis(familiar["means"], familiar["whiten"], familiar["classes"]),
        bounds=tensors["bounds"],
        facts=facts,
        feed=feed,
        architecture=architecture,
        example=_example(tensors),
    ).to(device)
    _require_same_answers(reader, body["answers"], folder)
    return reader


def _tensors(reader: Reader) -> dict[str, Tensor]:
    """All tensors by plain names; those that several names share, once."""
    found: dict[str, Tensor] = {}
    seen: set[tuple[int, int, tuple[int, ...]]] = set()
    for name, value in reader.state_dict().items():
        place = value.data_ptr(), value.storage_offset(), tuple(value.shape)
        if value.numel() and place in seen:
            continue
        seen.add(place)
        plain = _INNER + name.removeprefix(_BODY) if name.startswith(_BODY) else name
        found[plain] = value.detach().cpu().contiguous().clone()
    example = reader.example
    if example is not None:
        named = example if isinstance(example, Mapping) else {"": example}
        found |= {f"example.{name}": v[:1].cpu().contiguous() for name, v in named.items()}
    return found


def _preparation(feed: Feed) -> dict[str, Any]:
    prepare, collate = feed.prepare, feed.collate
    if isinstance(prepare, ImagePreparation) and collate is stack:
        return {"kind": "image"} | to_plain(prepare)
    if isinstance(prepare, TextPreparation) and isinstance(collate, TextCollate):
        return {
            "kind": "text",
            "vocabulary": prepare.vocabulary,
            "length": prepare.length,
            "pad": prepare.pad,
            "decoder_start": collate.decoder_start,
            "fill": collate.fill,
        }
    if isinstance(prepare, AsIs) and collate is stack:
        return {"kind": "tensor"}
    return {"kind": "own", "modality": feed.modality, "is": repr(prepare)}


def _feed(
    said: Mapping[str, Any],
    contents: Mapping[str, bytes],
    prepare: Callable[[Any], Any] | None,
    folder: Path,
) -> Feed:
    if said["kind"] == "own":
        if prepare is None:
            raise LayerwiseError(
                f"the reader {str(folder)!r} was fitted with a preparation of your own "
                f"({said['is'][:80]}); give it with prepare="
            )
        return own_feed(prepare, said["modality"])
    if said["kind"] == "image":
        size, crop = said["size"], said["crop"]
        return Feed(
            "image",
            ImagePreparation(
                tuple(size) if isinstance(size, list) else size,
                tuple(crop) if crop is not None else None,
                said["interpolation"],
                tuple(said["mean"]),
                tuple(said["std"]),
                said["odd"],
            ),
            stack,
        )
    if said["kind"] == "text":
        from tokenizers import Tokenizer
        from transformers import PreTrainedTokenizerFast

        rules = Tokenizer.from_str(contents[_TOKENIZER].decode())
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=rules)
        return Feed(
            "text",
            TextPreparation(tokenizer, said["vocabulary"], said["length"], said["pad"]),
            TextCollate(
                pad=said["pad"], decoder_start=said["decoder_start"], fill=said.get("fill", 0)
            ),
        )
    return Feed("tensor", AsIs(), stack)


def _architecture(said: Mapping[str, Any] | None) -> Architecture | None:
    return None if said is None else Architecture(**{**said, "extra": tuple(said["extra"])})


def _network(
    architecture: Architecture | None, module: nn.Module | None, folder: Path
) -> nn.Module:
    if module is not None:
        return module
    if architecture is None:
        raise LayerwiseError(
            f"the reader {str(folder)!r} was cut from a module of your own, which no file can "
            "hold; give the module with module=, whatever its weights"
        )
    return without(architecture.build(), architecture.extra)


def _layer(plain: Mapping[str, Any]) -> Layer:
    layout = plain["layout"]
    grid = layout["grid"]
    return Layer(
        **{
            **plain,
            "shape": tuple(plain["shape"]),
            "layout": Layout(**{**layout, "grid": None if grid is None else tuple(grid)}),
        }
    )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def _filled(module: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    module.load_state_dict(state)
    return module


def _example(tensors: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor] | None:
    found = _part(tensors, "example.")
    return found.get("", found) if found else None


def _body(folder: Path) -> dict[str, Any]:
    path = folder / _NAME
    try:
        body = json.loads(path.read_bytes())
    except OSError as error:
        raise LayerwiseError(
            f"{str(folder)!r} is no reader: {_NAME} cannot be read ({error.strerror}); give a "
            "folder that `layerwise fit` wrote"
        ) from error
    except ValueError as error:
        raise _damaged(folder, f"{_NAME} is no JSON") from error
    if not isinstance(body, dict) or "format" not in body:
        raise _damaged(folder, f"{_NAME} does not say its format")
    if (number := body["format"]) != FORMAT:
        raise LayerwiseError(
            f"the reader {str(folder)!r} has format {number}, and this layerwise "
            f"{layerwise.__version__} reads format {FORMAT}; use the one that wrote it, or fit anew"
        )
    seal = body.pop("sha256", None)
    if seal != _seal(body):
        raise _damaged(folder, f"{_NAME} was changed")
    return dict(body)


def _seal(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _checked(path: Path, seal: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LayerwiseError(
            f"the reader {str(path.parent)!r} is not whole: {path.name} cannot be read "
            f"({error.strerror}); copy the folder again, or fit anew"
        ) from error
    if hashlib.sha256(content).hexdigest() != seal:
        raise _damaged(path.parent, f"{path.name} was changed")
    return content


def _damaged(folder: Path, why: str) -> LayerwiseError:
    return LayerwiseError(
        f"the reader {str(folder)!r} is not what was saved ({why}); copy the folder again, or fit "
        "anew"
    )


def _require_same_answers(reader: Reader, saved: Any, folder: Path) -> None:
    with at_rest(reader):
        answers = reader(reader.known_batch())[0][0].double().cpu()
    wanted = torch.tensor([float(value) for value in saved], dtype=torch.float64)
    scale = max(1.0, float(wanted.abs().max()))
    if len(answers) == len(wanted) and bool(((answers - wanted).abs() <= _CLOSE * scale).all()):
        return
    made = reader.facts.versions
    raise LayerwiseError(
        f"the reader {str(folder)!r} answers otherwise than when it was saved, with torch "
        f"{made.get('torch')}, timm {made.get('timm')} and transformers {made.get('transformers')};"
        " install these versions, or fit anew"
    )
