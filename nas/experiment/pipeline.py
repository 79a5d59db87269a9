"""All stages of a run in order."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.experiment.clock import Clock
from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.crew import check_workers
from nas.experiment.environment import environment
from nas.experiment.folder import RunFolder
from nas.experiment.headline import fitted_on, headline
from nas.experiment.run import Run, metrics_of, write_report_of
from nas.experiment.stages.baselines import baseline_jobs, tune_baselines
from nas.experiment.stages.branches import settle_branches
from nas.experiment.stages.contest import contest
from nas.experiment.stages.export import export
from nas.experiment.stages.recipe import choose_recipe, recipe_of
from nas.experiment.stages.retrain import retrain_best
from nas.experiment.stages.search import dismiss_candidates, run_search
from nas.experiment.stages.supernet import train_supernet
from nas.experiment.stages.test import judge, judge_baselines
from nas.experiment.summary import summarise
from nas.experiment.workers import at_work

logger = logging.getLogger("nas")

DEFAULT = "ml-100k"
"""The experiment that runs when none is named."""

Given = Experiment | Mapping[str, Any] | str | Path | None
"""An experiment, its values, its file, its name, or none: that of the run folder, or the default."""


def search(
    experiment: Given = None,
    run: Path | str | None = None,
    overrides: tuple[str, ...] = (),
    workers: int | None = None,
) -> Run:
    """Run an experiment to its end, or go on with one that was interrupted.

    Args:
        experiment: an `Experiment`, its values as a mapping, a YAML file or the name of a shipped one; None is the
            experiment that `run` holds already, or MovieLens 100K.
        run: the run folder; `results/NAME` by default.
        overrides: `section.key=value`, each in place of what the experiment says.
        workers: processes that share the work on this machine (>= 1), this one included; None: one a core where that
            pays, see `crew_of`. Others may join by `nas worker`. With equal threads each it changes nothing but the time.

    Raises:
        UserError: something in the experiment, the data or the folder is wrong; nothing was written then.
    """
    check_workers(workers)
    context = _open(experiment, run, overrides)
    logger.info("experiment %s, run folder %s", context.experiment.name, context.folder.path)
    with context.folder.locked():
        _run_stages(context, workers)
    return Run(context.folder.path)


def compare_baselines(
    experiment: Given = None,
    run: Path | str | None = None,
    overrides: tuple[str, ...] = (),
    workers: int | None = None,
) -> dict[str, Any]:
    """Tune the baselines of an experiment on its validation data and judge them on its test data, without a search.

    Args:
        experiment: as in `search`.
        run: the folder; `results/NAME-baselines` by default. What a search of the same experiment has tuned in it is
            used again.
        overrides: as in `search`.
        workers: as in `search`.

    Returns:
        {users, best, metric, baselines, seconds}: `best` is the name of the baseline that is best on validation data by
        `metric`, and the rows' differences are its leads over them.

    Raises:
        UserError: as `search` does.
    """
    check_workers(workers)
    context = _open(experiment, run, overrides, "-baselines")
    with context.folder.locked(), _at_work(context, workers):
        context.team.post(baseline_jobs(context))
        return judge_baselines(context, choose_recipe(context), tune_baselines(context))


def _open(experiment: Given, run: Path | str | None, overrides: tuple[str, ...], suffix: str = "") -> Context:
    if experiment is None and run is not None and RunFolder(Path(run)).started:
        held = RunFolder(Path(run)).experiment()
        chosen = Experiment.parse(held.resolved(), str(run), Path(), overrides)
    elif isinstance(experiment, Experiment):
        chosen = Experiment.parse(experiment.given(), "experiment", Path(), overrides)
    elif isinstance(experiment, Mapping):
        chosen = Experiment.parse(dict(experiment), "experiment", Path(), overrides)
    else:
        chosen = Experiment.load(DEFAULT if experiment is None else experiment, overrides)
    return Context.open(chosen, Path(run) if run is not None else Path("results") / (chosen.name + suffix))


def _run_stages(context: Context, workers: int | None) -> None:
    folder = context.folder
    summary = folder.read_json("summary.json")
    if summary is None:
        clock = Clock(folder)
        with clock.running(), _at_work(context, workers):
            summary = _make_summary(context, clock)
        folder.write_json("summary.json", summary)
    if not (folder.path / "report.html").exists():
        write_report_of(folder, summary)


@contextmanager
def _at_work(context: Context, workers: int | None) -> Iterator[None]:
    """Share the work of the block with other processes; what passed between them is removed when it is done."""
    with at_work(context, workers) as number:
        context.folder.write_json("environment.json", environment(context) | {"workers": number})
        yield
    context.team.dismiss()
    context.trainings.dismiss()
    dismiss_candidates(context)


def _make_summary(context: Context, clock: Clock) -> dict[str, Any]:
    folder, timed = context.folder, context.experiment.search.timed
    # Nothing else is at work while a search takes times.
    if not timed:
        context.team.post(baseline_jobs(context))
    chosen = choose_recipe(context)
    recipe = recipe_of(chosen)
    _, supernet = train_supernet(context, recipe)
    space, branches = settle_branches(context)
    found = run_search(context, space)
    if timed:
        context.team.post(baseline_jobs(context))
    retrained = retrain_best(context, space, found, recipe)
    baselines = tune_baselines(context)
    retrained, tuning = contest(context, space, retrained, chosen, baselines)
    winner = retrained[0]
    test = judge(context, winner, chosen, baselines)
    words = headline(context.experiment.metric, test["users"], test["winner"], test["baselines"])
    evidence = f"{words} {fitted_on(None)}"
    metrics = metrics_of(winner, test["winner"])
    size = export(context, winner, metrics, folder.path / "recommender", evidence=evidence)
    return summarise(context, chosen, supernet, branches, found, retrained, tuning, test, size, clock.seconds)
