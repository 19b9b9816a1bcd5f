"""Training a sparse autoencoder: tokens per second, and what the result explains.

    python benchmarks/sparse_autoencoder.py [--rounds 3] [--tokens 16384]

384 channels, 3,072 latents, 32 active, batches of 1,024: the same rows, the same number of steps.
Rows are sums of few directions with noise, as activations are said to be. Contenders run in turn in
this process; on a busy machine trust the CPU seconds of one thread (OMP_NUM_THREADS=1), not the
clock. `overcomplete` is measured where it is installed (`pip install overcomplete`); beside it
stands the usual code in plain PyTorch: dense products, autograd, Adam, unit directions.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable

import torch
from _results import keep, machine
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, TensorDataset

from layerwise.explain import TopKAutoencoder

WIDTH, LATENTS, ACTIVE, BATCH, EPOCHS, RATE = 384, 3072, 32, 1024, 4, 2e-3

Train = Callable[[Tensor], Callable[[Tensor], Tensor]]
"""Trains on rows and gives what writes rows anew."""


def rows(count: int) -> Tensor:
    """Each a sum of 24 of 2,000 directions, with noise."""
    # Not the contenders' seed: their first directions would be the true ones.
    generator = torch.Generator().manual_seed(2026)
    directions = normalize(torch.randn(2000, WIDTH, generator=generator), dim=1)
    chosen = torch.randint(2000, (count, 24), generator=generator)
    sizes = torch.rand(count, 24, generator=generator)
    made = nn.functional.embedding_bag(chosen, directions, per_sample_weights=sizes, mode="sum")
    return made + 0.02 * torch.randn(count, WIDTH, generator=generator)


def ours(data: Tensor) -> Callable[[Tensor], Tensor]:
    """This library."""
    return TopKAutoencoder.fit(
        data, latents=LATENTS, active=ACTIVE, epochs=EPOCHS, batch=BATCH, rate=RATE
    )


def plain(data: Tensor) -> Callable[[Tensor], Tensor]:
    """The usual code."""
    torch.manual_seed(0)
    centre, spread = data.mean(0), data.std()
    scaled = (data - centre) / spread
    decoder = nn.Parameter(normalize(torch.randn(LATENTS, WIDTH), dim=1))
    encoder, bias = nn.Parameter(decoder.data.clone()), nn.Parameter(torch.zeros(LATENTS))
    optimiser = torch.optim.Adam([encoder, bias, decoder], lr=RATE)

    def write(some: Tensor) -> Tensor:
        top = (some @ encoder.T + bias).topk(ACTIVE, dim=1)
        latents = torch.zeros(len(some), LATENTS).scatter(1, top.indices, top.values)
        return latents @ decoder

    for _ in range(EPOCHS):
        for order in torch.randperm(len(data)).split(BATCH):
            loss = nn.functional.mse_loss(write(scaled[order]), scaled[order])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            decoder.data = normalize(decoder.data, dim=1)
    return lambda some: write((some - centre) / spread).detach() * spread + centre


def overcomplete(data: Tensor) -> Callable[[Tensor], Tensor]:
    """Overcomplete's TopKSAE and its own loop."""
    from overcomplete.sae import TopKSAE, train_sae

    torch.manual_seed(0)
    centre, spread = data.mean(0), data.std()
    model = TopKSAE(WIDTH, nb_concepts=LATENTS, top_k=ACTIVE)
    loader = DataLoader(TensorDataset((data - centre) / spread), batch_size=BATCH, shuffle=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)

    def loss(given: Tensor, made: Tensor, *_: Tensor) -> Tensor:
        return nn.functional.mse_loss(made, given)

    train_sae(model, loader, loss, optimiser, nb_epochs=EPOCHS)
    model.eval()
    return lambda some: model((some - centre) / spread)[2].detach() * spread + centre


def explained(write: Callable[[Tensor], Tensor], fresh: Tensor) -> float:
    """Share of the variance of unseen rows."""
    left = (write(fresh) - fresh).square().sum() / (fresh - fresh.mean(0)).square().sum()
    return 1 - float(left)


def main() -> None:
    """Measure all contenders in turn and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=16384)
    given = parser.parse_args()
    contenders: dict[str, Train] = {"layerwise": ours, "plain PyTorch": plain}
    if importlib.util.find_spec("overcomplete"):
        contenders["overcomplete"] = overcomplete
    facts = machine("overcomplete")
    data = rows(given.tokens + 2048)
    train, fresh = data[: given.tokens], data[given.tokens :]
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    told: dict[str, float] = {}
    for _ in range(given.rounds):
        for name, contender in contenders.items():
            clock, cpu = time.perf_counter(), time.process_time()
            write = contender(train)
            seconds[name].append((time.perf_counter() - clock, time.process_time() - cpu))
            told[name] = explained(write, fresh)
    table = []
    for name, runs in seconds.items():
        clock, cpu = (statistics.median(each) for each in zip(*runs, strict=True))
        table.append(
            {
                "training by": name,
                "tokens per CPU second": EPOCHS * given.tokens / cpu,
                "tokens per second": EPOCHS * given.tokens / clock,
                "explained, unseen": told[name],
            }
        )
    details = {"seconds": seconds, "tokens": given.tokens, "epochs": EPOCHS}
    Console().print(keep("sparse_autoencoder", facts, table, details), markup=False)


if __name__ == "__main__":
    main()
