"""Settle the closed-form branches: their settings are chosen on validation data before the search fuses them.

Each branch is chosen by what it is worth beside the tuned LightGCN, for that is its place: alone, EASE is better than SLIM
on MovieLens 100K and 1M (NDCG@20 .313 and .311, .208 and .206), beside LightGCN it is worse (.3174 and .3189, .2108 and
.2119; validation data). Nearest users are chosen beside the branches before them as well. For each kind of weights, one
setting after the other takes its best value, the others held, and for the best kind then once more from where that led: a
fit is far cheaper than a training. On a large catalogue, where it is not, the settings of the item branch are chosen on its
most popular items, and then only the regularisation anew on all of them: on latest-small it is 10 there, 1 on the popular
ones (NDCG@20 on all, beside LightGCN, .2408 and .2393).
"""

import time
from functools import partial
from itertools import takewhile
from typing import Any

from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.stages.recipe import recipe_of, tuned_lightgcn
from nas.experiment.stages.settling import Genome, Network, Settling
from nas.experiment.team import Job
from nas.model.evaluation import final_states
from nas.space.closed_form import CLOSED_FORMS
from nas.space.dimension import Value
from nas.space.search_space import SearchSpace


def settle_branches(context: Context) -> tuple[SearchSpace, dict[str, dict[str, Any]]]:
    """Return the space with settled closed-form branches, and by name {settings, validation, alone, items, tried, seconds}.

    They stand beside the LightGCN whose recipe the run has chosen; without one, each stands alone. `validation` are the
    metrics beside it, `alone` those of the branch itself.

    A branch that cannot be fitted on this catalogue, or whose every setting costs more than the experiment allows, is
    taken out of the space; its result is {skipped: reason}.
    """
    results: dict[str, dict[str, Any]] = {}
    for name in CLOSED_FORMS:
        if name in context.experiment.search_space.branches.names:
            results[name] = context.done(_file(name), partial(_settle, context, name))
    return _settled(context, results), results


def climb_kind(context: Context, name: str, kind: Value) -> None:
    """Find the best settings of one kind of weights; leave them, and all that were tried, in the run folder."""
    started, settling = time.perf_counter(), _settling(context, name)
    with stage(f"{name} branch" if kind == name else f"{name} branch, {kind}", len(settling.steps)) as steps:
        found = settling.climb(settling.start(kind), steps.advance)
    tried = [[branch.model_dump(mode="json"), means] for branch, means in settling.values.items()]
    seconds = time.perf_counter() - started
    context.folder.write_json(_file(name, kind), {"genome": found, "tried": tried, "seconds": seconds})


def _settle(context: Context, name: str) -> dict[str, Any]:
    settling = _settling(context, name)
    if settling.obstacle is not None:
        return {"skipped": settling.obstacle}
    # What suits one kind of weights does not suit another: each climbs once, the best once more.
    jobs = [Job(climb_kind, _file(name, kind), {"name": name, "kind": kind}) for kind in settling.kinds]
    for _ in context.team.each(jobs):
        pass
    climbed = [context.folder.read_json(job.result) for job in jobs]
    started = time.perf_counter()
    for one in climbed:
        settling.values |= {
            CLOSED_FORMS[name].model_validate(branch): means for branch, means in one["tried"]
        }
    chosen: Genome = settling.climb(max((one["genome"] for one in climbed), key=settling.value))
    tried = len(settling.values)
    if settling.items < context.train.n_items:
        settling = _settling(context, name, all_items=True)
        with stage(f"{name} branch, all items", None) as steps:
            chosen = settling.walk("regularisation", chosen, steps.advance)
        tried += len(settling.values)
    branch = settling.space.decode(chosen)
    return {
        "settings": branch.model_dump(mode="json"),
        "validation": settling.values[branch],  # type: ignore[index]
        "alone": settling.alone(chosen),
        "items": settling.items,
        "tried": tried,
        "seconds": sum(one["seconds"] for one in climbed) + time.perf_counter() - started,
    }


def _settled(context: Context, results: dict[str, dict[str, Any]]) -> SearchSpace:
    space: SearchSpace = context.experiment.search_space
    for name, result in results.items():
        if "skipped" in result:
            space = space.without(name)
        else:
            space = space.settled(CLOSED_FORMS[name].model_validate(result["settings"]))
    return space


def _settling(context: Context, name: str, *, all_items: bool = False) -> Settling:
    """Return the settling of a branch, those before it being settled."""
    before = takewhile(lambda other: other != name, CLOSED_FORMS)
    held = {other: context.folder.read_json(_file(other)) for other in before}
    space = _settled(context, {other: result for other, result in held.items() if result})
    return Settling(context, space, name, partial(_lightgcn, context), all_items=all_items)


def _lightgcn(context: Context) -> Network | None:
    chosen = context.folder.read_json("recipe.json")
    if chosen is None or not context.experiment.search_space.allows("graph"):
        return None
    architecture = tuned_lightgcn(chosen)
    fitted = context.trainings.fit(architecture, recipe_of(chosen), context.experiment.search.seed)
    return architecture, final_states(architecture, fitted.weights, context.training.graph)[:2]


def _file(name: str, kind: Value | None = None) -> str:
    return f"branches/{name}.json" if kind is None else f"branches/{name}-{kind}.json"
