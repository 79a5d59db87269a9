"""A closed-form baseline that leads all that a run has weighed becomes an architecture, and competes."""

from typing import Any

from nas.baselines import BASELINES
from nas.experiment.context import Context
from nas.experiment.reachable import affordable
from nas.experiment.stages.partners import may_stand_alone
from nas.search.constraints import merit
from nas.space.architecture import Architecture
from nas.space.closed_form import ClosedForm, ItemBranch, name_of
from nas.space.search_space import SearchSpace


def leading_baseline(
    context: Context, best: dict[str, Any], baselines: list[dict[str, Any]]
) -> list[Architecture]:
    """Return the best baseline that is a branch, alone and in the place of that branch of the `best` result so far.

    None where it is not better on validation data than that result, or the space has no such branch. Its settings are
    tuned alone, those of a branch by what it adds: where it leads, they may be the better ones.
    """
    metric, constraints = context.experiment.metric, context.experiment.search.constraints

    def rank(row: dict[str, Any]) -> tuple[float, float]:
        return merit(row["validation"], constraints, metric)

    space: SearchSpace = context.experiment.search_space
    known = [
        (row, branch) for row in baselines if (branch := _branch(context, row)) and _holds(space, branch)
    ]
    leading = [(row, branch) for row, branch in known if rank(row) > rank(best)]
    if not leading:
        return []
    _, branch = max(leading, key=lambda pair: rank(pair[0]))
    name = name_of(branch)
    others = Architecture.model_validate(best["architecture"]).branches
    found = [Architecture.model_validate({**others, name: branch})]
    if may_stand_alone(space, [name]):
        found.append(Architecture.model_validate({name: branch}))
    return [architecture for architecture in found if affordable(context, architecture)]


def _branch(context: Context, row: dict[str, Any]) -> ClosedForm | None:
    """Return the branch that is a baseline with the settings of its row, if there is one."""
    baseline = BASELINES.get(row["name"])
    if baseline is None or baseline.branch is None or "settings" not in row:
        return None
    return baseline.branch(context.train, row["settings"])


def _holds(space: SearchSpace, branch: ClosedForm) -> bool:
    name = name_of(branch)
    if name not in space.branches.names or not space.allows(name):
        return False
    kinds = space.branches.item.kind.choices if space.branches.item else ()
    return not isinstance(branch, ItemBranch) or branch.kind in kinds
