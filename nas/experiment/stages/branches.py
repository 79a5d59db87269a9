"""Settle the closed-form branches: their settings are chosen on validation data before the search fuses them.

Each branch is chosen by what it is worth beside the tuned LightGCN, for that is its place: alone, EASE is better than SLIM
on MovieLens 100K and 1M (NDCG@20 .313 and .311, .208 and .206), beside LightGCN it is worse (.3174 and .3189, .2108 and
.2119; validation data). Nearest users are chosen beside the branches before them as well, from two starts. For each kind of
weights, one setting after the other takes its best value, the others held, and for the best kind then once more from where
that led: a fit is far cheaper than a training. On a large catalogue, where it is not, the settings of the item branch are
chosen on its most popular items, and then only the regularisation and how much features count anew on all of them: on
latest-small the former is 10 there, 1 on the popular ones (NDCG@20 on all, beside LightGCN, .2408 and .2393).

In the end the kinds of item weights that come close are weighed once more, each beside all branches, with nearest users of
its own: what a kind is worth depends on what the others hold already. Packages and what they need, 11,840 x 4,731: EASE is
ahead beside LightGCN, and with nearest users as well SLIM is (NDCG@20 .5375 and .5408). Where what comes next is asked
for, the settings are chosen beside all branches then.
"""

import math
import time
from functools import partial
from itertools import takewhile
from typing import Any

from nas.data.splits import comes_next
from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.stages.fusion import weigh
from nas.experiment.stages.partners import closed_form_branches
from nas.experiment.stages.recipe import recipe_of, tuned_lightgcn
from nas.experiment.stages.resettling import settle_again
from nas.experiment.stages.settling import Genome, Network, Settling
from nas.experiment.team import Job
from nas.model.evaluation import final_states
from nas.search.constraints import merit
from nas.space.architecture import Architecture
from nas.space.closed_form import CLOSED_FORMS
from nas.space.dimension import Value
from nas.space.search_space import SearchSpace

Results = dict[str, dict[str, Any]]

# Of the best kind's quality beside LightGCN: with less, a kind is not weighed again.
_CLOSE = 0.98
# Settings of the item branch that are walked to their best on all items, where the others were chosen on popular ones.
_ON_ALL_ITEMS = ("regularisation", "features")


def settle_branches(context: Context) -> tuple[SearchSpace, Results]:
    """Return the space with settled closed-form branches, and by name {settings, validation, alone, items, tried, seconds}.

    They stand beside the LightGCN whose recipe the run has chosen; without one, each stands alone. `validation` are the
    metrics beside it, `alone` those of the branch itself. `beside_all` of the item branch, where several kinds of weights
    come close, says what each is worth beside all branches.

    A branch that cannot be fitted on this catalogue, or whose every setting costs more than the experiment allows, is
    taken out of the space; its result is {skipped: reason}.
    """
    results: Results = {}
    for name in CLOSED_FORMS:
        if name in context.experiment.search_space.branches.names:
            results[name] = context.done(_file(name), partial(_settle, context, name, dict(results)))
    # Without others beside it, the kind is chosen already.
    if results.keys() > {"item"} and "settings" in results["item"]:
        results |= context.done("branches/kinds.json", partial(_weigh_kinds, context, results))["results"]
    if comes_next(context.train, context.valid):
        results |= context.done("branches/again.json", partial(_settle_again, context, results))["results"]
    return _settled(context, results), results


def climb_kind(context: Context, name: str, kind: Value) -> None:
    """Find the best settings of one kind of weights; leave them, and all that were tried, in the run folder."""
    started, settling = time.perf_counter(), _settling(context, name, _kept(context))
    number = len(settling.steps) * len(settling.starts(kind))
    with stage(f"{name} branch" if kind == name else f"{name} branch, {kind}", number) as steps:
        found = settling.climb_from_starts(kind, steps.advance)
    tried = [[branch.model_dump(mode="json"), means] for branch, means in settling.values.items()]
    seconds = time.perf_counter() - started
    context.folder.write_json(_file(name, kind), {"genome": found, "tried": tried, "seconds": seconds})


def _settle(context: Context, name: str, before: Results) -> dict[str, Any]:
    settling = _settling(context, name, before)
    if settling.obstacle is not None:
        return {"skipped": settling.obstacle}
    # What suits one kind of weights does not suit another: each climbs once, the best once more.
    jobs = [Job(climb_kind, _file(name, kind), {"name": name, "kind": kind}) for kind in settling.kinds]
    for _ in context.team.each(jobs):
        pass
    climbed = [context.folder.read_json(job.result) for job in jobs]
    started = time.perf_counter()
    for one in climbed:
        _take_in(settling, one)
    chosen: Genome = settling.climb(max((one["genome"] for one in climbed), key=settling.value))
    result = _result(context, settling, chosen, before)
    return result | {"seconds": sum(one["seconds"] for one in climbed) + time.perf_counter() - started}


