"""Tune the baselines on validation data."""

import time
from functools import partial
from typing import Any

from nas.baselines import BASELINES, TRAINED
from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.stages.recipe import tune
from nas.model.evaluation import evaluate
from nas.space.recipe import Recipe


def tune_baselines(context: Context) -> list[dict[str, Any]]:
    """Return, for each baseline, {name, settings, validation, tried, seconds}, or {name, skipped} with the reason."""
    names = context.experiment.baselines.names
    with stage("baselines", len(names)) as steps:
        results = []
        for name in names:
            make = _tune_recipe if name in TRAINED else _tune_settings
            results.append(context.done(f"baselines/{name}.json", partial(make, context, name)))
            steps.advance(name)
    return results


def _tune_settings(context: Context, name: str) -> dict[str, Any]:
    baseline, metric = BASELINES[name], context.experiment.metric
    reason = baseline.obstacle(context.interactions)
    if reason:
        return {"name": name, "skipped": reason}
    started = time.perf_counter()
    users = context.judged_users
    best: dict[str, Any] = {}
    for settings in baseline.grid:
        scorer = baseline.fit(context.train, settings)
        means = evaluate(scorer, context.train, context.valid, context.experiment.ks, users).means
        if not best or means[metric] > best["validation"][metric]:
            best = {"settings": dict(settings), "validation": means}
    seconds = time.perf_counter() - started
    return {"name": name, **best, "tried": len(baseline.grid), "seconds": seconds}


def _tune_recipe(context: Context, name: str) -> dict[str, Any]:
    trained, experiment = TRAINED[name], context.experiment
    space = experiment.search_space.with_recipe(trained.recipe)
    found = tune(
        context, name, (trained.architecture(),), space, space.recipe_defaults(), experiment.baselines.recipes
    )
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
