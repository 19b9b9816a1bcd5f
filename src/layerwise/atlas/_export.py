"""A reader for programs without this library: ONNX, or a program of `torch.export`.

The reader is run once on tensors without values, and every operation is written down; what would
have run after its last layer was never reached. The file is then run beside the reader, on batches
of other sizes, before anybody gets it. What has to be done to a sample before stands beside it in
`NAME.json`, step by step, and for texts the tokenizer.
"""

from __future__ import annotations

import json
import math
import operator
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from layerwise.atlas._files import write_whole
from layerwise.atlas._reader import Reader
from layerwise.errors import LayerwiseError
from layerwise.models import ImagePreparation, TextPreparation
from layerwise.models._examples import Inputs, repeated
from layerwise.models._hooks import at_rest

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_CLOSE = 1e-4
_OUTPUTS = ["answers", "strangeness"]


def export_onnx(reader: Reader, path: str | Path) -> Path:
    """Write a reader as ONNX, with `NAME.json` that says what goes in and what comes out.

    Args:
        reader: what to write; it lies on the CPU.
        path: of the file, `NAME.onnx`.

    Raises:
        LayerwiseError: `onnxscript` is missing, or ONNX has no words for a part of the reader.
    """
    path = Path(path)
    try:
        import onnxscript  # noqa: F401 - torch needs it, and says so in many lines
    except ImportError as error:
        raise LayerwiseError("ONNX needs one more package: pip install onnxscript") from error
    program, names = _program(reader)
    _make(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                program,
                (),
                str(path),
                input_names=names,
                output_names=_OUTPUTS,
                external_data=False,
                verbose=False,
                custom_translation_table={torch.ops.aten.sort.stable: _sorted},
            )
    except Exception as error:
        raise LayerwiseError(
            f"ONNX has no words for a part of the reader on {reader.facts.network} "
            f"({_missing(error)}); write a program of torch.export instead: NAME.pt2"
        ) from error
    _describe(reader, path, names)
    return path


def export_program(reader: Reader, path: str | Path) -> Path:
    """Write a reader as a program of `torch.export`, to be loaded with `torch.export.load`.

    Args:
        reader: what to write; it lies on the CPU.
        path: of the file, `NAME.pt2`.

    Raises:
        LayerwiseError: the reader cannot be written down as a graph.
    """
    path = Path(path)
    program, names = _program(reader)
    _make(path)
    try:
        torch.export.save(program, path)
    except Exception as error:
        raise LayerwiseError(
            f"a program of torch.export has no words for a part of the reader on "
            f"{reader.facts.network} ({' '.join(str(error).split())[:100]}); write ONNX instead: "
            "NAME.onnx"
        ) from error
    _describe(reader, path, names)
    return path


def _missing(error: BaseException) -> str:
    """The operation that is missing, where the chain of errors names one."""
    found = re.search(r"op='([^']+)'", str(error))
    return found[1] if found else type(error).__name__


def _sorted(values: Any, *, stable: bool, dim: int, descending: bool = False) -> Any:  # noqa: ARG001
    """Sorting in words of ONNX: its `TopK` leaves equal values in their order."""
    from onnxscript import opset18 as onnx

    size = onnx.Shape(values, start=dim, end=dim + 1)
    return onnx.TopK(values, size, axis=dim, largest=descending, sorted=True)


