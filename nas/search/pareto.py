"""The Pareto front of a search and its hypervolume."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna._hypervolume import compute_hypervolume

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
    """Return the candidates on the Pareto front, best first objective first."""
    values = losses(candidates, objectives)
    chosen = np.flatnonzero(front_mask(values))
    return [candidates[int(n)] for n in chosen[np.argsort(values[chosen, 0], kind="stable")]]


def hypervolume_history(values: Floats) -> Floats:
    """Return (n,): the share of the objectives' box that the first 1, 2, ... n rows dominate, from 0 to 1.

    The box spans what the n rows hold; an objective that never changes adds nothing.
    """
    low, high = values.min(0), values.max(0)
    scaled = (values - low) / np.where(high > low, high - low, 1.0)
    history, best = np.zeros(len(values)), scaled[:0]
    for n, row in enumerate(scaled):
        if len(best) and (best <= row).all(1).any():
            history[n] = history[n - 1]
            continue
        best = np.concatenate([best[~(row <= best).all(1)], row[None]])
        history[n] = compute_hypervolume(best[np.argsort(best[:, 0])], np.ones(values.shape[1]))
    return history
