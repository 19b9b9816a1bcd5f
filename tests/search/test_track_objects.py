"""The tracker's parts against scikit-learn and loops, and clips of a moving, re-lit cut-out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.feature import match_template
from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode
from torch import Generator, Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.search import track_objects
from layerwise.search._online_dictionary import OnlineDictionary, split_code
from layerwise.search._track_objects import _overlaps, _windows


def _samples(count: int = 400) -> Tensor:
    """Sums of three out of twelve hidden directions."""
    generator = Generator().manual_seed(0)
    hidden = nn.functional.normalize(torch.randn(12, 20, generator=generator), dim=1)
    chosen = torch.rand(count, 12, generator=generator).topk(3, dim=1).indices
    weights = torch.zeros(count, 12).scatter(1, chosen, torch.rand(count, 3, generator=generator))
    return weights @ hidden


def test_codes_are_those_of_scikit_learns_lasso() -> None:
    samples = _samples(30).double()
    atoms = nn.functional.normalize(torch.randn(15, 20).double(), dim=1)
    code = OnlineDictionary(atoms, strength=0.1).code(samples, steps=2000)
    expected = sparse_encode(
        samples.numpy(), atoms.numpy(), algorithm="lasso_cd", alpha=0.1, max_iter=5000
    )
    torch.testing.assert_close(code, torch.from_numpy(expected), rtol=1e-3, atol=1e-3)


def test_learns_as_well_as_scikit_learn() -> None:
    samples = _samples()
    ours = OnlineDictionary.fit(
        samples, atoms=12, strength=0.05, passes=10, batch=20, generator=Generator().manual_seed(0)
    ).atoms
    theirs = MiniBatchDictionaryLearning(
        12, alpha=0.05, batch_size=20, max_iter=10, random_state=0
    ).fit(samples.double().numpy())

    def objective(atoms: Tensor) -> float:
        code = OnlineDictionary(atoms, strength=0.05).code(samples, steps=500)
        return float((samples - code @ atoms).square().sum() / 2 + 0.05 * code.abs().sum())

    assert objective(ours) < 1.05 * objective(torch.from_numpy(theirs.components_).float())
    assert (ours.norm(dim=1) < 1 + 1e-5).all()


def test_windows_are_pooled_cell_by_cell() -> None:
    """Each window's code, cut out and pooled on its own."""
    reach = 2
    side = 14 + 2 * reach
    patches, atoms = torch.randn(side * side, 9), torch.randn(4, 9)
    codes = split_code(patches, atoms, threshold=0.2).T.reshape(8, side, side)
    expected = []
    for y in range(2 * reach + 1):
        for x in range(2 * reach + 1):
            own = codes[:, y : y + 14, x : x + 14]
            cells = [own.amax((1, 2))]
            cells += [own[:, i : i + 7, j : j + 7].amax((1, 2)) for i in (0, 7) for j in (0, 7)]
            starts = (0, 4, 7, 11)
            cells += [own[:, i : i + 3, j : j + 3].amax((1, 2)) for i in starts for j in starts]
            expected.append(torch.cat(cells))
    expected = nn.functional.normalize(torch.stack(expected), dim=1)
    torch.testing.assert_close(_windows(patches, atoms, reach, 0.2), expected)
    assert _overlaps(reach).argmax() == len(expected) // 2


def test_two_objects_of_any_size_are_followed_and_the_rest_is_refused() -> None:
    image = nn.functional.interpolate(torch.rand(1, 3, 14, 20), (40, 60), mode="bilinear")
    masks = torch.zeros(1, 2, 40, 60)
    masks[0, 0, 5:21, 8:24] = 1
    masks[0, 1, 12:20, 30:54] = 1
    frames = torch.cat([image, image.roll((1, 2), (2, 3)), image.roll((2, 4), (2, 3))])
    tracked = track_objects(frames, masks)
    assert tracked.boxes[0].tolist() == [[8, 5, 24, 21], [30, 12, 54, 20]]
    moved = torch.tensor([[12.0, 7, 28, 23], [34, 14, 58, 22]])
    torch.testing.assert_close(tracked.boxes[2], moved, rtol=0, atol=1.0)
    assert torch.equal(tracked.boxes[0], track_objects(frames[:1], masks).boxes[0])
    with pytest.raises(LayerwiseError, match="object 1 has no place"):
        track_objects(frames, masks * torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))
    with pytest.raises(LayerwiseError, match="4 masks of 2 objects for 3 frames"):
        track_objects(frames, masks.repeat(4, 1, 1, 1))
    with pytest.raises(LayerwiseError, match="radius=0"):
        track_objects(frames, masks, radius=0.0)


_SIDE, _OBJECT, _FRAMES = 160, 44, 24