def _weigh_kinds(context: Context, results: Results) -> dict[str, Any]:
    """Return {results}: those that change when the kinds of item weights that come close are weighed beside all branches.

    Nothing changes where no other kind comes close.
    """
    started, metric = time.perf_counter(), context.experiment.metric
    settling = _settling(context, "item", results)
    climbed = {kind: context.folder.read_json(_file("item", kind)) for kind in settling.kinds}
    # Where all that was tried costs more than it may, nothing was judged.
    values = {
        kind: max((means[metric] for _, means in one["tried"]), default=-math.inf)
        for kind, one in climbed.items()
    }
    chosen = results["item"]["settings"]["kind"]
    close = [kind for kind, value in values.items() if value >= _CLOSE * max(values.values())]
    others = [kind for kind in close if kind != chosen]
    if not others:
        return {"results": {}}
    rows, found = {chosen: results}, {}
    with stage("kinds of item weights", len(others) + 1) as steps:
        for kind in [chosen, *others]:
            if kind != chosen:
                _take_in(settling, climbed[kind])
                item = _result(context, settling, climbed[kind]["genome"], results)
                rows[kind] = _with_users(context, results | {"item": results["item"] | item})
            found[kind] = _beside_all(context, _settled(context, rows[kind]))
            steps.advance(f"{kind} {metric} {found[kind][metric]:.4f}")
    best = max(found, key=lambda kind: merit(found[kind], context.experiment.search.constraints, metric))
    item = rows[best]["item"] | {
        "beside_all": {kind: means[metric] for kind, means in found.items()},
        "seconds": results["item"]["seconds"] + time.perf_counter() - started,
    }
    return {"results": rows[best] | {"item": item}}


def _settle_again(context: Context, results: Results) -> dict[str, Any]:
    """Return {results}: those that change when settings are chosen beside all branches."""
    started = time.perf_counter()
    changed = settle_again(context, _settled(context, results), _lightgcn(context))
    # Divided among those that changed: all of it counts once.
    seconds = (time.perf_counter() - started) / max(1, len(changed))
    return {
        "results": {
            name: results[name] | new | {"seconds": results[name]["seconds"] + seconds}
            for name, new in changed.items()
        }
    }


def _with_users(context: Context, results: Results) -> Results:
    """Return results with the user branch, if the space has one, settled beside the others of them."""
    if "user" not in results:
        return results
    settling, seconds = _settling(context, "user", results), {"seconds": results["user"]["seconds"]}
    if settling.obstacle is not None:
        return results | {"user": seconds | {"skipped": settling.obstacle}}
    genome = settling.climb(settling.climb_from_starts("user"))
    return results | {"user": seconds | _result(context, settling, genome, results)}


def _beside_all(context: Context, space: SearchSpace) -> dict[str, float]:
    """Return the metrics of the tuned LightGCN and all closed-form branches of a space, weighed."""
    network, states = _lightgcn(context) or (None, None)
    graph = {"graph": network.graph} if network else {}
    return weigh(context, Architecture.model_validate(graph | closed_form_branches(space)), states)[1]


def _take_in(settling: Settling, climbed: dict[str, Any]) -> None:
    """Let a settling know what a climb has tried."""
    form = CLOSED_FORMS[settling.name]
    settling.values |= {form.model_validate(branch): means for branch, means in climbed["tried"]}


def _result(context: Context, settling: Settling, genome: Genome, before: Results) -> dict[str, Any]:
    """Return the result of some settings; where they were chosen on some items, the regularisation is anew on all."""
    tried = len(settling.values)
    if settling.items < context.train.n_items:
        settling = _settling(context, settling.name, before, all_items=True)
        with stage(f"{settling.name} branch, all items", None) as steps:
            for gene in _ON_ALL_ITEMS:
                genome = settling.walk(gene, genome, steps.advance)
        tried += len(settling.values)
    branch = settling.space.decode(genome)
    return {
        "settings": branch.model_dump(mode="json"),
        "validation": settling.values[branch],  # type: ignore[index]
        "alone": settling.alone(genome),
        "items": settling.items,
        "tried": tried,
    }


def _settled(context: Context, results: Results) -> SearchSpace:
    space: SearchSpace = context.experiment.search_space
    for name, result in results.items():
        if "skipped" in result:
            space = space.without(name)
        else:
            space = space.settled(CLOSED_FORMS[name].model_validate(result["settings"]))
    return space


def _settling(context: Context, name: str, results: Results, *, all_items: bool = False) -> Settling:
    """Return the settling of a branch, those before it being settled as `results` say."""
    before = takewhile(lambda other: other != name, CLOSED_FORMS)
    space = _settled(context, {other: results[other] for other in before if other in results})
    return Settling(context, space, name, partial(_lightgcn, context), all_items=all_items)


def _kept(context: Context) -> Results:
    """Return the results that the run folder holds."""
    held = {name: context.folder.read_json(_file(name)) for name in CLOSED_FORMS}
    return {name: result for name, result in held.items() if result}


def _lightgcn(context: Context) -> Network | None:
    chosen = context.folder.read_json("recipe.json")
    if chosen is None or not context.experiment.search_space.allows("graph"):
        return None
    architecture = tuned_lightgcn(chosen)
    fitted = context.trainings.fit(architecture, recipe_of(chosen), context.experiment.search.seed)
    return architecture, final_states(architecture, fitted.weights, context.training.graph)[:2]


def _file(name: str, kind: Value | None = None) -> str:
    return f"branches/{name}.json" if kind is None else f"branches/{name}-{kind}.json"
