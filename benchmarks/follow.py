"""What it costs to follow a training: share of its time at every 100th step.

    python benchmarks/follow.py [--steps 300] [--rounds 3]

A small ResNet learns CIFAR-sized pictures with and without `Follow`, alternately. The share is that
of the seconds spent reading, over the seconds of the training without it.
"""

from __future__ import annotations

import argparse
import statistics
import time

import timm
import torch
from _results import keep, machine
from rich.console import Console
from torch import nn

import layerwise
from layerwise.measures import Follow

BATCH, SAMPLES, EVERY = 64, 256, 100


def train(steps: int, *, followed: bool) -> tuple[float, float]:
    """Seconds of the whole training, and of the readings in it."""
    torch.manual_seed(0)
    module = timm.models.ResNet(
        timm.models.resnet.BasicBlock, (2, 2, 2, 2), channels=(32, 64, 128, 256), num_classes=10
    )
    images, labels = torch.randn(1024, 3, 32, 32), torch.arange(1024) % 10
    network = layerwise.open(module, example=images[:1])
    assert len(network.layers)  # traced before the clock starts
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    module.train()
    start = time.process_time()
    follow = Follow(network, images[:SAMPLES], labels=labels[:SAMPLES], every=EVERY)
    first = time.process_time() - start
    spent, start = 0.0, time.process_time()
    for step in range(steps):
        rows = torch.arange(step * BATCH, (step + 1) * BATCH) % len(images)
        loss = nn.functional.cross_entropy(module(images[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if followed:
            before = time.process_time()
            follow.step()
            spent += time.process_time() - before
    return time.process_time() - start, spent + first * followed


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    told = parser.parse_args()
    facts = machine()
    shares, plain = [], []
    for _ in range(told.rounds):
        alone, _ = train(told.steps, followed=False)
        _, reading = train(told.steps, followed=True)
        plain.append(alone)
        shares.append(100 * reading / alone)
    row = {
        "training": f"ResNet, {told.steps} steps of {BATCH}",
        "CPU seconds without": statistics.median(plain),
        f"% of them to follow 4 stages on {SAMPLES} samples, every {EVERY} steps": (
            statistics.median(shares)
        ),
    }
    Console().print(keep("follow", facts, [row], {"shares": shares, "plain": plain}))


if __name__ == "__main__":
    main()
