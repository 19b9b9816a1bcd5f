"""LoFTR: places of two pictures that look at each other before they are matched (P222).

Coarse places, with a sine code of where they are, pass through linear attention over their own
picture and the other's. `softmax over rows x softmax over columns` of `<f_i, f_j> / (C tau)` is how
sure a pair is; mutual maxima above a threshold are matches. Around each, a window of a finer layer
is cut from both pictures, passes through one more pair of layers, and the expectation of the
middle's heat map in the other's window moves the match by a part of a coarse cell.

The paper trains a backbone along; here any two layers of a frozen network stand in, and only the
matcher learns, from random homographies of any pictures: cross-entropy of true pairs in its focal
form, and the squared shift error over the heat map's variance. Weights start so that the matcher
begins at plain matching; the code of places starts at a tenth.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from layerwise._paper import paper
from layerwise.models import Network
from layerwise.search._dense import centres, last_of_stride, rows, several
from layerwise.search._fine_windows import WINDOW, expectation, windows
from layerwise.search._homography import carry, random_homographies, relit, seen_through
from layerwise.search._linear_transformer import LinearTransformer, sine_positions
from layerwise.search._picture_matches import PictureMatches, require_pairs

_TAU = 0.1


@final
@paper(
    "LoFTR: Detector-Free Local Feature Matching with Transformers",
    year=2021,
    arxiv="2104.00680",
    no=(222,),
)
class LoFTR(nn.Module):
    """Matches two pictures, finer than the cells of a layer. Build it with `fit`.

    Args:
        coarse: layer whose places are matched.
        fine: layer that moves the matches.
        widths: channels of both.
        dims: of the matcher for both.
        pairs: of coarse layers.

    Example:
        >>> import layerwise
        >>> module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2))
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 16, 16))
        >>> image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> loftr = LoFTR.fit(network, image, coarse="2", fine="1", steps=1)
        >>> matches = loftr(network, image, image, least=0.0)[0]
        >>> bool(((matches.places - matches.others).abs() < 2).all())
        True
    """

    def __init__(
        self,
        coarse: str,
        fine: str,
        widths: tuple[int, int],
        *,
        dims: tuple[int, int] = (256, 128),
        pairs: int = 4,
    ) -> None:
        super().__init__()
        self.coarse, self.fine = coarse, fine
        self.enter = nn.utils.skip_init(nn.Linear, widths[0], dims[0])
        self.enter_fine = nn.utils.skip_init(nn.Linear, widths[1], dims[1])
        self.context = nn.utils.skip_init(nn.Linear, dims[0], dims[1])
        self.position = nn.Parameter(torch.tensor(0.1))
        self.transformer = LinearTransformer(dims[0], pairs=pairs)
        self.fine_transformer = LinearTransformer(dims[1], pairs=1)

    @classmethod
    def fit(
        cls,
        network: Network,
        image: Float[Tensor, "n 3 H W"],
        *,
        coarse: str | None = None,
        fine: str | None = None,
        dims: tuple[int, int] = (64, 32),
        pairs: int = 4,
        steps: int = 20,
        batch: int = 4,
        rate: float = 1e-3,
        strength: float = 0.3,
        generator: Generator | None = None,
    ) -> LoFTR:
        """Train on views of pictures.

        Args:
            network: any network with maps; it stays frozen.
            image: pictures to make pairs of.
            coarse: the last layer of stride 8 or less, without it.
            fine: the last layer of stride 2 or less, without it.
            dims: widths of the matcher, multiples of 8; the paper takes 256 and 128.
            pairs: of coarse layers.
            steps: of Adam; a few hundred for use.
            batch: pairs of pictures in a step.
            rate: of Adam.
            strength: how far the corners of a view move, in half sides.
            generator: for the start and the pairs.

        Raises:
            LayerwiseError: no pictures, or they are not finite; no layer with places.
        """
        network.take_example(image[:1])
        coarse = coarse or last_of_stride(network, 8)
        fine = fine or last_of_stride(network, 2)
        generator = generator or Generator().manual_seed(0)
        maps_of = several(network, image, [coarse, fine])
        widths = maps_of[0].shape[1], maps_of[1].shape[1]
        loftr = cls(coarse, fine, widths, dims=dims, pairs=pairs)
        # Drawn in one precision, so that another one changes nothing else.
        loftr._start([rows(maps).flatten(0, 1).float() for maps in maps_of], generator)
        loftr = loftr.to(image)
        optimiser = torch.optim.Adam(loftr.parameters(), lr=rate)
        for _ in range(steps):
            drawn = torch.randint(len(image), (batch,), generator=generator)
            maps = random_homographies(batch, strength=strength, generator=generator)
            views = relit(seen_through(image[drawn], maps.to(image)), generator)
            read = several(network, views, [coarse, fine])
            size = (image.shape[2], image.shape[3])
            with torch.enable_grad():
                loss = loftr._loss(read, [x[drawn] for x in maps_of], size, maps.to(image))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        return loftr.requires_grad_(False)

    def forward(
        self,
        network: Network,
        image: Float[Tensor, "n 3 H W"],
        partner: Float[Tensor, "m 3 _ _"],
        *,
        least: float = 0.2,
        border: int = 0,
        refine: bool = True,
    ) -> list[PictureMatches]:
        """Match pictures.

        Args:
            network: the one that was fitted.
            image: pictures, prepared for it.
            partner: for each of them the picture to match with.
            least: how sure a match must be.
            border: coarse cells at the edge that do not match.
            refine: move matches by the fine layer; without it they stay in the middle of cells.

        Raises:
            LayerwiseError: no pictures, not as many partners, or values that are not finite.
        """
        require_pairs(image, partner)
        (one, fine_one), (other, fine_other) = (
            several(network, x, [self.coarse, self.fine]) for x in (image, partner)
        )
        a, b = self._look(one, other)
        sure = confidence(a, b)
        inside = [_inside(maps, border) for maps in (one, other)]
        best = (sure == sure.amax(2, keepdim=True)) & (sure == sure.amax(1, keepdim=True))
        best &= (sure > least) & inside[0][:, None] & inside[1]
        fine = [fine_one, fine_other]
        sizes = [(x.shape[2], x.shape[3]) for x in (image, partner)]
        there, here = centres(one, sizes[0]), centres(other, sizes[1])
        found = []
        for n, pairs in enumerate(best):
            i, j = pairs.nonzero().unbind(1)
            scores = sure[n, i, j]
            moved = here[j]
            if refine and len(i):
                shift, _ = self._shift(
                    [maps[n] for maps in fine], sizes, (there[i], here[j]), (a[n, i], b[n, j])
                )
                cell = here.new_tensor(
                    [sizes[1][1] / fine[1].shape[3], sizes[1][0] / fine[1].shape[2]]
                )
                moved = moved + shift * (WINDOW // 2) * cell
            found.append(PictureMatches(there[i], moved, scores))
        return found

    def _look(
        self, one: Float[Tensor, "n c h w"], other: Float[Tensor, "n c _ _"]
    ) -> tuple[Tensor, Tensor]:
        """What the places of both become."""
        entered = []
        for maps in (one, other):
            places = self.enter(rows(maps))
            code = sine_positions(places.shape[2], maps.shape[2], maps.shape[3], like=places)
            entered.append(places + self.position * code)
        return self.transformer(entered[0], entered[1])

    def _shift(
        self,
        fine: list[Tensor],
        sizes: list[tuple[int, int]],
        places: tuple[Tensor, Tensor],
        context: tuple[Tensor, Tensor],
    ) -> tuple[Float[Tensor, "m 2"], Float[Tensor, " m"]]:
        """Expected place in the other's window, from -1 to 1, and its variance."""
        entered = [
            self.enter_fine(windows(maps, size, where)) + self.context(around).unsqueeze(1)
            for maps, size, where, around in zip(fine, sizes, places, context, strict=True)
        ]
        return expectation(*self.fine_transformer(entered[0], entered[1]))

    def _loss(
        self,
        view: list[Tensor],
        image: list[Tensor],
        size: tuple[int, int],
        maps: Float[Tensor, "n 3 3"],
    ) -> Float[Tensor, ""]:
        """Of views and pictures, each read at the coarse and the fine layer."""
        (one, fine_one), (other, fine_other) = view, image
        a, b = self._look(one, other)
        half = one.new_tensor([size[1], size[0]]) / 2
        places = centres(one, size)
        truth = (carry(maps, places / half - 1) + 1) * half
        cell = half * 2 / one.new_tensor([other.shape[3], other.shape[2]])
        target = (truth / cell).floor().long()
        grid = torch.tensor([other.shape[3], other.shape[2]], device=target.device)
        n, i = ((target >= 0) & (target < grid)).all(2).nonzero().unbind(1)
        if len(n) == 0:
            return self.position * 0
        j = target[n, i, 1] * other.shape[3] + target[n, i, 0]
        sure = confidence(a, b)[n, i, j].clamp(min=1e-6)
        loss = -(0.25 * (1 - sure).square() * sure.log()).mean()
        here = centres(other, size)
        fine = [fine_one, fine_other]
        step = half * 2 / one.new_tensor([fine[1].shape[3], fine[1].shape[2]])
        for k in range(len(one)):
            mine = n == k
            if not bool(mine.any()):
                continue
            p, q = i[mine], j[mine]
            shift, variance = self._shift(
                [x[k] for x in fine], [size, size], (places[p], here[q]), (a[k, p], b[k, q])
            )
            wanted = (truth[k, p] - here[q]) / (step * (WINDOW // 2))
            weight = 1 / variance.detach().clamp(min=1e-2)
            reach = (wanted.abs() <= 1).all(1)
            error = (weight * (shift - wanted).square().sum(1))[reach]
            loss = loss + error.sum() / (len(one) * max(1, len(error)) * float(weight.mean()))
        return loss

    def _start(self, places_of: list[Tensor], generator: Generator) -> None:
        """Standardised channels, turned at random: plain matching."""
        for layer, places in zip((self.enter, self.enter_fine), places_of, strict=True):
            nn.init.orthogonal_(layer.weight, generator=generator)
            scale = places.std(0, correction=0).clamp(min=1e-6) * places.shape[1] ** 0.5
            layer.weight.data.div_(scale / layer.weight.shape[0] ** 0.5)
            layer.bias.data.copy_(-layer.weight.data @ places.mean(0))
        nn.init.zeros_(self.context.weight)
        nn.init.zeros_(self.context.bias)
        self.transformer.start(generator)
        self.fine_transformer.start(generator)


def confidence(
    one: Float[Tensor, "n t d"], other: Float[Tensor, "n s d"]
) -> Float[Tensor, "n t s"]:
    """Softmax over rows times softmax over columns."""
    scores = one @ other.transpose(1, 2) / (one.shape[2] * _TAU)
    return scores.softmax(1) * scores.softmax(2)


def _inside(maps: Float[Tensor, "n c h w"], border: int) -> Tensor:
    height, width = maps.shape[2:]
    down, right = torch.arange(height), torch.arange(width)
    rows_in = (down >= border) & (down < height - border)
    columns_in = (right >= border) & (right < width - border)
    return (rows_in[:, None] & columns_in).flatten()
