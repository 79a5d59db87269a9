"""The Pareto front of a search and how it grew."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.search.hypervolume import hypervolume_history
from nas.search.loop import Candidate
from nas.search.objectives import direction

Floats = NDArray[np.float64]


def losses(candidates: Sequence[Candidate], objectives: Sequence[str]) -> Floats:
    """Return (n, m) values of the objectives, each turned so that less is better."""
    signs = np.array([-1.0 if direction(name) == "maximize" else 1.0 for name in objectives])
    values = [[candidate.values[name] for name in objectives] for candidate in candidates]
    return np.asarray(np.array(values, dtype=np.float64).reshape(-1, len(objectives)) * signs)


def front_mask(values: Floats) -> NDArray[np.bool_]:
    """Return (n,): which rows of (n, m) losses no other row dominates; of equal rows the first counts."""
    n = len(values)
    keep = np.ones(n, dtype=np.bool_)
    for row in range(n):
        no_worse = (values <= values[row]).all(1)
        better = (values < values[row]).any(1)
        equal_before = no_worse & ~better & (np.arange(n) < row)
        keep[row] = not ((no_worse & better) | equal_before).any()
    return keep


def front(candidates: Sequence[Candidate], objectives: Sequence[str]) -> list[Candidate]:
    """Return the feasible candidates on the Pareto front, best first objective first."""
    candidates = [candidate for candidate in candidates if candidate.feasible]
    values = losses(candidates, objectives)
    chosen = np.flatnonzero(front_mask(values))
    return [candidates[int(n)] for n in chosen[np.argsort(values[chosen, 0], kind="stable")]]


def progress(candidates: Sequence[Candidate], objectives: Sequence[str]) -> Floats:
    """Return (n,): after each trial, the share of the box of all feasible ones that the feasible ones so far dominate."""
    feasible = np.array([candidate.feasible for candidate in candidates], dtype=np.bool_)
    volumes = hypervolume_history(losses([c for c in candidates if c.feasible], objectives))
    return np.concatenate([[0.0], volumes])[np.cumsum(feasible)]
