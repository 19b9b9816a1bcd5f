"""Following a training: it reads what one would measure by hand, and training feels nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import layerwise
from layerwise.errors import LayerwiseError
from layerwise.measures import (
    Follow,
    Followed,
    cka,
    effective_rank,
    for_lightning,
    for_trainer,
    neural_collapse,
)
from layerwise.report import draw_training


def _digits() -> tuple[Tensor, Tensor]:
    digits = load_digits()
    return torch.tensor(digits.data / 16).float(), torch.tensor(digits.target)


def _module() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def _train(module: nn.Module, steps: int, after: Callable[[], None] = lambda: None) -> None:
    images, labels = _digits()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.2, momentum=0.9)
    module.train()
    torch.manual_seed(1)
    for step in range(steps):
        rows = torch.arange(64 * step, 64 * step + 64) % 1500
        loss = nn.functional.cross_entropy(module(images[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        after()


def test_training_does_not_feel_it() -> None:
    alone, watched = _module(), _module()
    images, labels = _digits()
    network = layerwise.open(watched, example=images[:1])
    follow = Follow(network, images[1500:1600], labels=labels[1500:1600], layers="1, 4", every=7)
    _train(alone, 20)
    _train(watched, 20, follow.step)
    for one, other in zip(alone.state_dict().values(), watched.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert watched.training
    assert sorted({row.step for row in follow.rows}) == [0, 7, 14]


def test_what_is_read_is_what_one_measures_by_hand() -> None:
    module = _module()
    images, labels = (part[1500:1620] for part in _digits())
    network = layerwise.open(module, example=images[:1])
    start = layerwise.read(network, images, "4")["4"]
    follow = Follow(network, images, labels=labels, layers="4", every=10)
    _train(module, 10, follow.step)
    now = layerwise.read(network, images, "4")["4"]
    first, last = follow.rows
    assert first.alike == pytest.approx(1)
    assert last.alike == pytest.approx(cka(start, now).item(), abs=1e-5)
    assert last.rank == pytest.approx(effective_rank(now).item(), rel=1e-5)
    assert last.collapse == pytest.approx(neural_collapse(now, labels).cdnv.item(), rel=1e-4)
    assert last.probe > first.probe - 0.05


def test_digits_become_readable_and_collapse() -> None:
    module = _module()
    images, labels = (part[1500:1756] for part in _digits())
    follow = Follow(
        layerwise.open(module, example=images[:1]), images, labels=labels, layers="1, 4", every=50
    )
    _train(module, 150, follow.step)
    deep = [row for row in follow.rows if row.layer == "4"]
    assert [row.step for row in deep] == [0, 50, 100, 150]
    assert deep[-1].probe > deep[0].probe
    assert deep[-1].collapse < deep[0].collapse
    assert deep[-1].alike < 0.99


def test_without_labels_only_what_needs_none_is_measured(tmp_path: Path) -> None:
    images, _ = _digits()
    follow = Follow(layerwise.open(_module(), example=images[:1]), images[:50], layers="4")
    (row,) = follow.rows
    assert np.isnan([row.probe, row.collapse]).all()
    assert np.isfinite([row.rank, row.alike]).all()
    text = draw_training(follow.rows, tmp_path / "training.svg").read_text()
    assert text.count('class="title"') == 2


def test_a_training_that_diverged_is_seen(tmp_path: Path) -> None:
    module = _module()
    images, labels = _digits()
    network = layerwise.open(module, example=images[:1])
    follow = Follow(network, images[:60], labels=labels[:60], layers="1, 4", every=1)
    module[3].weight.data.fill_(float("nan"))
    follow.step()
    assert [bool(np.isnan(row.rank)) for row in follow.rows] == [False, False, False, True]
    assert draw_training(follow.rows, tmp_path / "training.svg").exists()


def test_in_the_trainer_of_transformers(tmp_path: Path) -> None:
    import transformers

    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=8,
        num_attention_heads=1,
        num_hidden_layers=2,
        num_labels=2,
    )
    module = transformers.BertForSequenceClassification(config)
    ids, labels = torch.randint(1, 20, (16, 5)), torch.arange(16) % 2
    network = layerwise.open(module, example={"input_ids": ids[:1]})
    follow = Follow(network, {"input_ids": ids}, labels=labels, layers="blocks", every=2)
    rows = [{"input_ids": text, "labels": label} for text, label in zip(ids, labels, strict=True)]
    told = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=4,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(
        model=module, args=told, train_dataset=rows, callbacks=[for_trainer(follow)]
    )
    trainer.train()
    assert sorted({row.step for row in follow.rows}) == [0, 2, 4]


@pytest.mark.filterwarnings("ignore")  # of Lightning about itself
@pytest.mark.parametrize("accumulate", [1, 2])
def test_in_lightning(tmp_path: Path, accumulate: int) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    images, labels = _digits()

    class Digits(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = _module()

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            pixels, classes = batch
            return nn.functional.cross_entropy(self.layers(pixels), classes)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.2)

    rows = torch.utils.data.TensorDataset(images[:768], labels[:768])

    def train(*callbacks: Any) -> tuple[Any, Digits]:
        module = Digits() if not callbacks else watched
        lightning.seed_everything(0, verbose=False)
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            accumulate_grad_batches=accumulate,
            callbacks=list(callbacks),
            default_root_dir=tmp_path,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, torch.utils.data.DataLoader(rows, batch_size=64))
        return trainer, module

    watched = Digits()
    network = layerwise.open(watched.layers, example=images[:1])
    follow = Follow(network, images[1500:1600], labels=labels[1500:1600], layers="1, 4", every=3)
    trainer, module = train(for_lightning(follow))
    steps = 12 // accumulate
    assert trainer.global_step == steps
    assert sorted({row.step for row in follow.rows}) == list(range(0, steps + 1, 3))
    assert follow.rows[-1].alike < 0.999
    _, alone = train()
    for one, other in zip(module.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)


def test_without_lightning_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    images, _ = _digits()
    follow = Follow(layerwise.open(_module(), example=images[:1]), images[:20], layers="4", every=3)
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LayerwiseError, match="lightning is not installed"):
        for_lightning(follow)


def test_the_picture_names_its_layers_and_is_one_file(tmp_path: Path) -> None:
    rows = [
        Followed(step, layer, 0.1 * i, 2.0 + step, 1 / (1 + step), 0.9, 0.1)
        for step in (0, 100, 200)
        for i, layer in enumerate(("<stem>", "blocks.0"))
    ]
    text = draw_training(rows, tmp_path / "new" / "training.svg").read_text()
    assert "&lt;stem&gt;" in text
    assert "<stem>" not in text
    assert text.count('class="title"') == 4
    assert "200" in text
    with pytest.raises(LayerwiseError, match="nothing was read yet"):
        draw_training([], tmp_path / "none.svg")


def test_mistakes_are_named() -> None:
    images, labels = _digits()
    network = layerwise.open(_module(), example=images[:1])
    with pytest.raises(LayerwiseError, match="5 samples to follow; give at least 8"):
        Follow(network, images[:5])
    with pytest.raises(LayerwiseError, match="3 labels of 3 classes for 20 samples"):
        Follow(network, images[:20], labels=labels[:3])
    with pytest.raises(LayerwiseError, match="every=0"):
        Follow(network, images[:20], every=0)


def test_axes_end_at_tidy_numbers_and_go_below_zero_where_the_values_do(tmp_path: Path) -> None:
    rows = [Followed(s, "0", 0.77, 38.6, 1.0, alike, 0.1) for s, alike in ((0, 1.0), (5, -0.13))]
    text = draw_training(rows, tmp_path / "training.svg").read_text()
    for tick in ("0.8", "0.4", "40", "20", "-0.2"):
        assert f'text-anchor="end">{tick}</text>' in text
    assert ">-0<" not in text
