"""The hypervolume that a front dominates, kept up to date as points arrive.

Shape suffixes: n points, m losses (less is better).
"""

import numpy as np
from numpy.typing import NDArray
from optuna._hypervolume import compute_hypervolume

Floats = NDArray[np.float64]


class Hypervolume:
    """The volume between a front and the point (1, ..., 1), in units of a box whose best corner is 0.

    A point that is added costs the volume of its own box less what the front has of it already, so a search of n trials
    costs n looks at the front and not n volumes of it. Points beyond 1 add nothing; those below 0 add more than 1.
    """

    def __init__(self, low: Floats, high: Floats) -> None:
        """Measure in the box from `low` to `high`, (m,) each; a side without length is taken as one unit."""
        self._low = low
        self._span = np.where(high > low, high - low, 1.0)
        self._front: Floats = np.empty((0, len(low)))
        self.volume = 0.0

    def add(self, row: Floats) -> float:
        """Add a point (m,) and return the volume."""
        scaled = (row - self._low) / self._span
        if (scaled > 1).any() or (self._front <= scaled).all(1).any():
            return self.volume
        own = float(np.prod(1 - scaled))
        # What the front dominates of the point's box: the front itself, cut off at the point.
        shared = np.maximum(self._front, scaled)
        self.volume += own - float(compute_hypervolume(shared, np.ones(len(scaled))))
        self._front = np.concatenate([self._front[~(scaled <= self._front).all(1)], scaled[None]])
        return self.volume


def hypervolume_history(values: Floats) -> Floats:
    """Return (n,): the share of the objectives' box that the first 1, 2, ... n rows of (n, m) losses dominate, from 0 to 1.

    The box spans what the n rows hold; an objective that never changes adds nothing.
    """
    if not len(values):
        return np.empty(0)
    measured = Hypervolume(values.min(0), values.max(0))
    return np.array([measured.add(row) for row in values])
