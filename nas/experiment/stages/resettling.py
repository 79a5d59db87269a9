"""The settings of the item and the user branch once more, each beside all other branches, whose weights follow.

Only where validation data are what comes next. There, a branch's best settings depend on what stands beside it: chosen on
half of MovieLens 100K's users, by what all branches are worth together, they have an NDCG@20 of .263 to .269 on the other
half where those chosen beside LightGCN have .253 to .260 (`latest`), and .154 and .156 where these have .145 and .154
(`leave_last_out`). Where random interactions are asked for, hardly anything is gained: .308 after .309, packages and their
maintainers .392 after .393, their tags .652 after .648.
"""

import math
from collections.abc import Callable
from typing import Any

from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.stages.fusion import weigh
from nas.experiment.stages.partners import closed_form_branches
from nas.experiment.stages.settling import LARGE_CATALOGUE, Genome, Network, Settling
from nas.space.architecture import Architecture, Fusion
from nas.space.closed_form import ClosedForm, name_of
from nas.space.search_space import SearchSpace

_AGAIN = ("item", "user")


def settle_again(
    context: Context, settled: SearchSpace, network: Network | None
) -> dict[str, dict[str, Any]]:
    """Return {settings, validation, alone, together} of each branch whose settings change, by name.

    `together` is the quality of all branches with the settings before and with those chosen.

    Args:
        context: of the run.
        settled: the space, its closed-form branches being settled.
        network: the tuned LightGCN, if there is one.
    """
    branches = dict(closed_form_branches(settled))
    names = [name for name in _AGAIN if name in branches]
    if not names or len(branches) + (network is not None) < 2:
        return {}
    found: dict[str, dict[str, Any]] = {}
    beside = _Beside(context, network, branches)
    settlings = {name: _settling(context, branches, name, network) for name in names}
    steps = {name: _steps(context, settling, branches[name]) for name, settling in settlings.items()}
    with stage("branches beside all", sum(map(len, steps.values()))) as progress:
        for name, settling in settlings.items():
            genome, value = settling.space.encode(branches[name]), beside.judge(settling)  # type: ignore[arg-type]
            best = settling.climb(genome, progress.advance, value=value, steps=steps[name])
            if best != genome:
                branches[name] = settling.space.decode(best)  # type: ignore[assignment]
                found[name] = {
                    "settings": branches[name].model_dump(mode="json"),
                    "validation": settling.metrics(best),
                    "alone": settling.alone(best),
                    "together": [value(genome), value(best)],
                }
    return found


class _Beside:
    """What all branches are worth together, and with which weights they are worth most so far."""

    def __init__(self, context: Context, network: Network | None, branches: dict[str, ClosedForm]) -> None:
        """Begin with `branches`, and follow what is changed in them."""
        self._context, self._branches = context, branches
        self._graph = {"graph": network[0].graph} if network else {}
        self._states = network[1] if network else None
        self._values: dict[tuple[ClosedForm, ...], float] = {}
        best, means = weigh(context, self._whole(branches), self._states)
        self._best, self._weights = means[context.experiment.metric], best.weights

    def judge(self, settling: Settling) -> Callable[[Genome], float]:
        """Return what says how good settings of a branch are, its weights being the best of those near the best so far."""

        def value(genome: Genome) -> float:
            branch: ClosedForm = settling.space.decode(genome)  # type: ignore[assignment]
            if not settling.keeps(branch):
                return -math.inf
            branches = self._branches | {name_of(branch): branch}
            key = tuple(branches.values())
            if key not in self._values:
                whole = self._whole(branches).model_copy(
                    update={"fusion": Fusion.model_validate(self._weights)}
                )
                best, means = weigh(self._context, whole, self._states, near=True)
                self._values[key] = means[self._context.experiment.metric]
                if self._values[key] > self._best:
                    self._best, self._weights = self._values[key], best.weights
            return self._values[key]

        return value

    def _whole(self, branches: dict[str, ClosedForm]) -> Architecture:
        return Architecture.model_validate(self._graph | branches)


def _settling(
    context: Context, branches: dict[str, ClosedForm], name: str, network: Network | None
) -> Settling:
    space = context.experiment.search_space
    for other, branch in branches.items():
        if other != name:
            space = space.settled(branch)
    return Settling(context, space, name, lambda: network, all_items=True)


def _steps(context: Context, settling: Settling, branch: ClosedForm) -> list[str]:
    """Return the settings that are tried: on a large catalogue, those of the item branch that need no fit."""
    if settling.name != "item" or context.train.n_items <= LARGE_CATALOGUE:
        return settling.steps
    return [gene for gene in settling.steps if _fit_with(branch, gene, 0.0) == _fit_with(branch, gene, 1.0)]


def _fit_with(branch: ClosedForm, gene: str, value: float) -> ClosedForm:
    return branch.model_copy(update={gene: value}).fitted()
