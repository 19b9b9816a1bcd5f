"""An exported reader answers like the reader, without this library and without torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from timm.layers import Conv2dSame
from tokenizers import Tokenizer
from torch import nn

import layerwise
from layerwise import data
from layerwise.atlas import Reader, compare_export, export_onnx, export_program, fit_reader
from layerwise.errors import LayerwiseError
from networks import tiny_bert

ALONE = """
import sys
import numpy as np
import onnxruntime
from PIL import Image

folder, rows = sys.argv[1], []
for i in range(200):
    picture = Image.open(f"{folder}/{i}.png").convert("RGB")
    width, height = picture.size
    size = (16, int(16 * height / width)) if width <= height else (int(16 * width / height), 16)
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - 12) / 2), round((size[1] - 12) / 2)
    picture = picture.crop((left, top, left + 12, top + 12))
    pixels = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
    rows.append((pixels - 0.5) / 0.25)
rows = np.stack(rows).astype(np.float32)
for name in sys.argv[2:]:
    session = onnxruntime.InferenceSession(f"{folder}/{name}.onnx")
    found = [session.run(None, {"input": rows[i : i + 32]}) for i in range(0, 200, 32)]
    np.savez(f"{folder}/{name}.npz", answers=np.concatenate([f[0] for f in found]),
             strangeness=np.concatenate([f[1] for f in found]))
assert "torch" not in sys.modules and "layerwise" not in sys.modules
"""


def pictures(count: int) -> list[Image.Image]:
    draw = np.random.default_rng(0)
    shapes = [(20 + i % 5, 18 + i % 7, 3) for i in range(count)]
    return [
        Image.fromarray((draw.random(s) * (120 if i % 2 else 255)).astype(np.uint8))
        for i, s in enumerate(shapes)
    ]


def network(first: nn.Module) -> layerwise.Network:
    from layerwise.models import ImagePreparation

    module = nn.Sequential(
        first,
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 500, 3),
    )
    half = (0.5, 0.5, 0.5)
    prepare = ImagePreparation(16, (12, 12), "bilinear", half, (0.25, 0.25, 0.25))
    return layerwise.open(module.eval(), prepare=prepare)


@pytest.fixture(scope="module")
def samples() -> data.Samples:
    return data.open(
        [(p, {"bright": "no" if i % 2 else "yes"}) for i, p in enumerate(pictures(200))]
    )


@pytest.fixture(scope="module")
def readers(samples) -> dict[str, Reader]:
    opened = network(nn.Conv2d(3, 8, 3))
    return {
        readout: fit_reader(opened, samples, "bright", layers="2, 4", readout=readout)
        for readout in ("linear", "nearest-mean", "knn")
    }


@pytest.fixture(scope="module")
def folder(readers, tmp_path_factory) -> Path:
    """Every reader as ONNX, once for all tests: to write one takes seconds."""
    place = tmp_path_factory.mktemp("readers")
    for readout, reader in readers.items():
        export_onnx(reader, place / f"{readout}.onnx")
    return place


def test_onnx_alone_gives_the_same_for_200_pictures(samples, readers, folder):
    for i in range(200):
        samples.load(i).save(folder / f"{i}.png")
    subprocess.run([sys.executable, "-c", ALONE, folder, *readers], check=True, timeout=500)
    for readout, reader in readers.items():
        found, wanted = np.load(folder / f"{readout}.npz"), reader.predict(samples)
        assert np.abs(found["answers"] - wanted.values.numpy()).max() < 1e-4
        assert np.abs(found["strangeness"] - wanted.strangeness.numpy()).max() < 1e-4
        said = json.loads((folder / f"{readout}.json").read_text())
        assert said["classes"] == ["no", "yes"]
        assert "shorter side has 16 pixels" in said["before"][1]


def test_texts_of_every_length_and_number(tmp_path):
    texts = [f"{'red' if i % 2 else 'green'} {'apple ' * (1 + i % 5)}" for i in range(60)]
    samples = data.open([(text, {"colour": text.split()[0]}) for text in texts])
    opened = layerwise.open(f"hf:{tiny_bert(tmp_path / 'bert')}")
    reader = fit_reader(opened, samples, "colour", layers="encoder.layer.0")
    export_onnx(reader, tmp_path / "reader.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "reader.onnx")
    for few in (texts[:1], texts[:7], texts[20:40]):
        inputs = reader.batch([reader.feed.prepare(text) for text in few])
        answers, strangeness = session.run(None, {k: v.numpy() for k, v in inputs.items()})
        with torch.no_grad():
            wanted = reader(inputs)
        assert np.abs(answers - wanted[0].numpy()).max() < 1e-4
        assert np.abs(strangeness - wanted[1].numpy()).max() < 1e-4
    require_same_by_the_steps_alone(session, texts, tmp_path, reader.predict(samples).values)


def require_same_by_the_steps_alone(session, texts, folder, wanted) -> None:
    """Prepare texts as the file beside the graph says, with nothing but its tokenizer."""
    _, cut, pad, _ = json.loads((folder / "reader.json").read_text())["before"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(int(re.search(r"\d+", cut)[0]))
    tokenizer.enable_padding(pad_id=int(re.search(r"\d+", pad)[0]))
    encoded = tokenizer.encode_batch(texts)
    given = {
        "input_ids": [e.ids for e in encoded],
        "attention_mask": [e.attention_mask for e in encoded],
    }
    answers = session.run(["answers"], {n: np.array(v, np.int64) for n, v in given.items()})[0]
    assert np.abs(answers - wanted.numpy()).max() < 1e-4


def test_a_program_of_torch_keeps_batch_and_size_open(samples, tmp_path):
    """Also where the padding depends on the size, as in EfficientNet-Lite0."""
    opened = network(Conv2dSame(3, 8, 3, stride=2))
    reader = fit_reader(opened, samples, "bright", layers="4", readout="knn")
    export_program(reader, tmp_path / "reader.pt2")
    program = torch.export.load(tmp_path / "reader.pt2").module()
    for shape in ((1, 3, 12, 12), (9, 3, 12, 12), (3, 3, 20, 14)):
        inputs = torch.rand(shape)
        for one, other in zip(program(inputs), reader(inputs), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


class Bessel(nn.Module):
    """A layer that no operation of ONNX stands for."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(features)