def _clip(thing: Tensor, ground: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A square of one picture moves over another, turns, changes its light, and is half covered.

    Returns the frames, the object's boxes, and the mask of the first frame.
    """
    low, high = 20, _SIDE - 20 - _OBJECT
    top, left = torch.randint(low, high, (2,), generator=generator).tolist()
    cut = thing[None, :, top : top + _OBJECT, left : left + _OBJECT]
    phase = 6.28 * torch.rand(3, generator=generator)
    line = torch.arange(_SIDE) + 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    frames, boxes = [], []
    for t in range(_FRAMES):
        wave = torch.tensor(6.28 * t)
        middle_x = _SIDE / 2 + 45 * (wave / 37 + phase[0]).sin()
        middle_y = _SIDE / 2 + 45 * (wave / 29 + phase[1]).sin()
        angle = 0.5 * (wave / 40 + phase[2]).sin() - 0.5 * phase[2].sin()
        u, v = (x - middle_x) * 2 / _OBJECT, (y - middle_y) * 2 / _OBJECT
        grid = torch.stack(
            [angle.cos() * u + angle.sin() * v, angle.cos() * v - angle.sin() * u], 2
        )
        seen = nn.functional.grid_sample(
            cut, grid[None], padding_mode="reflection", align_corners=False
        )[0]
        light = (0.7 + 0.3 * (wave / 23).cos() + 0.35 * (wave / 31).sin() * u).clamp(0.2, 1.4)
        inside = torch.stack([u, v]).abs().amax(0) < 1
        frame = torch.where(inside, (seen * light).clamp(0, 1), ground)
        passed = (t - _FRAMES // 3) / (_FRAMES // 6)
        if 0 <= passed < 1:
            bar = (u - 2 * passed + 1).abs() < 0.44
            frame = torch.where(bar & (v.abs() < 1.4), 0.5, frame)
        frames.append(frame)
        half = _OBJECT / 2
        corners = [middle_x - half, middle_y - half, middle_x + half, middle_y + half]
        boxes.append(torch.stack(corners))
    left, top, right, bottom = boxes[0].round().long().tolist()
    mask = torch.zeros(1, 1, _SIDE, _SIDE)
    mask[0, 0, top:bottom, left:right] = 1
    return torch.stack(frames), torch.stack(boxes), mask


def _template(frames: Tensor, box: Tensor) -> Tensor:
    """Normalised cross-correlation with frame 1, as far from the last box as the tracker looks."""
    left, top, right, bottom = box.round().long().tolist()
    wide, high, reach = right - left, bottom - top, (right - left) // 2
    grey = frames.mean(1).numpy()
    template = grey[0, top:bottom, left:right]
    path = [(left, top)]
    for frame in grey[1:]:
        x, y = path[-1]
        margin = reach + wide
        around = np.pad(frame, margin, mode="edge")[
            y - reach + margin : y + reach + high + margin,
            x - reach + margin : x + reach + wide + margin,
        ]
        alike = match_template(around, template)
        down, right = np.unravel_index(alike.argmax(), alike.shape)
        path.append((x - reach + int(right), y - reach + int(down)))
    return torch.tensor([[x, y, x + wide, y + high] for x, y in path]).float()


def _overlap(found: Tensor, truth: Tensor) -> float:
    """Mean intersection over union after the first frame."""
    low, high = (
        torch.maximum(found[1:, :2], truth[1:, :2]),
        torch.minimum(found[1:, 2:], truth[1:, 2:]),
    )
    shared = (high - low).clamp(min=0).prod(1)
    sizes = [(boxes[1:, 2:] - boxes[1:, :2]).prod(1) for boxes in (found, truth)]
    return (shared / (sizes[0] + sizes[1] - shared)).mean().item()


@pytest.mark.slow
def test_follows_better_than_a_template_and_learning_on_helps(scenes: Tensor, claim) -> None:
    pictures = nn.functional.interpolate(scenes, size=_SIDE, mode="bilinear", antialias=True)
    runs = []
    for seed in range(3):
        generator = Generator().manual_seed(seed)
        run: dict[str, float] = {"online": 0.0, "frame 1": 0.0, "template": 0.0}
        for _ in range(2):
            thing, ground = pictures[torch.randperm(20, generator=generator)[:2]]
            frames, boxes, mask = _clip(thing, ground, generator)
            for name, online in (("online", True), ("frame 1", False)):
                found = track_objects(frames, mask, online=online)
                run[name] += _overlap(found.boxes[:, 0], boxes) / 2
            run["template"] += _overlap(_template(frames, boxes[0]), boxes) / 2
        runs.append(run)
    means = {name: sum(run[name] for run in runs) / 3 for name in runs[0]}
    better = all(run["online"] > run["template"] for run in runs)
    claim(
        paper="P149",
        says="6 clips of a cut-out that moves, turns, is re-lit and partly covered: the mean "
        "overlap with its box is above that of a fixed template by normalised cross-correlation, "
        "in each of 3 draws",
        measured={key: means[key] for key in ("online", "template")},
        holds=better,
    )
    claim(
        paper="P149",
        says="the same clips: a dictionary that goes on learning follows at least as well, in the "
        "mean, as the atoms of frame 1",
        measured={key: means[key] for key in ("online", "frame 1")},
        holds=means["online"] >= means["frame 1"],
    )
    assert means["online"] > means["template"]
