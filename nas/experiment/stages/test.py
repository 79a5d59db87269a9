"""The only stage that reads test data: once everything is chosen, winner and baselines, refitted alike."""

from typing import Any

from nas.baselines import BASELINES
from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.stages.recipe import lightgcn
from nas.experiment.stages.retrain import refitted_weights
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
        weights = refitted_weights(context, winner)
        architecture = Architecture.model_validate(winner["architecture"])
        ours = scorer_of(architecture, weights, context.refitting.graph)
        steps.advance("winner refitted")
        rivals = [(_lightgcn_row(recipe_result), _lightgcn(context, recipe_result))]
        steps.advance("lightgcn refitted")
        for row in run:
            rivals.append((row, BASELINES[row["name"]].fit(context.train_and_valid, row["settings"])))
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


def _lightgcn(context: Context, result: dict[str, Any]) -> Scorer:
    weights = refit(
        lightgcn(),
        Recipe.model_validate(result["recipe"]),
        context.refitting,
        epochs=result["epochs"],
        seed=context.experiment.search.seed,
    )
    return scorer_of(lightgcn(), weights, context.refitting.graph)


def _differences(context: Context, ours: Evaluation, theirs: Evaluation) -> dict[str, list[float]]:
    names = [f"{metric}@{k}" for metric in METRICS for k in context.experiment.ks]
    seed = context.experiment.search.seed
    return {name: paired_bootstrap(ours.values[name], theirs.values[name], seed) for name in names}