def test_what_onnx_has_no_words_for_is_said_in_one_line(tmp_path):
    rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    samples = data.open([(row, {"side": "left" if row[0] < 0 else "right"}) for row in rows])
    module = nn.Sequential(nn.Linear(4, 8), Bessel()).eval()
    opened = layerwise.open(module, example=torch.zeros(1, 4), name="curved")
    reader = fit_reader(opened, samples, "side", layers="1")
    with pytest.raises(
        LayerwiseError, match=r"a part of the reader on curved \(.*bessel"
    ) as caught:
        export_onnx(reader, tmp_path / "reader.onnx")
    assert "\n" not in str(caught.value)
    export_program(reader, tmp_path / "reader.pt2")
    found = compare_export(reader, tmp_path / "reader.pt2", samples)
    assert found.samples == 60
    assert found.difference < 1e-6


@pytest.mark.parametrize("quantity", [False, True])
def test_neighbours_vote_alike_where_two_are_equally_near(tmp_path, quantity):
    """The layer sees every row twice, with other answers: the order of the rows decides."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(75, 2, generator=generator).repeat(2, 1)
    noise = torch.randint(0, 3, (150,), generator=generator).tolist()
    named = [{"answer": float(n) if quantity else "abc"[n]} for n in noise]
    numbered = torch.cat([rows, 1e-4 * torch.arange(150.0)[:, None]], 1)
    samples = data.open(list(zip(numbered, named, strict=True)))
    module = nn.Sequential(nn.Linear(3, 2)).eval()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]]))
    opened = layerwise.open(module, example=torch.zeros(1, 3), name="places")
    reader = fit_reader(opened, samples, "answer", layers="0", readout="knn")
    export_onnx(reader, tmp_path / "reader.onnx")
    assert compare_export(reader, tmp_path / "reader.onnx", samples).difference < 1e-6


def test_a_file_that_answers_otherwise_is_refused(samples, readers, folder):
    path = folder / "linear.onnx"
    found = compare_export(readers["linear"], path, samples.take(range(20)))
    assert found.samples == 20
    assert found.difference < 1e-4
    assert found.megabytes[1] == pytest.approx(path.stat().st_size / 1e6)
    assert [len(each) for each in found.milliseconds] == [2, 2]
    with pytest.raises(LayerwiseError, match="answers otherwise than the reader"):
        compare_export(readers["knn"], path, samples)


STARTERS = {
    "efficientnet-lite0": ("photos", "blur", "blocks.0.0"),
    "minilm-l6": ("stdlib", "kind", "encoder.layer.0"),
}


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("name", STARTERS)
def test_starters_answer_alike_in_onnxruntime(name, tmp_path):
    """So few samples that no batch of 32 is timed on the whole network."""
    source, target, layer = STARTERS[name]
    samples = data.open(source, limit=30, targets=[target])
    reader = fit_reader(layerwise.open(name), samples, target, layers=layer)
    export_onnx(reader, tmp_path / "reader.onnx")
    found = compare_export(reader, tmp_path / "reader.onnx", samples, repeats=1)
    assert found.samples == 30
    assert found.difference < 1e-4
