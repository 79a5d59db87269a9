"""Tune the baselines on validation data."""

import math
import time
from functools import partial
from typing import Any

from nas.baselines import BASELINES, TRAINED, Settings
from nas.baselines.walk import walk
from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.stages.tuning import tune
from nas.experiment.team import Job
from nas.model.evaluation import evaluate
from nas.space.recipe import Recipe


def baseline_jobs(context: Context) -> list[Job]:
    """Return the tuning of each baseline as a job: nothing of a search comes before them, or waits for them."""
    return [
        Job(tune_baseline, _file(name), {"name": name}, rank=1 if name in TRAINED else 2)
        for name in context.experiment.baselines.names
    ]


def tune_baselines(context: Context) -> list[dict[str, Any]]:
    """Return, for each baseline, {name, settings, validation, tried, seconds}, or {name, skipped} with the reason."""
    names = context.experiment.baselines.names
    with stage("baselines", len(names)) as steps:
        for name, _ in zip(names, context.team.each(baseline_jobs(context)), strict=True):
            steps.advance(name)
    return [tune_baseline(context, name) for name in names]


def tune_baseline(context: Context, name: str) -> dict[str, Any]:
    """Return the same of one baseline."""
    make = _tune_recipe if name in TRAINED else _tune_settings
    return context.done(_file(name), partial(make, context, name))


def _file(name: str) -> str:
    return f"baselines/{name}.json"


def _tune_settings(context: Context, name: str) -> dict[str, Any]:
    baseline, metric = BASELINES[name], context.experiment.metric
    reason = baseline.obstacle(context.interactions)
    if reason:
        return {"name": name, "skipped": reason}
    started = time.perf_counter()
    tried: list[dict[str, Any]] = []

    def judge(settings: Settings) -> float:
        if baseline.too_long(context.train, settings):
            return -math.inf
        scorer, users = baseline.fit(context.train, settings), context.judged_users
        means = evaluate(scorer, context.train, context.valid, context.experiment.ks, users).means
        tried.append({"settings": dict(settings), "validation": means})
        return means[metric]

    chosen = walk(baseline.ranges, baseline.start, judge)
    best = next(one for one in tried if one["settings"] == chosen)
    seconds = time.perf_counter() - started
    return {"name": name, **best, "tried": len(tried), "seconds": seconds}


def _tune_recipe(context: Context, name: str) -> dict[str, Any]:
    trained, experiment = TRAINED[name], context.experiment
    space = experiment.search_space.with_recipe(trained.recipe)
    found = tune(
        context, name, (trained.architecture(),), space, space.recipe_defaults(), experiment.baselines.recipes
    )
    # It is fused with the closed-form branches later, maybe by another process.
    recipe = Recipe.model_validate(found["recipe"])
    context.trainings.keep(trained.architecture(), recipe, experiment.search.seed)
    settings = found["recipe"] | {"epochs": found["epochs"]}
    return {
        "name": name,
        "settings": settings,
        "validation": found["validation"],
        "tried": found["trials"],
        "seconds": found["seconds"],
    }


def trained_recipe(row: dict[str, Any]) -> Recipe:
    """Read the recipe out of a trained baseline's row."""
    return Recipe.model_validate({k: v for k, v in row["settings"].items() if k in Recipe.model_fields})
