"""A made-up atlas that looks like a real one: for the tests of the page, and for looking at it.

`python tests/report/atlas_example.py FOLDER [KIND ...]` writes a page of every kind of survey.
The numbers come from smooth curves with noise, the pictures from scikit-image's photographs.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from layerwise.atlas._atlas import (
    Atlas,
    Choice,
    Collapse,
    Control,
    LayerMap,
    LayerPicture,
    LayerRow,
    Neighbours,
    NetworkRow,
    Provenance,
    Score,
    Shown,
    Similarity,
    TargetRow,
)
from layerwise.atlas._candidate import Candidate
from layerwise.atlas._inside_rows import Concept, Inside, Looked, StandingOut
from layerwise.atlas._price import UNBOUNDED, Budget

PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
    *("gravel.png", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "retina.jpg"),
    "rocket.jpg",
)
NAMES = {
    "efficientnet-lite0": ["conv_stem"]
    + [f"blocks.{i}.{j}" for i, n in enumerate((1, 2, 2, 3, 3, 4, 1)) for j in range(n)]
    + ["conv_head"],
    "dinov2-small": ["embeddings", *[f"encoder.layer.{i}" for i in range(12)], "layernorm"],
    "minilm-l6": ["embeddings", *[f"encoder.layer.{i}" for i in range(6)]],
    "smollm2-135m": ["model.embed_tokens", *[f"model.layers.{i}" for i in range(30)], "model.norm"],
}
TARGETS = (
    TargetRow(
        "photo", "class", tuple(p.split(".")[0] for p in PHOTOGRAPHS), "accuracy", 0.0, 0, 0, 0
    ),
    TargetRow("blur", "class", ("none", "slight", "medium", "strong"), "accuracy", 0.0, 0, 0, 0),
    TargetRow("orientation", "class", ("0°", "90°", "180°", "270°"), "accuracy", 0.0, 0, 0, 0),
    TargetRow("brightness", "number", (), "R2", 0.0, 0, 0, 0),
)
PEAKS = (0.8, 0.35, 0.65, 0.2)
TOPS = (0.99, 0.84, 0.58, 0.93)
WIDTHS = (1.2, 0.45, 0.5, 0.6)
SENTENCES = (
    "def mean(values): return sum(values) / len(values)",
    "The tutorial shows how to open a file and read it line by line.",
    "Raised when an operation runs out of memory but the situation may still be rescued.",
    "Beautiful is better than ugly. Explicit is better than implicit.",
    "This module provides access to the select() and poll() functions.",
    "Return True if all elements of the iterable are true, or if it is empty.",
)


def make_atlas(
    networks: Sequence[str] = ("efficientnet-lite0", "dinov2-small"),
    *,
    targets: Sequence[TargetRow] = TARGETS,
    modality: str = "image",
    depth: int = 0,
    samples: int = 240,
    pictures: bool = True,
    enough: bool = True,
    budget: Budget = UNBOUNDED,
    seed: int = 0,
) -> Atlas:
    """Make a whole atlas up; `depth` gives every network so many layers."""
    random = np.random.default_rng(seed)
    targets = tuple(
        dataclasses.replace(
            target,
            chance=1 / len(target.classes) if target.classes else 0.0,
            **(
                {"train": 1200, "validation": 400, "test": 400}
                if enough
                else {"train": 40, "validation": 12, "test": 14}
            ),
        )
        for target in targets
    )
    layers = [row for name in networks for row in _layers(name, depth, modality, random)]
    scores = [s for i, t in enumerate(targets) for s in _scores(t, i, layers, random)]
    shown, arrays = _shown(targets, modality, samples, random)
    maps = _maps(layers, shown, targets, random)
    return Atlas(
        format=1,
        provenance=Provenance(
            command=" --network ".join(["layerwise atlas photos --out demo", *networks]),
            made="2026-11-23T15:04:05+00:00",
            versions={
                "layerwise": "0.1.0",
                "python": "3.11.7",
                "torch": "2.15.0",
                "timm": "1.0.31",
            },
            machine={"system": "Linux", "processor": "2 cores", "device": "cpu"},
            seeds=(0, 1, 2),
            data="photos",
            data_sha256="9f" * 32,
            samples=2000,
            seconds={"read": 91.2, "measure": 9.4, "choose": 21.0, "page": 1.3},
            reused={"rows": 0, "features": 0},
        ),
        networks=tuple(
            NetworkRow(
                *(name, name, modality, f"{name}: made up for this example.", 4_652_008, "1c" * 32),
                "Resize(256) > CentreCrop(224) > Normalise(mean 0.5, std 0.5)",
                ("blocks.2.1 is changed in place after it is read; it was cloned",),
            )
            for name in networks
        ),
        targets=targets,
        layers=tuple(layers),
        scores=tuple(scores),
        choices=tuple(_choice(t, scores, layers, enough) for t in targets),
        controls=tuple(_controls(targets, scores, random)),
        collapse=tuple(_collapse(targets, layers, random)),
        similarity=tuple(_similarity(networks, layers, random)),
        shown=tuple(shown),
        maps=tuple(maps),
        neighbours=tuple(_neighbours(maps)),
        pictures=tuple(_pictures(layers, arrays) if pictures and arrays else ()),
        set_aside=(
            ("photos/broken.jpg", "truncated: image file ends after 2,048 bytes"),
            ("photos/empty.png", "zero bytes"),
            ('photos/<script>alert("1")</script>.png', "not an image"),
        ),
        candidates=tuple(c for t in targets for c in _candidates(t, scores, layers, budget)),
        budget=budget,
        looked=tuple(
            Looked(name, i, shown[i].picture, tuple(f" {word}" for word in shown[i].text.split()))
            for name in networks
            for i in range(6)
        ),
        inside=tuple(_inside(row, shown, arrays, targets) for row in layers if not row.refused),
        exemplars=tuple(shown[:12]),
    )


def _layers(network: str, depth: int, modality: str, random: np.random.Generator) -> list[LayerRow]:
    names = (
        [f"blocks.{i}" for i in range(depth)] if depth else NAMES.get(network, NAMES["minilm-l6"])
    )
    n = len(names)
    spent = np.cumsum(random.uniform(0.5, 1.5, n)) * (14 / n)
    is_map = modality == "image" and "dino" not in network
    rows = []
    for i, name in enumerate(names):
        d = i / max(n - 1, 1)
        width = int(16 + 1264 * d**2) if is_map else 384
        refused = "its output is a tuple of unequal lengths" if n > 10 and i == 9 and is_map else ""
        shape = (1, width, 112 >> (i // 4), 112 >> (i // 4)) if is_map else (1, 257, width)
        rank = 8 + 90 * np.sin(np.pi * min(d + 0.08, 1)) + random.normal(0, 3)
        rows.append(
            LayerRow(
                *(network, name, "block" if "." in name else "stem", i, d),
                *("map" if is_map else "tokens", shape, width),
                *(int(900 + 4.6e6 * d**3), int(1.1e7 + 3.7e8 * d), float(spent[i]), 4 * width),
                *((None,) * 3 if refused else (rank, rank * 0.4, 4 + 12 * np.sin(np.pi * d) ** 2)),
                refused,
            )
        )
    return rows


def _scores(
    target: TargetRow, number: int, layers: list[LayerRow], random: np.random.Generator
) -> list[Score]:
    k = number % len(PEAKS)
    half = 1.96 * (0.25 / target.test) ** 0.5
    scores = []
    for row in layers:
        if row.refused:
            continue
        shift = 0.1 if "dino" in row.network else 0.0
        level = np.exp(-(((row.depth - PEAKS[k] - shift) / WIDTHS[k]) ** 2))
        for pooling, less in (("mean", 0.0), ("max", 0.08), ("gem", 0.02)):
            for readout, more in (("linear", 0.0), ("nearest mean", 0.13), ("knn", 0.07)):
                if target.kind == "number" and readout == "nearest mean":
                    continue
                test = target.chance + (TOPS[k] - target.chance) * level - less - more
                test = float(np.clip(test + random.normal(0, 0.008), -0.5, 0.995))
                scores.append(
                    Score(
                        *(target.target, row.network, row.layer, pooling, readout),
                        *(min(1.0, test + float(random.normal(0.004, 0.005))), test),
                        *(test - half * 0.9, min(1.0, test + half), abs(random.normal(0, 0.006))),
                        0.1 if readout == "linear" else None,
                    )
                )
    best = max(scores, key=lambda score: score.validation)
    both = f"{layers[0].layer} + {best.layer}"
    return [*scores, dataclasses.replace(best, layer=both, readout="greedy", pooling="mean")]


def _candidates(
    target: TargetRow, scores: list[Score], layers: list[LayerRow], budget: Budget
) -> list[Candidate]:
    rows = {(row.network, row.layer): row for row in layers}
    mine = [s for s in scores if s.target == target.target]
    found, most = [], -np.inf
    order = [(rows.get((s.network, s.layer), layers[-1]), s) for s in mine]
    for row, s in sorted(order, key=lambda pair: (pair[0].milliseconds, -pair[1].validation)):
        found.append(
            Candidate(
                *(s.target, s.network, s.layer, s.pooling, s.readout),
                *(s.validation, s.test, s.low, s.high),
                (2 * row.milliseconds, row.milliseconds),
                *(row.parameters, 4 * row.parameters),
                2 * row.milliseconds <= (budget.milliseconds or np.inf),
                level=False,
                front=s.validation > most,
            )
        )
        most = max(most, s.validation)
    found.sort(key=lambda c: (-c.affordable, -c.validation))
    near = found[0].validation - 0.02
    return [dataclasses.replace(c, level=bool(c.affordable and c.validation > near)) for c in found]


def _choice(target: TargetRow, scores: list[Score], layers: list[LayerRow], enough: bool) -> Choice:
    names = {(row.network, row.layer): row for row in layers}
    mine = [s for s in scores if s.target == target.target and (s.network, s.layer) in names]
    best = max(mine, key=lambda s: s.validation)
    last_row = [row for row in layers if row.network == best.network and not row.refused][-1]
    same = [s for s in mine if s.layer == last_row.layer and s.network == best.network]
    last = max(same, key=lambda s: s.validation)
    near = [s for s in mine if s.validation > best.validation - (0.02 if enough else 0.2)]
    cheapest = min(near, key=lambda s: names[s.network, s.layer].milliseconds)
    spent, most = (names[s.network, s.layer].milliseconds for s in (cheapest, best))
    words = (
        f"Read {target.target} from {best.layer} of {best.network}, {best.pooling} pooling and a "
        f"{best.readout} readout: {target.metric} {best.test:.3f} on the test set."
        if enough
        else f"14 test samples are too few to tell the layers apart for {target.target}; "
        f"{best.layer} came out best by chance or merit."
    )
    code = (
        "import layerwise\n\n"
        f'reader = layerwise.atlas.Reader.open("demo", target="{target.target}")\n'
        'reader.predict(["picture.jpg"])\n'
    )
    return Choice(
        *(target.target, best, last, cheapest),
        *(best.test - last.test, best.test - last.test - 0.03, best.test - last.test + 0.03),
        1 - spent / most,
        tuple((s.network, s.layer, s.pooling, s.readout) for s in near),
        enough,
        words,
        code,
    )


def _controls(
    targets: Sequence[TargetRow], scores: list[Score], random: np.random.Generator
) -> list[Control]:
    found = []
    for target in targets:
        mine = [s for s in scores if s.target == target.target and "+" not in s.layer]
        for s in [s for s in mine if s.pooling == "mean" and s.readout == "linear"][::3]:
            chance = target.chance + random.normal(0, 0.01)
            bare = target.chance + 0.4 * max(s.test - target.chance, 0)
            found.append(
                Control(
                    *(s.target, s.network, s.layer, "mean", chance, chance - 0.04, chance + 0.04),
                    *(bare, s.test - 0.03, 500),
                )
            )
    return found


def _collapse(
    targets: Sequence[TargetRow], layers: list[LayerRow], random: np.random.Generator
) -> list[Collapse]:
    return [
        Collapse(
            *(target.target, row.network, row.layer, "mean"),
            *(30 * float(np.exp(-3 * row.depth)) + random.uniform(0, 0.3), 0.6 - 0.4 * row.depth),
            *(0.5 - 0.3 * row.depth, None if row.depth == 0 else 1.2 - row.depth),
            0.4 - 0.35 * row.depth,
        )
        for target in targets
        if target.kind == "class"
        for row in layers
        if not row.refused
    ]


def _similarity(
    networks: Sequence[str], layers: list[LayerRow], random: np.random.Generator
) -> list[Similarity]:
    rows = {n: [row for row in layers if row.network == n and not row.refused] for n in networks}
    found = []
    for i, a in enumerate(networks):
        for b in networks[i:]:
            far = np.subtract.outer([r.depth for r in rows[a]], [r.depth for r in rows[b]])
            values = np.exp(-(far**2) / 0.12) * (1 if a == b else 0.6)
            values = values + (0 if a == b else random.normal(0, 0.01, values.shape))
            cells = tuple(
                tuple(
                    None if a == b and 0 in (x, y) and x != y else float(v) for y, v in enumerate(r)
                )
                for x, r in enumerate(values)
            )
            names = tuple(tuple(row.layer for row in rows[n]) for n in (a, b))
            found.append(Similarity(a, b, *names, cells))
    return found


def _shown(
    targets: Sequence[TargetRow], modality: str, samples: int, random: np.random.Generator
) -> tuple[list[Shown], list[np.ndarray]]:
    import skimage.data

    folder = Path(skimage.data.__file__).parent
    photographs = [Image.open(folder / name).convert("RGB") for name in PHOTOGRAPHS]
    shown, arrays = [], []
    for i in range(samples):
        which, blur, turn = i % len(PHOTOGRAPHS), *random.integers(0, 4, 2)
        picture, text, bright = "", "", random.uniform()
        if modality == "image":
            photograph = photographs[which]
            side = int(min(photograph.size) * random.uniform(0.35, 0.8))
            x, y = (int(random.integers(0, s - side + 1)) for s in photograph.size)
            crop = photograph.crop((x, y, x + side, y + side)).resize((64, 64))
            crop = crop.filter(ImageFilter.GaussianBlur([0, 0.7, 1.5, 3][blur])).rotate(90 * turn)
            arrays.append(np.asarray(crop, dtype=np.float64) / 255)
            bright = arrays[-1].mean()
            picture = _uri(crop, "JPEG")
        else:
            text = SENTENCES[i % len(SENTENCES)] * int(1 + i % 3)
        values = (which, blur, turn)
        answers = {
            t.target: t.classes[values[k % 3] % len(t.classes)] if t.classes else f"{bright:.3f}"
            for k, t in enumerate(targets)
        }
        stem = PHOTOGRAPHS[which].split(".")[0]
        name = f"photos/{stem}/{i:04}.jpg" if i else 'photos/<img src=x onerror="alert(1)">.jpg'
        split = "train" if i % 5 < 3 else "validation" if i % 5 == 3 else "test"
        shown.append(Shown(name, f"{i:064x}", picture, text, split, answers))
    return shown, arrays


def _uri(picture: Image.Image, form: str) -> str:
    file = io.BytesIO()
    picture.save(file, form, quality=70)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _maps(
    layers: list[LayerRow],
    shown: list[Shown],
    targets: Sequence[TargetRow],
    random: np.random.Generator,
) -> list[LayerMap]:
    noise = random.normal(0, 1, (len(shown), 2))
    centres = {
        (t.target, c): random.normal(0, 1, 2) for t in targets for c in (*t.classes, "number")
    }
    maps = []
    for row in layers:
        if row.refused:
            continue
        places = 0.5 * noise
        for k, target in enumerate(targets):
            pull = 2 * np.exp(-(((row.depth - PEAKS[k % 4]) / 0.3) ** 2))
            for i, each in enumerate(shown):
                answer = each.targets[target.target]
                known = (target.target, answer) in centres
                centre = centres[target.target, answer] if known else (2 * float(answer) - 1, 0)
                places[i] += pull * np.asarray(centre)
        places = (places - places.min(0)) / np.ptp(places, axis=0)
        maps.append(
            LayerMap(row.network, row.layer, tuple((float(x), float(y)) for x, y in places))
        )
    return maps


def _neighbours(maps: list[LayerMap]) -> list[Neighbours]:
    found = []
    for each in maps:
        places = np.array(each.places)
        queries = tuple(range(min(len(places), 12)))
        apart = ((places[list(queries), None] - places[None]) ** 2).sum(-1)
        apart[np.arange(len(queries)), queries] = np.inf
        nearest = tuple(tuple(int(i) for i in row) for row in apart.argsort(1)[:, :8])
        found.append(Neighbours(each.network, each.layer, queries, nearest))
    return found


def _pictures(layers: list[LayerRow], arrays: list[np.ndarray]) -> list[LayerPicture]:
    """Principal components of blurred colours and edges stand in for what a layer sees."""
    found = []
    for row in layers:
        if row.refused:
            continue
        side = 16 if "dino" in row.network else max(7, 56 >> (row.position // 5))
        stack = []
        for array in arrays[:6]:
            picture = Image.fromarray((array * 255).astype(np.uint8))
            picture = picture.filter(ImageFilter.GaussianBlur(0.3 + 4 * row.depth))
            small = np.asarray(picture.resize((side, side), Image.Resampling.BOX), np.float64) / 255
            edges = np.stack(np.gradient(small.mean(2)), -1)
            stack.append(np.concatenate([small * (1 - row.depth), 6 * edges, small**2], -1))
        flat = np.stack(stack).reshape(-1, stack[0].shape[-1])
        flat = flat - flat.mean(0)
        parts = flat @ np.linalg.eigh(flat.T @ flat)[1][:, -3:]
        low, high = np.quantile(parts, (0.02, 0.98), axis=0)
        colours = np.clip((parts - low) / (high - low), 0, 1).reshape(-1, side, side, 3)
        for i, each in enumerate(colours):
            uri = _uri(Image.fromarray((each * 255).astype(np.uint8)), "PNG")
            found.append(LayerPicture(row.network, row.layer, i, uri))
    return found


def _inside(
    row: LayerRow, shown: list[Shown], arrays: list[np.ndarray], targets: Sequence[TargetRow]
) -> Inside:
    """Bands of brightness stand in for concepts, of a text every fourth word."""
    side = 14
    concepts = []
    for k in range(4):
        if arrays:
            grey = [Image.fromarray((a.mean(2) * 255).astype(np.uint8)) for a in arrays[:6]]
            small = [np.asarray(g.resize((side, side)), np.float64) / 255 for g in grey]
            levels = [np.clip(9 - 40 * abs(s - k / 4), 0, 9).astype(int).ravel() for s in small]
            heat = tuple("".join(map(str, each)) for each in levels)
            concepts.append(Concept(0.4 - 0.1 * k, side, side, heat))
        else:
            heat = tuple(
                "".join(str(9 * (i % 4 == k)) for i in range(len(each.text.split())))
                for each in shown[:6]
            )
            concepts.append(Concept(0.25, 1, max(map(len, heat)), heat))
    told = (targets[0].target, (targets[0].classes or ("",))[0]) if targets else ("", "")
    units = tuple(
        StandingOut(3 * k, 4.5 - row.depth - k, tuple(range(k, k + 5)), *told, 0.6, 0.1)
        for k in range(3)
    )
    return Inside(row.network, row.layer, 0.7 - 0.3 * row.depth, tuple(concepts), units)


def hostile() -> Atlas:
    """Every text of the atlas tries to leave its place in the page."""
    evil = (
        "</script><script>document.documentElement.dataset.evil=1</script><img src=x onerror=x>\"'&"
    )
    atlas = make_atlas((evil,), depth=3, targets=TARGETS[:1], samples=12, pictures=False)
    target = dataclasses.replace(atlas.targets[0], target=evil, classes=(evil, "a"))
    return dataclasses.replace(
        atlas,
        provenance=dataclasses.replace(
            *(atlas.provenance,),
            command=evil,
            data=evil,
            versions={evil: evil},
            machine={evil: evil},
        ),
        networks=(NetworkRow(*(evil,) * 2, "image", evil, 1, *(evil,) * 2, (evil,)),),
        targets=(target,),
        scores=tuple(dataclasses.replace(s, target=evil, readout=evil) for s in atlas.scores),
        choices=tuple(
            dataclasses.replace(c, target=evil, words=evil, code=evil) for c in atlas.choices
        ),
        candidates=tuple(
            dataclasses.replace(c, target=evil, readout=evil) for c in atlas.candidates
        ),
        shown=tuple(
            dataclasses.replace(s, name=evil, text=evil, targets={evil: evil}) for s in atlas.shown
        ),
        set_aside=((evil, evil),),
        looked=tuple(
            dataclasses.replace(each, picture="", words=(evil,) * 196) for each in atlas.looked
        ),
        inside=tuple(
            dataclasses.replace(
                *(each,),
                units=tuple(dataclasses.replace(u, target=evil, answer=evil) for u in each.units),
            )
            for each in atlas.inside
        ),
        exemplars=tuple(
            dataclasses.replace(s, name=evil, text=evil, picture="") for s in atlas.exemplars
        ),
    )


def blank() -> Atlas:
    """Nothing but where it comes from."""
    return Atlas(1, make_atlas(("net",), depth=1, samples=12).provenance, *[()] * 13)


def untold() -> Atlas:
    """Layers without targets: nothing to rank."""
    atlas = make_atlas(targets=(), samples=24)
    return dataclasses.replace(atlas, scores=(), controls=(), candidates=())


def undefined() -> Atlas:
    """Numbers that are missing, infinite or not numbers."""
    atlas = make_atlas(("net",), depth=4, targets=TARGETS[1:2], samples=24)
    nan, inf = float("nan"), float("inf")
    bad = {"validation": nan, "test": nan, "low": -inf, "high": inf}
    choice = atlas.choices[0]
    return dataclasses.replace(
        atlas,
        layers=tuple(
            dataclasses.replace(r, effective_rank=inf, milliseconds=nan) for r in atlas.layers
        ),
        scores=tuple(dataclasses.replace(s, **bad) for s in atlas.scores),
        candidates=tuple(
            dataclasses.replace(c, **bad, milliseconds=(nan, inf)) for c in atlas.candidates
        ),
        choices=(
            dataclasses.replace(
                *(choice,),
                gain=nan,
                gain_low=nan,
                gain_high=nan,
                saved=nan,
                best=dataclasses.replace(choice.best, **bad),
            ),
        ),
        collapse=tuple(dataclasses.replace(c, nc1=inf, nc4=None) for c in atlas.collapse),
    )


KINDS = {
    "photos": make_atlas,
    "text": lambda: make_atlas(
        ("minilm-l6", "smollm2-135m"), modality="text", budget=Budget(milliseconds=9.0)
    ),
    "one": lambda: make_atlas(("net",), targets=TARGETS[3:], depth=1, pictures=False),
    "deep": lambda: make_atlas(("deep",), depth=200, targets=TARGETS[:2], samples=24, enough=False),
    "many": lambda: make_atlas(
        tuple(f"network-{i}" for i in range(8)),
        depth=6,
        targets=[dataclasses.replace(TARGETS[i % 4], target=f"target {i}") for i in range(30)],
        samples=24,
    ),
    "hostile": hostile,
    "blank": blank,
    "untold": untold,
    "undefined": undefined,
}

if __name__ == "__main__":
    from layerwise.report import write

    for each in sys.argv[2:] or KINDS:
        write(KINDS[each](), Path(sys.argv[1]) / each)
