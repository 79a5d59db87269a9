"""One training in a process of its own, so that the peak of memory is its own; prints one JSON object.

Started by training.py: a peak is a property of a process, and importing PyG alone would raise it.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from generated import Shape, datasets, generate
from lightgcn_steps import LAYERS, PAIRS, batch_of, lightgcn
from side_by_side import Data, Threads, run

from nas.data import Interactions
from nas.graph.memory import keep_freed_memory
from nas.model.fitting import new_trainer
from nas.model.training import TrainingData
from nas.space import Recipe


def peak_rss_gb() -> float:
    """Return the most memory that this process has held so far, in 10^9 bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux its maximum is inherited from the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def train(interactions: Interactions, layers: int, epochs: int) -> dict[str, float]:
    """Train LightGCN by the default recipe, from noise; return {graph_seconds, epoch_seconds, peak_rss_gb}.

    `epoch_seconds` is a median. A step before the first epoch makes the operators and compiles the kernels.
    """
    started = time.perf_counter()
    data = TrainingData.of(interactions)
    graph_seconds = time.perf_counter() - started
    architecture = lightgcn(layers)
    trainer = new_trainer(architecture, data, Recipe(start="noise"), seed=0)
    batch = batch_of(interactions, PAIRS, np.random.default_rng(0))
    trainer.step(batch, architecture, torch.Generator().manual_seed(0))
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        trainer.epoch(lambda: architecture)
        seconds.append(time.perf_counter() - started)
    return {
        "graph_seconds": graph_seconds,
        "epoch_seconds": statistics.median(seconds),
        "peak_rss_gb": peak_rss_gb(),
    }


def in_a_process(data: Shape | Path, layers: int, epochs: int, threads: int) -> dict[str, Any]:
    """Return what `train` returns in a fresh process, and the number of interactions as `interactions`."""
    if isinstance(data, Path):
        source = ["--data", str(data)]
    else:
        source = ["--shape", str(data.users), str(data.items), str(data.interactions)]
    rest = ["--layers", str(layers), "--epochs", str(epochs), "--threads", str(threads)]
    command = [sys.executable, __file__, *source, *rest]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def main(
    data: Data = None,
    shape: Annotated[
        tuple[int, int, int] | None, typer.Option(help="Users, items and interactions to generate.")
    ] = None,
    layers: Annotated[int, typer.Option(min=0)] = LAYERS,
    epochs: Annotated[int, typer.Option(min=1)] = 1,
    threads: Threads = 2,
) -> None:
    """Train LightGCN once and print its times and its peak of memory as JSON."""
    torch.set_num_threads(threads)
    # As every run does.
    keep_freed_memory()
    interactions = generate(Shape(*shape)) if shape else next(datasets(data))[1]
    print(json.dumps({"interactions": len(interactions), **train(interactions, layers, epochs)}))


if __name__ == "__main__":
    run(main)
