"""The contest: what the search found, tuned, beside what is known already; the best on validation data wins."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from nas.baselines import TRAINED
from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.reachable import affordable
from nas.experiment.stages.baselines import trained_recipe
from nas.experiment.stages.leading_baseline import leading_baseline
from nas.experiment.stages.partners import closed_form_branches, may_stand_alone, with_partners
from nas.experiment.stages.recipe import recipe_of, tune_candidate, tuned_lightgcn
from nas.experiment.stages.retrain import best_first, result_file, retrain, retraining
from nas.experiment.team import Job
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace

Row = dict[str, Any]

_TUNED, _BASELINE = "tuned", "baseline"


def contest(
    context: Context, space: SearchSpace, retrained: list[Row], chosen: Row, baselines: list[Row]
) -> tuple[list[Row], list[Row]]:
    """Return the results of all that competes, best first, and those of the tuning of the best candidates.

    The best of `retrained` are tuned each for itself. LightGCN, of which `chosen` is the tuning, and the networks among
    the baselines had theirs: each competes as it was trained, beside the closed-form branches. So do those branches
    without any, and a closed-form baseline that leads all of it: where the search finds nothing better, what is known is
    the answer.
    """
    recipe, lightgcn = recipe_of(chosen), tuned_lightgcn(chosen)
    found = [Architecture.model_validate(result["architecture"]) for result in retrained]
    others = [one for one in found if one.graph != lightgcn.graph][: context.experiment.retrain.tuned]
    searched = [with_partners(context, space, one) for one in others]
    known = [
        (architecture, its_recipe, of)
        for whole, its_recipe, of in _known(space, lightgcn, recipe, baselines)
        for architecture in _within_limits(context, space, whole)
    ]
    jobs = [
        Job(tune_and_retrain, result_file(one, _TUNED), {"architecture": one, "recipe": recipe})
        for one in searched
    ]
    jobs += [retraining(*one) for one in known]
    with stage("contest", len(jobs)) as steps:
        for _ in context.team.each(jobs):
            steps.advance()
    tuning = [tune_candidate(context, one, recipe) for one in searched]
    trainings = [(one, recipe_of(its), _TUNED) for one, its in zip(searched, tuning, strict=True)]
    results = {result["name"]: result for result in retrained}
    for architecture, its_recipe, of in [*trainings, *known]:
        result = retrain(context, architecture, its_recipe, of=of)
        results[result["name"]] = result
    best = best_first(context, list(results.values()))[0]
    for architecture in leading_baseline(context, best, baselines):
        result = retrain(context, architecture, Recipe.model_validate(best["recipe"]), of=_BASELINE)
        results[result["name"]] = result
    return best_first(context, list(results.values())), tuning


def tune_and_retrain(context: Context, architecture: Architecture, recipe: Recipe) -> None:
    """Tune an architecture, starting from a recipe, and retrain it by the best."""
    tuning = tune_candidate(context, architecture, recipe)
    retrain(context, architecture, recipe_of(tuning), of=_TUNED)


def _known(
    space: SearchSpace, lightgcn: Architecture, recipe: Recipe, baselines: list[Row]
) -> Iterator[tuple[Architecture, Recipe, str]]:
    """Yield what the space may hold of what is known: architecture, recipe and, where that is not the run's, whose it is.

    Each network stands with all closed-form branches, which are dropped where they do not help; then these alone.
    """
    branches = closed_form_branches(space)
    presets = [
        (TRAINED[row["name"]].architecture(), trained_recipe(row), row["name"])
        for row in baselines
        if row["name"] in TRAINED
    ]
    for network, its_recipe, of in [(lightgcn, recipe, ""), *presets]:
        if space.branches.graph and space.allows("graph") and space.branches.graph.contains(network.learned):
            yield Architecture.model_validate({**branches, "graph": network.graph}), its_recipe, of
    if branches and 0 in space.fusion.graph.choices:
        yield Architecture.model_validate(branches), recipe, ""


def _within_limits(context: Context, space: SearchSpace, architecture: Architecture) -> list[Architecture]:
    """Return the architecture, or where it costs too much, the largest parts in the space that do not."""
    for count in range(len(architecture.branches), 0, -1):
        parts = [
            Architecture.model_validate(dict(some))
            for some in combinations(architecture.branches.items(), count)
        ]
        kept = [part for part in parts if may_stand_alone(space, part.branches) and affordable(context, part)]
        if kept:
            return kept
    return []
