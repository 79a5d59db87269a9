"""When a search has come to stand still."""

from collections.abc import Sequence

from nas.search.hypervolume import Hypervolume
from nas.search.loop import Candidate
from nas.search.pareto import losses

LEAST_GAIN = 0.001
"""Share of the hypervolume that it has to grow by, or it has not moved."""


class Plateau:
    """Whether the hypervolume of the feasible trials has not moved for a number of trials.

    It is measured in the box of the first feasible trials, and from the worst of them. A box of all trials would change
    with every trial to come, and the decision with it: so a search that resumes, or that is looked at again when it is
    finished, finds that it ended at the very same trial. What is worse in some objective than all of those first ones
    counts for nothing.
    """

    def __init__(self, objectives: Sequence[str], patience: int | None, first: int) -> None:
        """Watch for `patience` trials without a move, None: never, in the box of the first `first` feasible trials."""
        self._objectives, self._patience, self._size = objectives, patience, first
        self._first: list[Candidate] = []
        self._measured: Hypervolume | None = None
        self._volumes: list[float] = []
        self.reached = False

    def add(self, candidate: Candidate) -> bool:
        """Look at the next trial and return whether the search stands still, be it since an earlier one."""
        if self._patience is None or self.reached:
            return self.reached
        if candidate.feasible:
            self._measure(candidate)
        if self._measured is not None:
            self._volumes.append(self._measured.volume)
            if len(self._volumes) > self._patience:
                before = self._volumes[-1 - self._patience]
                self.reached = self._volumes[-1] - before <= LEAST_GAIN * before
        return self.reached

    def _measure(self, candidate: Candidate) -> None:
        if self._measured is not None:
            self._measured.add(losses([candidate], self._objectives)[0])
            return
        self._first.append(candidate)
        if len(self._first) == self._size:
            values = losses(self._first, self._objectives)
            self._measured = Hypervolume(values.min(0), values.max(0))
            for row in values:
                self._measured.add(row)
