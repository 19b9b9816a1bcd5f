"""Foregrounds that fit a background, found without pasting each of them in (P186).

A teacher looks at the finished composite: the foreground is pasted into the background's box, a
layer of the network is read, and a head of one 1 x 1 convolution says whether it fits. A student
sees both apart: the foreground's map of the same layer is resized to the cells of the box and laid
over the background's map, where the box was filled with the picture's mean; two 3 x 3 convolutions
have to give what the teacher's head gave for the composite (L1), and whether it fits. So each
candidate of a gallery is read once for all queries, and a query costs two small convolutions a
candidate.

The paper trains VGG19 along, as teacher and twice as student; here the network stays frozen and
only the heads learn, which is ours, as are their widths. Its triplet loss on pooled embeddings,
which serves a first coarse search, is left out.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.models import Network
from layerwise.search._dense import dense, one_layer

_MIDDLE = (0.25, 0.25, 0.75, 0.75)


@final
@paper(
    "Foreground Object Search by Distilling Composite Image Feature",
    year=2023,
    arxiv="2308.04990",
    no=(186,),
)
class CompositeDistiller(nn.Module):
    """Says which foregrounds fit which backgrounds. Build it with `fit`.

    Args:
        layer: address of what describes the pictures.
        mean: of the layer's channels.
        scale: their deviations.
        dim: channels that are distilled.

    Example:
        >>> import layerwise
        >>> module = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU())
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 16, 16))
        >>> light = torch.tensor([0.2, 0.8]).repeat(6).view(12, 1, 1, 1)
        >>> image = light * torch.ones(12, 3, 16, 16)
        >>> distiller = CompositeDistiller.fit(
        ...     network, image, image, torch.arange(12) % 2, layer="0", steps=60)
        >>> scores = distiller(network, image[:2], image[:2])
        >>> scores.argmax(1).tolist()
        [0, 1]
    """

    mean: Float[Tensor, " c"]
    scale: Float[Tensor, " c"]

    def __init__(
        self, layer: str, mean: Float[Tensor, " c"], scale: Float[Tensor, " c"], *, dim: int = 32
    ) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        skip = nn.utils.skip_init
        width = len(mean)
        self.teach = nn.Sequential(skip(nn.Conv2d, width, dim, 1), nn.ReLU())
        self.judge = skip(nn.Linear, dim, 1)
        self.mix = nn.Sequential(
            skip(nn.Conv2d, width, dim, 3, padding=1),
            nn.ReLU(),
            skip(nn.Conv2d, dim, dim, 3, padding=1),
            nn.ReLU(),
        )
        self.fit_in = skip(nn.Linear, dim, 1)

    @classmethod
    def fit(
        cls,
        network: Network,
        image: Float[Tensor, "n 3 H W"],
        partner: Float[Tensor, "n 3 H W"],
        labels: Int[Tensor, " n"],
        *,
        boxes: Float[Tensor, "n 4"] | None = None,
        layer: str = "60%",
        dim: int = 32,
        negatives: int = 3,
        steps: int = 100,
        batch: int = 32,
        rate: float = 3e-3,
        distil: float = 1.0,
        generator: Generator | None = None,
    ) -> CompositeDistiller:
        """Train the teacher on composites, then the student on the teacher.

        Args:
            network: any network of pictures; it stays frozen.
            image: backgrounds, prepared for it.
            partner: of each a foreground that fits.
            labels: kind of each pair; foregrounds of other kinds do not fit.
            boxes: where each background takes a foreground: left, top, right and bottom, as parts
                of the picture; its middle half without them.
            layer: what describes the pictures.
            dim: channels that are distilled.
            negatives: foregrounds of other kinds that each background is pasted with.
            steps: of Adam for each of both; some hundreds for use.
            batch: pairs in a step.
            rate: of Adam.
            distil: weight of the difference to the teacher's channels; 0 trains by labels alone.
            generator: for the start and the pairs.

        Raises:
            LayerwiseError: no pictures, not one foreground and label for each, one kind only,
                values that are not finite, or a box without area.
        """
        _require(image, partner, boxes)
        if len(partner) != len(image) or len(labels) != len(image) or len(labels.unique()) < 2:
            raise LayerwiseError(
                f"{len(image)} backgrounds, {len(partner)} foregrounds and {len(labels)} labels of "
                f"{len(labels.unique())} kinds; give one of each for all, of at least 2 kinds"
            )
        network.take_example(image[:1])
        layer = one_layer(network, layer).name
        drawn = generator or Generator().manual_seed(0)
        pairs, fits = _pairs(labels, negatives, drawn)
        place = _boxes(image, boxes)
        pasted = _pasted(image[pairs[:, 0]], partner[pairs[:, 1]], place[pairs[:, 0]])
        composite = dense(network, pasted, layer=layer)
        mean = composite.mean((0, 2, 3))
        scale = composite.std((0, 2, 3), correction=0).clamp(min=1e-6)
        distiller = cls(layer, mean, scale, dim=dim)
        for weight in distiller.parameters():
            if weight.ndim > 1:
                nn.init.kaiming_uniform_(weight.data, a=1.0, generator=drawn)
            else:
                nn.init.zeros_(weight.data)
        distiller = distiller.to(image)
        composite = distiller._standard(composite)
        back, front = distiller._apart(network, image, partner, place)
        for teaching in (True, False):
            parts = ("teach", "judge") if teaching else ("mix", "fit_in")
            weights = [w for part in parts for w in getattr(distiller, part).parameters()]
            optimiser = torch.optim.Adam(weights, lr=rate)
            with torch.enable_grad():
                for _ in range(steps):
                    rows = torch.randint(len(pairs), (batch,), generator=drawn)
                    seen, answer = distiller._taught(composite[rows])
                    loss = torch.zeros_like(answer[0])
                    if not teaching:
                        i, j = pairs[rows].unbind(1)
                        told = seen.detach()
                        seen, answer = distiller._mixed(back[i], front[j], place[i])
                        loss = distil * (seen - told).abs().mean()
                    loss = loss + nn.functional.binary_cross_entropy_with_logits(
                        answer, fits[rows].to(answer)
                    )
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
        return distiller.requires_grad_(False)

    def forward(
        self,
        network: Network,
        image: Float[Tensor, "n 3 H W"],
        partner: Float[Tensor, "m 3 H W"],
        *,
        boxes: Float[Tensor, "n 4"] | None = None,
    ) -> Float[Tensor, "n m"]:
        """Logits of how well each foreground fits each background, by the student.

        Args:
            network: the one that was fitted.
            image: backgrounds, prepared for it.
            partner: foregrounds; all are tried with every background.
            boxes: as in `fit`.

        Raises:
            LayerwiseError: no pictures, values that are not finite, or a box without area.
        """
        _require(image, partner, boxes)
        place = _boxes(image, boxes)
        back, front = self._apart(network, image, partner, place)
        return torch.stack(
            [
                self._mixed(one[None].expand_as(front), front, box[None].expand(len(front), -1))[1]
                for one, box in zip(back, place, strict=True)
            ]
        )

    def by_composites(
        self,
        network: Network,
        image: Float[Tensor, "n 3 H W"],
        partner: Float[Tensor, "m 3 H W"],
        *,
        boxes: Float[Tensor, "n 4"] | None = None,
    ) -> Float[Tensor, "n m"]:
        """The same by the teacher, which reads every composite. Arguments and errors alike."""
        _require(image, partner, boxes)
        place = _boxes(image, boxes)
        answers = []
        for one, box in zip(image, place, strict=True):
            pasted = _pasted(
                one[None].expand(len(partner), -1, -1, -1),
                partner,
                box[None].expand(len(partner), -1),
            )
            composite = self._standard(dense(network, pasted, layer=self.layer))
            answers.append(self._taught(composite)[1])
        return torch.stack(answers)

    def _apart(
        self, network: Network, image: Tensor, partner: Tensor, place: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Maps of backgrounds without what is in the box, and of foregrounds."""
        mean = image.mean((2, 3), keepdim=True).expand_as(image)
        maps = [dense(network, x, layer=self.layer) for x in (_pasted(image, mean, place), partner)]
        return self._standard(maps[0]), self._standard(maps[1])

    def _standard(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return (maps - self.mean[:, None, None]) / self.scale[:, None, None]

    def _taught(self, composite: Tensor) -> tuple[Tensor, Float[Tensor, " n"]]:
        seen = self.teach(composite)
        return seen, self.judge(seen.mean((2, 3)))[:, 0]

    def _mixed(self, back: Tensor, front: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.mix(_pasted(back, front, place))
        return seen, self.fit_in(seen.mean((2, 3)))[:, 0]


def _pasted(
    back: Float[Tensor, "n c h w"], front: Float[Tensor, "n c _ _"], boxes: Float[Tensor, "n 4"]
) -> Float[Tensor, "n c h w"]:
    """Foregrounds, resized, over all cells that the boxes touch."""
    grid = boxes.new_tensor([back.shape[3], back.shape[2]]).repeat(2)
    edges = torch.cat([(boxes * grid)[:, :2].floor(), (boxes * grid)[:, 2:].ceil()], 1).long()
    pasted = back.clone()
    # Equal boxes are pasted at once.
    for left, top, right, bottom in edges.unique(dim=0).tolist():
        mine = (edges == edges.new_tensor([left, top, right, bottom])).all(1)
        pasted[mine, :, top:bottom, left:right] = nn.functional.interpolate(
            front[mine], (bottom - top, right - left), mode="bilinear", antialias=True
        )
    return pasted


def _pairs(labels: Tensor, negatives: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Backgrounds with as many foregrounds that fit as do not, and which."""
    pairs, fits = [], []
    for i, label in enumerate(labels):
        same = labels == label
        for kind, wanted in ((same, True), (~same, False)):
            rows = kind.nonzero().flatten().cpu()
            kept = rows[torch.randperm(len(rows), generator=generator)[:negatives]]
            pairs += [(i, j) for j in kept.tolist()]
            fits += [wanted] * len(kept)
    return torch.tensor(pairs), torch.tensor(fits)


def _boxes(image: Tensor, boxes: Tensor | None) -> Float[Tensor, "n 4"]:
    if boxes is None:
        return image.new_tensor(_MIDDLE).expand(len(image), -1)
    return boxes.to(image)


def _require(image: Tensor, partner: Tensor, boxes: Tensor | None) -> None:
    if len(image) == 0 or len(partner) == 0:
        raise LayerwiseError(
            f"{len(image)} backgrounds and {len(partner)} foregrounds; give at least one of each"
        )
    require_finite(image, "backgrounds")
    require_finite(partner, "foregrounds")
    if boxes is not None:
        within = (boxes >= 0) & (boxes <= 1)
        if len(boxes) != len(image) or not bool(
            (within.all(1) & (boxes[:, :2] < boxes[:, 2:]).all(1)).all()
        ):
            raise LayerwiseError(
                f"{len(boxes)} boxes for {len(image)} backgrounds: give left, top, right and "
                "bottom of each, from 0 to 1, with an area"
            )
