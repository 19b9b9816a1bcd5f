"""Networks of `transformers`: from the hub or a folder, safetensors only, no remote code.

The class is the one that the checkpoint was saved as, so that every weight in it is used and none
is random. Weights are brought to float32. Keeping a cache for generation is switched off.
"""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.models._feed import Feed, Opened
from layerwise.models._hub import hub_answers
from layerwise.models._own import stack
from layerwise.models._processor import image_preparation
from layerwise.models._quiet import quiet
from layerwise.models._seeded import seeded
from layerwise.models._text import TextCollate, TextPreparation
from layerwise.models._towers import IMAGE, TEXT, TextTower, has_sides, one_side, parted

LONGEST = 1024
"""Most tokens of one text, for networks that take more: one long text must not fill the memory."""

_ALIGNMENT = 64
"""Bytes at whose multiples PyTorch lays tensors."""


def find_huggingface(place: str, *, random: bool) -> Opened:
    """Build a network of `transformers`, with the weights of the place or with random ones.

    Args:
        place: a name on the hub, or a folder with `config.json`, safetensors, and a tokenizer or
            an image processor; with `#image` or `#text` one side of a network of both.
        random: only the configuration is read; random weights, always the same.

    Raises:
        LayerwiseError: it cannot be fetched or read, or its weights are not complete.
    """
    import transformers

    side = "" if Path(place).expanduser().is_dir() else parted(place)[1]
    place = place.removesuffix(side)
    folder = Path(place).expanduser()
    here = folder.is_dir()
    where = str(folder) if here else place
    local = here or not hub_answers()
    try:
        with quiet(), seeded():
            config = transformers.AutoConfig.from_pretrained(
                where, trust_remote_code=False, local_files_only=local
            )
            if "use_cache" in config.to_dict():
                config.use_cache = False
            saved_as = (config.architectures or ["AutoModel"])[0]
            kind: Any = getattr(transformers, saved_as, transformers.AutoModel)
            if random:
                build = kind.from_config if kind is transformers.AutoModel else kind
                module = build(config).float()
            else:
                module = _pretrained(kind, where, config, local)
    except LayerwiseError:
        raise
    except Exception as error:
        raise LayerwiseError(
            f"hf:{place} cannot be opened: {_reason(error, here, local)}"
        ) from error
    weights = "random weights" if random else f"weights of {place}"
    card = f"{type(module).__name__} of transformers, {weights}, float32."
    name = folder.resolve().name if here else place.rsplit("/", 1)[-1]
    if side:
        module, card = _one_side(module, side, place), f"{card} Its {side.removeprefix('#')} side."
    return Opened(module.eval(), f"{name}{side}", card, partial(huggingface_feed, where, module))


def huggingface_feed(place: str, module: nn.Module) -> Feed:
    """The preparation that lies beside the weights: an image processor or a tokenizer.

    Raises:
        LayerwiseError: there is none, or the network takes neither a picture nor a text.
    """
    takes = inspect.signature(module.forward).parameters
    if "pixel_values" in takes and "input_ids" in takes:
        raise LayerwiseError(
            f"{type(module).__name__} takes pictures and texts at once; {_which(module, place)}"
        )
    if not {"pixel_values", "input_ids"} & set(takes):
        raise LayerwiseError(
            f"{type(module).__name__} takes {next(iter(takes))!r}, neither a picture nor a text; "
            "give prepare= and example="
        )
    local = Path(place).is_dir() or not hub_answers()
    try:
        with quiet():
            if "pixel_values" in takes:
                return Feed("image", image_preparation(place, local=local), stack)
            return _text_feed(place, module, local, has_decoder="decoder_input_ids" in takes)
    except LayerwiseError:
        raise
    except Exception as error:
        raise LayerwiseError(
            f"hf:{place} comes with no preparation that can be read ({_first_line(error)}); give "
            "prepare= and modality="
        ) from error


def _one_side(module: nn.Module, side: str, place: str) -> nn.Module:
    if not has_sides(module):
        raise LayerwiseError(
            f"hf:{place} is {type(module).__name__}; {IMAGE} and {TEXT} are sides of CLIP and "
            f"SigLIP: leave {side} out"
        )
    return one_side(module, side)


def _which(module: nn.Module, place: str) -> str:
    if has_sides(module):
        return f"open one side of it: hf:{place}{IMAGE} or hf:{place}{TEXT}"
    return "open the one tower you mean as a module of your own, with prepare= and modality="


def _pretrained(kind: Any, place: str, config: Any, local: bool, **pooler: bool) -> nn.Module:
    module, report = kind.from_pretrained(
        place,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=local,
        output_loading_info=True,
        **pooler,
    )
    missing = sorted(report["missing_keys"])
    if missing and not pooler and all("pooler." in key for key in missing):
        return _pretrained(kind, place, config, local, add_pooling_layer=False)
    if missing:
        raise LayerwiseError(
            f"the weights of hf:{place} do not fill {type(module).__name__}: {len(missing)} "
            f"tensors would be random, such as {', '.join(missing[:3])}"
        )
    _align(module)
    return module


def _align(module: nn.Module) -> None:
    """Move weights that lie in the file's memory to where a copy of them would lie.

    The length of a file's header says where its tensors begin, and the last bits of a product
    depend on that: the network would not give what a copy of it gives.
    """
    for value in (*module.parameters(), *module.buffers()):
        if value.data_ptr() % _ALIGNMENT:
            value.data = value.data.clone()


def _text_feed(place: str, module: nn.Module, local: bool, *, has_decoder: bool) -> Feed:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        place, trust_remote_code=False, local_files_only=local
    )
    # Where no tokenizer lies, transformers makes one that knows nothing but its special tokens.
    if len(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)) < 2:
        raise LayerwiseError(f"hf:{place} comes with no tokenizer; give prepare= and modality=")
    config: Any = module.config
    length = min(LONGEST, tokenizer.model_max_length, _places(module, config))
    prepare = TextPreparation.of(tokenizer, length=length)
    start = None
    if has_decoder:
        own = config.decoder_start_token_id
        start = prepare.pad if own is None else own
    fill = length if isinstance(module, TextTower) and module.filled else 0
    return Feed("text", prepare, TextCollate(pad=prepare.pad, decoder_start=start, fill=fill))


def _places(module: nn.Module, config: Any) -> int:
    """How many positions a network can tell apart; RoBERTa and its like skip the first few."""
    most = int(getattr(config, "max_position_embeddings", None) or LONGEST)
    for name, part in module.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            skipped = 0 if part.padding_idx is None else part.padding_idx + 1
            most = min(most, part.num_embeddings - skipped)
    return most


def _reason(error: Exception, here: bool, local: bool) -> str:
    if local and not here:
        return "the hub does not answer and the local cache does not hold it"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