def _program(reader: Reader) -> tuple[ExportedProgram, list[str]]:
    from torch.export import Dim
    from torch.fx.experimental.proxy_tensor import make_fx

    known = reader.known_batch()
    names = list(known) if isinstance(known, Mapping) else ["input"]
    given = _given(repeated(known, 2))

    def answer(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return reader(dict(zip(names, tensors, strict=True)) if names != ["input"] else tensors[0])

    shapes = tuple(dict.fromkeys(range(tensor.ndim), Dim.AUTO) for tensor in given)
    try:
        with at_rest(reader), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = make_fx(
                answer, tracing_mode="symbolic", _allow_non_fake_inputs=True, pre_dispatch=True
            )(*given)
            _say_without_ceil(traced.graph)
            traced.recompile()
            program = torch.export.export(traced, given, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        raise LayerwiseError(
            f"the reader on {reader.facts.network} cannot be written down as a graph: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    _require_same(reader, program.module(), known, answer)
    return program, names


def _say_without_ceil(graph: fx.Graph) -> None:
    """Sizes that were rounded up, `ceil(a / b)`, as `-(-a // b)`: no file has words for the first.

    Networks that pad as TensorFlow does compute their padding so.
    """
    for node in graph.find_nodes(op="call_function", target=math.ceil):
        ratio = node.args[0]
        if ratio.target is not operator.truediv:
            continue
        with graph.inserting_before(node):
            minus = graph.call_function(operator.neg, ratio.args[:1])
            down = graph.call_function(operator.floordiv, (minus, ratio.args[1]))
            up = graph.call_function(operator.neg, (down,))
        node.replace_all_uses_with(up)
        graph.erase_node(node)


def _require_same(reader: Reader, program: nn.Module, known: Inputs, answer: Any) -> None:
    """Run both on batches of one and of three, texts padded to another length."""
    for size in (1, 3):
        given = _given(_padded(repeated(known, size)))
        with at_rest(reader):
            wanted, found = answer(*given), program(*given)
        gap = max(
            float((a - b).abs().max()) / max(1.0, float(a.abs().max()))
            for a, b in zip(wanted, found, strict=True)
        )
        if not gap <= _CLOSE:
            raise LayerwiseError(
                f"the graph of the reader on {reader.facts.network} answers otherwise than the "
                f"reader, by {gap:.1e}: something in it depends on the values or sizes of a batch"
            )


def _padded(inputs: Inputs) -> Inputs:
    """Texts with two more places at their end, which the mask leaves out for all but the first."""
    if not isinstance(inputs, Mapping) or "attention_mask" not in inputs:
        return inputs
    longer = {n: torch.cat([v, v[:, -1:].repeat(1, 2)], 1) for n, v in inputs.items()}
    longer["attention_mask"][1:, -2:] = 0
    return longer


def _given(inputs: Inputs) -> tuple[Tensor, ...]:
    return tuple(inputs.values()) if isinstance(inputs, Mapping) else (inputs,)


def _make(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LayerwiseError(
            f"the folder {str(path.parent)!r} cannot be made: {error.strerror}"
        ) from error


def _describe(reader: Reader, path: Path, names: list[str]) -> None:
    facts, prepare = reader.facts, reader.feed.prepare
    told: dict[str, Any] = {
        "reads": facts.target,
        "inputs": names,
        "before": _steps(prepare),
        "outputs": {
            "answers": "probability of each class" if facts.classes else "the quantity",
            "strangeness": "above 1: unlike anything the reader was fitted on",
        },
    }
    told |= {"classes": facts.classes} if facts.classes else {"margin": float(reader.bounds[1])}
    write_whole(path.with_suffix(".json"), json.dumps(told, indent=1, ensure_ascii=False).encode())
    if isinstance(prepare, TextPreparation):
        rules = prepare.tokenizer.backend_tokenizer.to_str()
        write_whole(path.with_name("tokenizer.json"), rules.encode())


def _steps(prepare: Any) -> list[str]:
    if isinstance(prepare, ImagePreparation):
        size, crop = prepare.size, prepare.crop
        resize = (
            f"resize to {size[1]} pixels wide and {size[0]} high"
            if isinstance(size, tuple)
            else f"resize so that the shorter side has {size} pixels, the other one rounded down"
        )
        down = "down" if prepare.odd == "down" else "to the nearest even place"
        cut = (
            [
                f"cut out the centre, {crop[1]} pixels wide and {crop[0]} high; half a pixel is "
                f"rounded {down}"
            ]
            if crop is not None
            else []
        )
        return [
            "turn upright by EXIF, lay transparency on white, make it 8-bit RGB",
            f"{resize}, with Pillow's filter {prepare.interpolation}",
            *cut,
            "make it float32, channels first, and divide by 255",
            f"subtract {list(prepare.mean)} from the channels and divide by {list(prepare.std)}",
            "stack: [batch, 3, height, width]",
        ]
    if isinstance(prepare, TextPreparation):
        return [
            "encode with tokenizer.json beside this file",
            f"keep at most {prepare.length} tokens, the marks of beginning and end among them",
            f"pad at the end with {prepare.pad} to the longest text of the batch: input_ids, int64",
            "attention_mask, int64: 1 for tokens, 0 for padding",
        ]
    return [f"prepare as {prepare!r} does, and stack"]
