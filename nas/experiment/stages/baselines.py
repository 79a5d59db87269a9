"""Tune the baselines on validation data."""

import time
from typing import Any

from nas.baselines import BASELINES
from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.model.evaluation import evaluate, sample_users


def tune_baselines(context: Context) -> list[dict[str, Any]]:
    """Return, for each baseline, {name, settings, validation, tried, seconds}, or {name, skipped} with the reason."""
    names = context.experiment.baselines.names
    with stage("baselines", len(names)) as steps:
        results = []
        for name in names:
            results.append(context.done(f"baselines/{name}.json", lambda name=name: _tune(context, name)))  # type: ignore[misc]
            steps.advance(name)
    return results


def _tune(context: Context, name: str) -> dict[str, Any]:
    baseline, metric = BASELINES[name], context.experiment.metric
    reason = baseline.obstacle(context.interactions)
    if reason:
        return {"name": name, "skipped": reason}
    started = time.perf_counter()
    users = sample_users(
        context.valid, context.train, context.experiment.search.users, context.experiment.search.seed
    )
    best: dict[str, Any] = {}
    for settings in baseline.grid:
        scorer = baseline.fit(context.train, settings)
        means = evaluate(scorer, context.train, context.valid, context.experiment.ks, users).means
        if not best or means[metric] > best["validation"][metric]:
            best = {"settings": dict(settings), "validation": means}
    seconds = time.perf_counter() - started
    return {"name": name, **best, "tried": len(baseline.grid), "seconds": seconds}
