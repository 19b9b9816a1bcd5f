"""A reader: from a raw sample to an answer, with nothing in it that the answer does not need.

It is the preparation, a network cut after the layers it reads, pooling, a combination of layers
where there is one, a head, a temperature that makes its probabilities honest or a margin around its
quantities, and the distance to what it was fitted on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.atlas._facts import Facts
from layerwise.atlas._predictions import Predictions, joined
from layerwise.data import Batch, Samples, SetAside, batches
from layerwise.errors import LayerwiseError
from layerwise.features import First, GeM, Last, Max, Mean
from layerwise.features.laws import Pooling
from layerwise.models import Layer
from layerwise.models._architecture import Architecture
from layerwise.models._examples import Inputs
from layerwise.models._feed import Feed
from layerwise.models._hooks import at_rest
from layerwise.search import Mahalanobis
from layerwise.taps import Cut
from layerwise.taps._channels_last import channels_last, helps_with
from layerwise.taps._read import mask_of, pooled_by

Progress = Callable[[str, int, int], None]


@final
class Reader(nn.Module):
    """Reads one target off samples. `fit_reader` builds it, `load_reader` brings it back.

    Args:
        cut: the network, up to the last layer that is read.
        combine: what is done to the pooled layers side by side.
        head: from features to scores, one column for each class, or a single one for a quantity.
        familiar: distance to the features it was fitted on.
        bounds: temperature of the scores, half width of an interval, greatest familiar distance.
        facts: all that is known of it.
        feed: how samples are prepared and joined.
        architecture: what builds the network again; None for a module of the user's own.
        example: a batch of one, where samples are tensors.
    """

    bounds: Float[Tensor, " 3"]

    def __init__(
        self,
        cut: Cut,
        combine: nn.Module,
        head: nn.Module,
        familiar: Mahalanobis,
        *,
        bounds: Float[Tensor, " 3"],
        facts: Facts,
        feed: Feed,
        architecture: Architecture | None = None,
        example: Inputs | None = None,
    ) -> None:
        super().__init__()
        self.cut = cut
        self.combine = combine
        self.head = head
        self.familiar = familiar
        self.register_buffer("bounds", bounds)
        self.facts = facts
        self.feed = feed
        self.architecture = architecture
        self.example = example
        self._reorder: bool | None = None
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where its tensors lie."""
        return self.bounds.device

    def forward(self, inputs: Inputs) -> tuple[Float[Tensor, "n c"], Float[Tensor, " n"]]:
        """Answer for a batch.

        Args:
            inputs: a batch, as `batch` makes it.

        Returns:
            Calibrated probabilities, or one quantity; and how strange each sample is: above 1 it is
            unlike anything the reader was fitted on.
        """
        return self.read(self.features(inputs))

    def read(
        self, features: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, " n"]]:
        """Answer for rows of features. See `forward`."""
        strangeness = self.familiar(features).amin(1) / self.bounds[2]
        scores = self.head(features)
        answers = (scores / self.bounds[0]).softmax(1) if self.facts.classes else scores
        return answers, strangeness

    def features(self, inputs: Inputs) -> Float[Tensor, "n d"]:
        """The features that the head reads, for a batch."""
        return self.combine(pooled(self.cut, self.facts.columns, inputs))

    def batch(self, prepared: Sequence[Any]) -> Inputs:
        """Join prepared samples on the reader's device.

        Raises:
            LayerwiseError: there are none.
        """
        if not prepared:
            raise LayerwiseError("the batch is empty; give one sample or more")
        inputs = self.feed.collate(prepared)
        if isinstance(inputs, Mapping):
            return {name: value.to(self.device) for name, value in inputs.items()}
        return inputs.to(self.device)

    def known_batch(self) -> Inputs:
        """A batch of one that is always the same, to try the reader with."""
        found = self.feed.example()
        given = self.example if found is None else found
        assert given is not None
        if isinstance(given, Mapping):
            return {name: value.to(self.device) for name, value in given.items()}
        return given.to(self.device)

    def predict(self, samples: Samples, *, batch_size: int | None = None) -> Predictions:
        """Answer for samples, all in memory.

        Args:
            samples: of the modality that the reader was fitted on.
            batch_size: samples in a forward; None chooses.

        Raises:
            LayerwiseError: there are no samples, or they are of another modality.
        """
        return joined(list(self.stream(samples, batch_size=batch_size)))

    def stream(
        self,
        samples: Samples,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Predictions]:
        """Answer for samples batch by batch; memory does not grow with their number.

        Args:
            samples: of the modality that the reader was fitted on.
            batch_size: samples in a forward; None chooses.
            workers: processes that decode samples; None chooses.
            progress: called as `progress(stage, done, total)`.

        Raises:
            LayerwiseError: there are no samples, or they are of another modality.
        """
        margin, told = float(self.bounds[1]), samples.set_aside
        for batch, rows, aside in self._run(samples, batch_size, workers, progress):
            with torch.no_grad():
                values, strangeness = self.read(rows) if len(rows) else self._nothing()
            names = tuple(samples.names[i] for i in batch.indices)
            yield Predictions(
                names,
                self.facts.classes,
                values.cpu(),
                strangeness.cpu(),
                margin,
                (*told, *aside),
                _truncated(batch, names),
            )
            told = ()

    def embed(
        self,
        samples: Samples,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[tuple[str, ...], Float[Tensor, "n d"], tuple[SetAside, ...]]]:
        """Names and features of samples batch by batch, and what was set aside. See `stream`."""
        told = samples.set_aside
        for batch, rows, aside in self._run(samples, batch_size, workers, progress):
            yield tuple(samples.names[i] for i in batch.indices), rows.cpu(), (*told, *aside)
            told = ()

    def _nothing(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(0, max(1, len(self.facts.classes))), torch.zeros(0)

    def _run(
        self,
        samples: Samples,
        batch_size: int | None,
        workers: int | None,
        progress: Progress | None,
    ) -> Iterator[tuple[Batch, Float[Tensor, "n d"], tuple[SetAside, ...]]]:
        """Batches of what could be read, its features, and the rest with reasons."""
        if samples.modality != self.feed.modality:
            raise LayerwiseError(
                f"this reader takes samples of the kind {self.feed.modality!r}, and "
                f"{samples.source!r} holds {samples.modality!r}; give data to match"
            )
        total = len(samples)
        if total == 0:
            raise LayerwiseError(f"{samples.source!r} holds no sample to read")
        size = batch_size or (8 if samples.modality == "image" else 32)
        plan = [list(range(i, min(i + size, total))) for i in range(0, total, size)]
        done = 0
        with closing(batches(samples, self.feed.prepare, plan, workers=workers)) as arriving:
            for planned, batch in zip(plan, arriving, strict=True):
                yield self._sound(batch, self._features(batch, samples), samples)
                done += len(planned)
                if progress is not None:
                    progress("reading", done, total)

    def _features(self, batch: Batch, samples: Samples) -> Float[Tensor, "n d"]:
        if not batch.prepared:
            return torch.zeros(0, self.familiar.means.shape[1])
        try:
            with at_rest(self):
                inputs = self.batch(batch.prepared)
                return self.features(channels_last(inputs) if self._reordered() else inputs)
        except LayerwiseError:
            raise
        except Exception as error:
            raise LayerwiseError(
                f"the reader fails on the batch from {samples.names[batch.indices[0]]!r}: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            ) from error

    def _reordered(self) -> bool:
        """Whether pictures are better fed with their channels last; tried once."""
        if self._reorder is None:
            self._reorder = self.feed.modality == "image" and helps_with(
                self.cut, self.known_batch(), lambda inputs: {("", ""): self.features(inputs)}
            )
        return self._reorder

    def _sound(
        self, batch: Batch, rows: Float[Tensor, "n d"], samples: Samples
    ) -> tuple[Batch, Float[Tensor, "m d"], tuple[SetAside, ...]]:
        """The batch without the samples whose features are not finite."""
        sound = rows.isfinite().all(1)
        if bool(sound.all()):
            return batch, rows, batch.set_aside
        good = sound.tolist()
        reason = "the network gives NaN or infinity for it"
        unsound = [
            SetAside(samples.names[i], reason)
            for i, kept in zip(batch.indices, good, strict=True)
            if not kept
        ]
        left = Batch(
            tuple(i for i, kept in zip(batch.indices, good, strict=True) if kept),
            [each for each, kept in zip(batch.prepared, good, strict=True) if kept],
            batch.set_aside,
        )
        return left, rows[sound], (*batch.set_aside, *unsound)


def pooled(cut: Cut, columns: Sequence[tuple[str, str]], inputs: Inputs) -> Float[Tensor, "n d"]:
    """Layers of a cut network, pooled as they flow by, side by side.

    Args:
        cut: the network.
        columns: layer and pooling of each part.
        inputs: a batch, with `attention_mask` where samples are padded.
    """
    mask = mask_of(inputs)
    parts: dict[tuple[str, str], Tensor] = {}

    def receive(layer: Layer, value: Tensor) -> None:
        ways = [pooling_named(pooling) for address, pooling in columns if address == layer.name]
        parts.update(pooled_by(ways, layer, value, mask))

    cut.run(receive, inputs)
    return torch.cat([parts[column].float() for column in columns], 1)


def pooling_named(name: str) -> Pooling:
    """The pooling of this name, as in `mean` or `gem4.6`.

    Example:
        >>> pooling_named("gem4.6")
        GeM(p=4.6, floor=1e-06)
    """
    known: list[Pooling] = [Mean(), First(), Last(), Max(), GeM()]
    for each in known:
        if each.name == name:
            return each
    try:
        return GeM(p=float(name.removeprefix("gem")))
    except ValueError as error:
        names = ", ".join(each.name for each in known)
        raise LayerwiseError(f"no pooling is called {name!r}; there are {names}") from error


def _truncated(batch: Batch, names: Sequence[str]) -> tuple[str, ...]:
    pairs = zip(names, batch.prepared, strict=True)
    return tuple(n for n, p in pairs if isinstance(p, Mapping) and p.get("truncated", False))
