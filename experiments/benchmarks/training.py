"""Training LightGCN: a step against PyG's model with the plain loss, an epoch at scale, and the peak of memory."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from generated import SHAPES, Shape, datasets
from lightgcn_steps import COLUMNS, LAYERS, PAIRS, Step, batch_of, our_step, pyg_step
from one_training import in_a_process
from pyg_twins import adjacency, edge_index, import_pyg, normalised
from side_by_side import (
    Data,
    Json,
    Out,
    Repetitions,
    Row,
    Threads,
    interleaved,
    largest,
    largest_difference,
    report,
    run,
)

from nas.data import Interactions
from nas.model.losses import Batch
from nas.model.training import TrainingData
from nas.space import Recipe

COMPARED_STEPS = 3
BATCHES = 8

# Dropout draws differ between implementations, so there is none; BPR's own formula has no temperature.
RECIPES = {
    "lightgcn-step-bpr": Recipe(loss="bpr", temperature=1.0, dropout=0.0),
    "lightgcn-step-softmax": Recipe(loss="softmax", dropout=0.0),
}

SCALES = {
    "generated-1m": Shape(6_040, 3_706, 1_000_000),
    "generated-5m": Shape(30_000, 10_000, 5_000_000),
    "generated-20m": Shape(138_493, 26_744, 20_000_000),
}


def step_rows(name: str, interactions: Interactions, repetitions: int) -> Iterator[Row]:
    """Yield one row a loss on one data set: a step on random pairs, the same on both sides."""
    pyg, data = import_pyg(), TrainingData.of(interactions)
    graph, rng = data.graph, np.random.default_rng(0)
    start = 0.1 * torch.randn(graph.n_nodes, COLUMNS, generator=torch.Generator().manual_seed(0))
    batches = [batch_of(interactions, PAIRS, rng) for _ in range(BATCHES)]
    index, weights = normalised(pyg, graph)
    for operator, recipe in RECIPES.items():
        sides = {
            "ours_ms": our_step(data, start, recipe),
            "theirs_ms": pyg_step(pyg, (edge_index(graph),), graph.n_users, start, recipe, True),
            "theirs_cached_ms": pyg_step(pyg, (index, weights), graph.n_users, start, recipe, False),
            "theirs_sparse_ms": pyg_step(
                pyg, (adjacency(graph, weights),), graph.n_users, start, recipe, False
            ),
        }
        ways = {key: _numbered(step, batches) for key, (step, _) in sides.items()}
        losses = {key: torch.tensor([way() for _ in range(COMPARED_STEPS)]) for key, way in ways.items()}
        learned = {key: [tensor.detach() for tensor in tensors] for key, (_, tensors) in sides.items()}
        of_losses = largest(largest_difference([losses["ours_ms"]], [other]) for other in losses.values())
        of_embeddings = largest(largest_difference(learned["ours_ms"], other) for other in learned.values())
        times = interleaved(ways, repetitions)
        extra = {
            "max_abs_difference_of_losses": of_losses,
            "theirs_cached_ms": times["theirs_cached_ms"],
            "theirs_sparse_ms": times["theirs_sparse_ms"],
        }
        difference = largest([of_losses, of_embeddings])
        yield Row(operator, name, times["ours_ms"], times["theirs_ms"], difference, extra)


def process_row(operator: str, name: str, data: Shape | Path, layers: int, epochs: int, threads: int) -> Row:
    """Return the row of whole epochs in a process of their own."""
    found = in_a_process(data, layers, epochs, threads)
    extra = {
        "interactions_per_second": found["interactions"] / found["epoch_seconds"],
        "peak_rss_gb": found["peak_rss_gb"],
        "graph_seconds": found["graph_seconds"],
    }
    return Row(operator, name, 1000 * found["epoch_seconds"], None, None, extra, threads)


def main(
    data: Data = None,
    threads: Threads = 2,
    repetitions: Repetitions = 5,
    as_json: Json = False,
    out: Out = None,
    scale: Annotated[bool, typer.Option("--scale", help="Also epochs on 1, 5 and 20 million.")] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Also the peak of a 4-layer training.")] = False,
) -> None:
    """Training LightGCN: a step against PyG's model with the plain loss; with options, whole epochs of ours."""
    torch.set_num_threads(threads)

    def rows() -> Iterator[Row]:
        for name, interactions in datasets(data):
            yield from step_rows(name, interactions, repetitions)
        for name, shape in SCALES.items() if scale else ():
            yield process_row("lightgcn-epoch", name, shape, LAYERS, 1, threads)
        if memory:
            files = {path.resolve().parent.name: path for path in data or ()}
            sources: Mapping[str, Shape | Path] = files or {"gowalla-shape": SHAPES["gowalla-shape"]}
            for name, source in sources.items():
                yield process_row("lightgcn-memory", name, source, 4, 3, threads)

    report(rows(), as_json, out)


def _numbered(step: Step, batches: list[Batch]) -> Callable[[], float]:
    """Return the step as a way to be timed: call n takes batch n and the n-th generator, on every side."""
    count = itertools.count()

    def way() -> float:
        n = next(count)
        return step(batches[n % len(batches)], torch.Generator().manual_seed(n))

    return way


if __name__ == "__main__":
    run(main)
