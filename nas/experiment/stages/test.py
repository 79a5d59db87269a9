"""The only stage that reads test data: once everything is chosen, winner and baselines, refitted alike."""

from functools import partial
from typing import Any

import numpy as np

from nas.baselines import BASELINES, TRAINED
from nas.data import Interactions
from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.stages.baselines import trained_recipe
from nas.experiment.stages.fusion import full_scorer
from nas.experiment.stages.recipe import lightgcn, tuned_lightgcn
from nas.experiment.stages.retrain import refitted_states, refitting
from nas.experiment.statistics import deviation, paired_bootstrap
from nas.experiment.team import Job
from nas.experiment.trainings import refit_file
from nas.model.evaluation import Evaluation, evaluate, scorer_of
from nas.model.groups import by_activity, by_popularity
from nas.model.metrics import METRICS
from nas.model.ranking import Scorer
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe

Row = dict[str, Any]

_LIGHTGCN = "lightgcn"


def judge(context: Context, winner: Row, recipe_result: Row, baselines: list[Row]) -> Row:
    """Return {winner, repeats, groups, baselines, users, seconds}: test metrics, and the winner's lead with 95 % intervals.

    `repeats` says how much chance is in the winner: {number, mean, deviation} of each metric over trainings with
    different seeds; all else is of the first, which is exported. `groups`, the winner's and each baseline's, says who is served: `activity` is the first objective by the users'
    activity, `popularity` what is found by the popularity of the items.

    Every model is fitted on train + validation with the settings and epochs chosen before. A difference is winner
    minus baseline, its interval a paired bootstrap over users.
    """
    rows = [_lightgcn_row(recipe_result), *baselines]
    return context.done("test.json", partial(_judge, context, rows, winner))


def judge_baselines(context: Context, recipe_result: Row, baselines: list[Row]) -> Row:
    """Return {best, metric, baselines, users, seconds}: the same without a winner.

    Differences are leads of the baseline called `best`, the best on validation data by `metric`.
    """
    rows = [_lightgcn_row(recipe_result), *baselines]
    return context.done("baselines.json", partial(_judge, context, rows, None))


def _judge(context: Context, rows: list[Row], winner: Row | None) -> Row:
    run = [row for row in rows if "skipped" not in row]
    repeats = _repeats(context, winner) if winner else 0
    jobs = _refits(context, winner, repeats, run)
    with stage("test", len(jobs) + len(run) + 1) as steps:
        # Everything is fitted before the test data is read.
        for _ in context.team.each(jobs):
            steps.advance("a network refitted")
        scorers = [_winner(context, winner, repeat) for repeat in range(repeats)] if winner else []
        for row in run:
            scorers.append(_baseline(context, row))
            steps.advance(f"{row['name']} refitted")
        held_out = context.read_test("search" if winner else "baselines")
        history, ks = context.train_and_valid, context.experiment.ks
        found = [evaluate(scorer, history, held_out, ks) for scorer in scorers]
    theirs = found[repeats:]
    metric = context.experiment.metric
    best = max(range(len(run)), key=lambda n: run[n]["validation"][metric])
    ours = found[0] if winner else found[best]
    judged = [
        {
            **row,
            "test": one.means,
            "difference": _differences(context, ours, one),
            "groups": _groups(context, one, held_out),
        }
        for row, one in zip(run, theirs, strict=True)
    ]
    skipped = [{"test": {}, "difference": {}, "seconds": 0.0, **row} for row in rows if "skipped" in row]
    head: Row = {"best": run[best]["name"], "metric": metric}
    if winner:
        head = {
            "winner": ours.means,
            "groups": _groups(context, ours, held_out),
            "repeats": _spread(found[:repeats]),
        }
    return {"users": len(ours.users), **head, "baselines": judged + skipped}


def _repeats(context: Context, winner: Row) -> int:
    """Return how often the winner is trained: once where it has no branch that chance has a part in."""
    return (
        context.experiment.retrain.repeats if Architecture.model_validate(winner["architecture"]).graph else 1
    )


def _refits(context: Context, winner: Row | None, repeats: int, rows: list[Row]) -> list[Job]:
    """Return the networks to train on train + validation, each once, as jobs."""
    seed = context.experiment.search.seed
    wanted = [
        (_network(row), trained_recipe(row), row["settings"]["epochs"], seed)
        for row in rows
        if row["name"] not in BASELINES
    ]
    if winner and winner["architecture"].get("graph"):
        wanted += [refitting(winner, repeat) for repeat in range(repeats)]
    names = ("architecture", "recipe", "epochs", "seed")
    jobs = [Job(keep_refit, refit_file(*one), dict(zip(names, one, strict=True))) for one in wanted]
    return list({job.result: job for job in jobs}.values())


def keep_refit(context: Context, architecture: Architecture, recipe: Recipe, epochs: int, seed: int) -> None:
    """Train a network on train + validation and leave it in the run folder."""
    context.trainings.keep_refit(architecture, recipe, epochs, seed)


def _winner(context: Context, winner: Row, repeat: int) -> Scorer:
    architecture = Architecture.model_validate(winner["architecture"])
    return full_scorer(context, architecture, refitted_states(context, winner, repeat))


def _spread(found: list[Evaluation]) -> dict[str, Any]:
    means = [one.means for one in found]
    return {
        "number": len(found),
        "mean": {key: float(np.mean([one[key] for one in means])) for key in means[0]},
        "deviation": {key: deviation([one[key] for one in means]) for key in means[0]},
    }


def _lightgcn_row(result: Row) -> Row:
    chosen = tuned_lightgcn(result).learned
    return {
        "name": _LIGHTGCN,
        "settings": {
            "layers": len(chosen.layers),
            "score": chosen.score,
            **result["recipe"],
            "epochs": result["epochs"],
        },
        "validation": result["validation"],
        "tried": result["trials"],
        "seconds": result["seconds"],
    }


def _baseline(context: Context, row: Row) -> Scorer:
    name, settings = row["name"], row["settings"]
    if name in BASELINES:
        return BASELINES[name].fit(context.train_and_valid, settings)
    architecture, seed = _network(row), context.experiment.search.seed
    weights = context.trainings.refit(architecture, trained_recipe(row), settings["epochs"], seed)
    return scorer_of(architecture, weights, context.refitting.graph)


def _network(row: Row) -> Architecture:
    """Return the architecture of a trained baseline's row."""
    if row["name"] == _LIGHTGCN:
        return lightgcn(row["settings"]["score"], row["settings"]["layers"])
    return TRAINED[row["name"]].architecture()


def _groups(context: Context, found: Evaluation, held_out: Interactions) -> dict[str, Any]:
    metric, history = context.experiment.metric, context.train_and_valid
    length = int(metric.partition("@")[2])
    return {
        "activity": by_activity(found.values[metric], found.users, history),
        "popularity": by_popularity(found.ranked[:, :length], found.users, held_out, history),
    }


def _differences(context: Context, ours: Evaluation, theirs: Evaluation) -> dict[str, list[float]]:
    names = [f"{metric}@{k}" for metric in METRICS for k in context.experiment.ks]
    seed = context.experiment.search.seed
    return {name: paired_bootstrap(ours.values[name], theirs.values[name], seed) for name in names}
