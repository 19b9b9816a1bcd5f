"""An exported file beside its reader: the same answers, how large it is, and how fast.

The file is opened by what will run it, onnxruntime or torch, and given the very batches that the
reader is given. Times are medians on the clock; the two alternate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, final

import torch
from torch import Tensor

from layerwise.atlas._reader import Reader
from layerwise.data import Samples, batches
from layerwise.errors import LayerwiseError
from layerwise.models._examples import Inputs, repeated
from layerwise.models._hooks import at_rest

Run = Callable[[Inputs], tuple[Tensor, Tensor]]
"""From a batch to answers and strangeness."""

_CLOSE = 1e-4
_BATCHES = (1, 32)


@final
@dataclass(frozen=True)
class Exported:
    """What an exported file is worth; pairs are the reader's and the file's.

    Args:
        samples: that both answered.
        difference: the largest of an answer, in parts of the largest answer where that is above 1.
        megabytes: of the reader's tensors and of the file.
        batches: sizes of batches that were timed.
        milliseconds: of a sample in a batch of each size.
    """

    samples: int
    difference: float
    megabytes: tuple[float, float]
    batches: tuple[int, ...]
    milliseconds: tuple[tuple[float, float], ...]


def compare_export(
    reader: Reader,
    path: str | Path,
    samples: Samples | None = None,
    *,
    batch_size: int = 8,
    repeats: int = 5,
) -> Exported:
    """Run an exported file beside the reader that it was made from.

    Args:
        reader: on the CPU.
        path: what `export_onnx` or `export_program` wrote.
        samples: to answer for; without them, the reader's example alone.
        batch_size: samples in a forward.
        repeats: how often each is timed; the median counts.

    Raises:
        LayerwiseError: `onnxruntime` is missing, none of the samples can be read, or the answers
            differ by more than 1e-4.
    """
    path = Path(path)
    run = opened(path)
    given = [reader.known_batch()] if samples is None else _given(reader, samples, batch_size)
    difference = max(_difference(reader, run, inputs) for inputs in given)
    if not difference <= _CLOSE:
        raise LayerwiseError(
            f"{str(path)!r} answers otherwise than the reader, by {difference:.1e}: something in "
            f"{reader.facts.network} depends on what its example did not show; do not use the file"
        )
    first = reader.known_batch()
    timed = [_timed(reader, run, repeated(first, size), repeats) for size in _BATCHES]
    tensors = {t.data_ptr(): t.nbytes for t in reader.state_dict().values()}
    return Exported(
        samples=sum(map(_size, given)),
        difference=difference,
        megabytes=(sum(tensors.values()) / 1e6, path.stat().st_size / 1e6),
        batches=_BATCHES,
        milliseconds=tuple(timed),
    )


def opened(path: Path) -> Run:
    """An exported file, ready to answer.

    Raises:
        LayerwiseError: `onnxruntime` is missing.
    """
    if path.suffix != ".onnx":
        program = torch.export.load(path).module()
        return lambda inputs: program(*_listed(inputs))
    try:
        import onnxruntime
    except ImportError as error:
        raise LayerwiseError(
            "running ONNX needs one more package: pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session: Any = onnxruntime.InferenceSession(path, options)
    names = [each.name for each in session.get_inputs()]

    def run(inputs: Inputs) -> tuple[Tensor, Tensor]:
        # What the answer does not depend on is no input of the graph.
        held = inputs if isinstance(inputs, Mapping) else {"input": inputs}
        answers, strangeness = session.run(None, {name: held[name].numpy() for name in names})
        return torch.from_numpy(answers), torch.from_numpy(strangeness)

    return run


def _given(reader: Reader, samples: Samples, batch_size: int) -> list[Inputs]:
    plan = [list(part.tolist()) for part in torch.arange(len(samples)).split(batch_size)]
    read = batches(samples, reader.feed.prepare, plan, workers=0)
    given = [reader.batch(batch.prepared) for batch in read if batch.prepared]
    if not given:
        raise LayerwiseError(f"{samples.source!r} holds no sample that can be read")
    return given


def _difference(reader: Reader, run: Run, inputs: Inputs) -> float:
    with at_rest(reader):
        wanted, found = reader(inputs)[0], run(inputs)[0]
    return float((found - wanted).abs().max()) / max(1.0, float(wanted.abs().max()))


def _timed(reader: Reader, run: Run, inputs: Inputs, repeats: int) -> tuple[float, float]:
    taken: tuple[list[float], list[float]] = ([], [])
    with at_rest(reader):
        for _ in range(1 + repeats):
            ways: tuple[Run, Run] = (reader, run)
            for times, way in zip(taken, ways, strict=True):
                start = time.perf_counter()
                way(inputs)
                times.append(1000 * (time.perf_counter() - start) / _size(inputs))
    mine, its = (median(times[1:]) for times in taken)  # the first run warms up
    return mine, its


def _listed(inputs: Inputs) -> Sequence[Tensor]:
    return list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]


def _size(inputs: Inputs) -> int:
    return len(_listed(inputs)[0])
