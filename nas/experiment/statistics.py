"""Intervals, not single numbers."""

from collections.abc import Sequence

import numpy as np

from nas.model.metrics import Floats
from nas.randomness import stream

_RESAMPLES = 2000
_CONFIDENCE = 0.95


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of what a sample was drawn from (n - 1); 0 of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def paired_bootstrap(ours: Floats, theirs: Floats, seed: int) -> list[float]:
    """Return [low, mean, high] of the mean difference ours - theirs over users.

    The interval is the 95 % percentile bootstrap (Efron and Tibshirani, 1993): the same users in both, resampled
    2,000 times.

    Args:
        ours: (n,) one value a user.
        theirs: (n,) of the same users in the same order.
        seed: of the resampling; equal seeds give equal intervals.
    """
    difference = ours - theirs
    rng = stream(seed, "bootstrap")
    n = len(difference)
    means = np.array([difference[rng.integers(n, size=n)].mean() for _ in range(_RESAMPLES)])
    low, high = np.quantile(means, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return [float(low), float(difference.mean()), float(high)]
