"""Runs the same extraction again and again and kills it at chosen moments; see `test_extract.py`.

One process imports everything once and forks the runs. A run announces each step of interest on a
pipe, and is killed a random moment after one of them.
"""

import functools
import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import lance  # noqa: F401 - so that no run has to import it
import numpy as np
import torch
from torch import nn

import layerwise.data
from layerwise.data import _worker
from layerwise.features import _store
from layerwise.models import Network
from layerwise.taps import _plan, extract

STEPS = ("decode", "forward", "commit", "plan", "compaction")


class Prepare:
    def __call__(self, image):
        values = torch.from_numpy(np.array(image.convert("RGB").resize((32, 32))))
        return values.permute(2, 0, 1).float() / 255

    def __repr__(self):
        return "Prepare()"


def network():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.BatchNorm2d(16), nn.GELU()
    )
    return Network(
        module.eval(),
        name="tiny",
        modality="image",
        prepare=Prepare(),
        collate=torch.stack,
        example=torch.zeros(1, 3, 32, 32),
    )


def run(pictures, out):
    samples = layerwise.data.open(pictures)
    done = extract(network(), samples, out, layers="all", batch_size=8, commit_rows=24, workers=0)
    aside = {each.name: each.reason for each in done.set_aside}
    Path(f"{out}.json").write_text(json.dumps(aside))


def announced(owner, name, step, pipe):
    original = getattr(owner, name)

    @functools.wraps(original)
    def first_tell(*args, **kwargs):
        os.write(pipe, step.encode() + b"\n")
        return original(*args, **kwargs)

    setattr(owner, name, first_tell)


def start(pictures, out):
    """Fork a run; its announcements can be read from the file that is returned."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, os.fdopen(reading)
    status = 1
    try:
        announced(_worker, "load", "decode", writing)
        announced(nn.Conv2d, "forward", "forward", writing)
        announced(_store, "append_rows", "commit", writing)
        announced(_plan, "write_whole", "plan", writing)
        announced(_store, "compact", "compaction", writing)
        run(pictures, out)
        status = 0
    finally:
        os._exit(status)


def killed_at(pictures, out, step, times, delay):
    """Whether a run was killed, `delay` seconds after it took a step for so many times."""
    child, steps = start(pictures, out)
    with steps:
        for line in steps:
            times -= line == step + "\n"
            if times == 0:
                time.sleep(delay)
                os.kill(child, signal.SIGKILL)
                break
        _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    return status == signal.SIGKILL


def main(pictures, folder, kills, seed):
    warnings.simplefilter("ignore")  # Lance warns of forks; these happen before its first use.
    torch.set_num_threads(1)
    assert network().layers  # with all that tracing imports; nothing here starts a thread
    draw = random.Random(seed)
    assert not killed_at(pictures, f"{folder}/whole.lance", "never", 1, 0)
    counts = dict.fromkeys(STEPS, 0)
    stores = 0
    while sum(counts.values()) < kills:
        out = f"{folder}/{stores}.lance"
        # The rarer steps come first in turn, so that every kind of moment is met.
        for step in sorted(STEPS, key=lambda step: (counts[step], draw.random())):
            times = draw.randint(1, {"decode": 60, "forward": 20, "commit": 3}.get(step, 1))
            counts[step] += killed_at(pictures, out, step, times, draw.random() ** 3 * 0.01)
        if not killed_at(pictures, out, "never", 1, 0):
            stores += 1
    sys.stdout.write(json.dumps({"stores": stores, "kills": counts}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
