"""A generation of candidates on one supernet: together, sharing what they have in common, against one by one."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from generated import datasets
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
from torch import Tensor

from nas.data import Interactions
from nas.graph import Graph
from nas.model.evaluation import evaluate, sample_users
from nas.model.network import Propagation, propagate
from nas.model.ranking import dot_scorer
from nas.model.weights import Weights, parameters_of_space, start
from nas.space import Architecture, SearchSpace

CANDIDATES = 50
KS = (10, 20)
HELD_OUT = 0.1
# As many as a search judges its candidates on.
JUDGED = 4096
SHARED_BYTES = 2**30

States = tuple[Tensor, Tensor]


def rows(name: str, interactions: Interactions, repetitions: int) -> Iterator[Row]:
    """Yield what 50 random architectures of `graph.yaml` cost: their states alone, and their ranking with it."""
    space, rng = SearchSpace.load("graph"), np.random.default_rng(0)
    held = rng.random(len(interactions)) < HELD_OUT
    train, valid = interactions.select(~held), interactions.select(held)
    graph = Graph.from_interactions(train)
    weights = start(
        parameters_of_space(space.branches.graph, graph.n_users, graph.n_items), graph, "noise", 0
    )
    candidates = list(dict.fromkeys(space.sample(rng) for _ in range(2 * CANDIDATES)))[:CANDIDATES]
    users = sample_users(valid, train, JUDGED, 0)
    widest = max(candidate.graph.hidden_size for candidate in candidates)

    def together(judge: Callable[[States], object]) -> None:
        shared = Propagation(weights, graph, widest, most_bytes=SHARED_BYTES)
        for candidate in candidates:
            judge(shared(candidate))

    def one_by_one(judge: Callable[[States], object]) -> None:
        for candidate in candidates:
            judge(propagate(candidate, weights, graph))

    def ranked(states: States) -> object:
        return evaluate(dot_scorer(*states), train, valid, KS, users).means

    with torch.no_grad():
        difference = _difference(candidates, weights, graph, widest)
        for operator, judge in (("generation-50-states", lambda _states: None), ("generation-50", ranked)):
            ways = {"ours_ms": lambda j=judge: together(j), "theirs_ms": lambda j=judge: one_by_one(j)}
            times = interleaved(ways, repetitions, warm_up=1)
            yield Row(operator, name, times["ours_ms"], times["theirs_ms"], difference)


def _difference(candidates: list[Architecture], weights: Weights, graph: Graph, widest: int) -> float:
    shared = Propagation(weights, graph, widest, most_bytes=SHARED_BYTES)
    return largest(
        largest_difference(shared(candidate), propagate(candidate, weights, graph))
        for candidate in candidates
    )


def main(
    data: Data = None,
    threads: Threads = 2,
    repetitions: Repetitions = 2,
    as_json: Json = False,
    out: Out = None,
) -> None:
    """Evaluate 50 architectures on one supernet: together ("ours") against one by one ("theirs")."""
    torch.set_num_threads(threads)
    measured = (row for name, interactions in datasets(data) for row in rows(name, interactions, repetitions))
    report(measured, as_json, out)


if __name__ == "__main__":
    run(main)
