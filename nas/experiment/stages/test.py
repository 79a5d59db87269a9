"""The only stage that reads test data: once everything is chosen, winner and baselines, refitted alike."""

from typing import Any

from nas.baselines import BASELINES, TRAINED
from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.stages.fusion import full_scorer
from nas.experiment.stages.recipe import lightgcn
from nas.experiment.stages.retrain import refitted_states
from nas.experiment.statistics import paired_bootstrap
from nas.model.evaluation import Evaluation, evaluate, scorer_of
from nas.model.fitting import refit
from nas.model.metrics import METRICS
from nas.model.ranking import Scorer
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe


def judge(
    context: Context,
    winner: dict[str, Any],
    recipe_result: dict[str, Any],
    baselines: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return {winner, baselines, users, seconds}: test metrics, and the winner's lead with 95 % intervals.

    Every model is fitted on train + validation with the settings and epochs chosen before. A difference is winner
    minus baseline, its interval a paired bootstrap over users.
    """
    return context.done("test.json", lambda: _judge(context, winner, recipe_result, baselines))


def _judge(
    context: Context,
    winner: dict[str, Any],
    recipe_result: dict[str, Any],
    baselines: list[dict[str, Any]],
) -> dict[str, Any]:
    run = [row for row in baselines if "skipped" not in row]
    with stage("test", 2 + len(run)) as steps:
        # Everything is fitted before the test data is read.
        architecture = Architecture.model_validate(winner["architecture"])
        ours = full_scorer(context, architecture, refitted_states(context, winner))
        steps.advance("winner refitted")
        known = _lightgcn_row(recipe_result)
        rivals = [(known, _trained(context, lightgcn(), known["settings"]))]
        steps.advance("lightgcn refitted")
        for row in run:
            rivals.append((row, _baseline(context, row)))
            steps.advance(f"{row['name']} refitted")
        held_out, history, ks = context.read_test(), context.train_and_valid, context.experiment.ks
        best = evaluate(ours, history, held_out, ks)
        rows = []
        for row, scorer in rivals:
            found = evaluate(scorer, history, held_out, ks)
            rows.append({**row, "test": found.means, "difference": _differences(context, best, found)})
    skipped = [{"test": {}, "difference": {}, "seconds": 0.0, **r} for r in baselines if "skipped" in r]
    return {"users": len(best.users), "winner": best.means, "baselines": rows + skipped}


def _lightgcn_row(result: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "lightgcn",
        "settings": result["recipe"] | {"epochs": result["epochs"]},
        "validation": result["validation"],
        "tried": result["trials"],
        "seconds": result["seconds"],
    }


def _baseline(context: Context, row: dict[str, Any]) -> Scorer:
    name, settings = row["name"], row["settings"]
    if name in TRAINED:
        return _trained(context, TRAINED[name].architecture(), settings)
    return BASELINES[name].fit(context.train_and_valid, settings)


def _trained(context: Context, architecture: Architecture, settings: dict[str, Any]) -> Scorer:
    recipe = Recipe.model_validate({key: value for key, value in settings.items() if key != "epochs"})
    seed = context.experiment.search.seed
    weights = refit(architecture, recipe, context.refitting, epochs=settings["epochs"], seed=seed)
    return scorer_of(architecture, weights, context.refitting.graph)


def _differences(context: Context, ours: Evaluation, theirs: Evaluation) -> dict[str, list[float]]:
    names = [f"{metric}@{k}" for metric in METRICS for k in context.experiment.ks]
    seed = context.experiment.search.seed
    return {name: paired_bootstrap(ours.values[name], theirs.values[name], seed) for name in names}
