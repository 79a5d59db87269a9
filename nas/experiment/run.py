"""A run: all stages in order, and what came out."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from nas.errors import UserError
from nas.experiment.clock import Clock
from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.environment import environment
from nas.experiment.folder import RunFolder
from nas.experiment.headline import headline
from nas.experiment.stages.baselines import baseline_jobs, tune_baselines
from nas.experiment.stages.branches import settle_branches
from nas.experiment.stages.contest import contest
from nas.experiment.stages.export import additions_of, export
from nas.experiment.stages.fidelity import measure_fidelity
from nas.experiment.stages.fusion import States
from nas.experiment.stages.recipe import choose_recipe, recipe_of, tuned_lightgcn
from nas.experiment.stages.retrain import retrain, retrain_best
from nas.experiment.stages.search import pareto, run_search
from nas.experiment.stages.supernet import train_supernet
from nas.experiment.stages.test import judge, judge_baselines
from nas.experiment.summary import summarise
from nas.experiment.workers import at_work
from nas.model.evaluation import final_states
from nas.recommender.precision import PRECISIONS
from nas.space.architecture import Architecture

DEFAULT = "ml-100k"
"""The experiment that runs when none is named."""

Given = Experiment | Mapping[str, Any] | str | Path | None
"""An experiment, its values, its file, its name, or none: that of the run folder, or the default."""


class Run:
    """A run folder, as far as it has come."""

    def __init__(self, path: Path | str) -> None:
        """Open a run folder; UserError if it is none."""
        self.folder = RunFolder(Path(path))
        self.experiment = self.folder.experiment()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds; UserError if the run has not come to its end."""
        found: dict[str, Any] = self._finished("summary.json")
        return found

    @property
    def pareto(self) -> list[dict[str, Any]]:
        """The Pareto front of the search, best quality first: {id, trial, architecture, description, values}."""
        found: list[dict[str, Any]] = self._finished("pareto.json")
        return found

    def report(self) -> Path:
        """Write report.html anew from what the run holds and return its path."""
        return _write_report(self.folder, self.summary)

    def fidelity(
        self, n: int = 50, seeds: int = 2, seed: int = 0, workers: int | None = None
    ) -> dict[str, Any]:
        """Measure how far the supernet's ranking agrees with training; write it into fidelity.json, summary and report.

        Args:
            n: architectures to draw and train alone.
            seeds: trainings of each.
            seed: of the draw, written down before anything is trained.
            workers: as in `search`.

        Returns:
            What `nas.search.fidelity.rank_fidelity` says, with a row an architecture.

        Raises:
            UserError: the run has not come to its end, or its space holds fewer than five graph branches.
        """
        summary, context = self.summary, self.opened()
        with self.folder.locked():
            recipe = recipe_of(self._finished("recipe.json"))
            weights, _ = train_supernet(context, recipe)
            with at_work(context, workers):
                found = measure_fidelity(context, weights, recipe, n, seeds, seed)
            context.team.dismiss()
            self.folder.write_json("fidelity.json", found)
            summary = summary | {"fidelity": {key: value for key, value in found.items() if key != "rows"}}
            self.folder.write_json("summary.json", summary)
            _write_report(self.folder, summary)
        return found

    def retrain(self, architecture_id: str) -> dict[str, Any]:
        """Train one architecture of the search from scratch, as the best were; return its validation result.

        Raises:
            UserError: no trial of the run has this architecture.
        """
        architecture, recipe = self._architecture(architecture_id), recipe_of(self._finished("recipe.json"))
        context = self.opened()
        with self.folder.locked():
            return retrain(context, architecture, recipe)

    def export(
        self,
        folder: Path | str,
        architecture_id: str | None = None,
        precision: str = "float32",
        *,
        onnx: bool = False,
        ann: bool = False,
    ) -> Path:
        """Write the winner, or another retrained architecture, as an artefact; return its folder.

        `precision` is that of its numbers: float32, float16 or int8. For the latter two, `metrics` in its manifest.json
        say what they do to validation NDCG@20. With `onnx` the folder holds `model.onnx` too, whose answers are compared
        with the recommender's where onnxruntime is installed, with `ann` `items.usearch`, an approximate index of the item
        embeddings; the logger "nas" says how they differ, and what the index is worth.

        Raises:
            UserError: the architecture was not retrained, the folder holds something else, no such precision, an
                option's library is not installed, or `ann` is asked of several branches; nothing is written.
        """
        if precision not in PRECISIONS:
            raise UserError(f"--precision {precision}: expected one of {', '.join(PRECISIONS)}")
        winner = self.summary["winner"]["id"]
        chosen = winner if architecture_id is None else architecture_id
        result = self._retrained(chosen)
        additions = additions_of(result, onnx, ann)
        context = self.opened()
        with self.folder.locked():
            test, words = None, ""
            if chosen == winner:
                test, rows = self.summary["winner"]["test"], self.summary["baselines"]
                words = headline(self.experiment.metric, self.summary["test_users"], test, rows)
            export(context, result, _metrics(result, test), Path(folder), precision, additions, words)
        return Path(folder)

    def opened(self) -> Context:
        """Return the run's experiment with its data, loaded and split anew."""
        return Context.open(self.experiment, self.path)

    def _retrained(self, architecture_id: str) -> dict[str, Any]:
        """Return the result of an architecture: of the winner, the training that won, else the best by other recipes."""
        metric, winner = self.experiment.metric, self.summary["winner"]["name"]
        found = [json.loads(path.read_text()) for path in sorted(self.path.glob("retrained/*/result.json"))]
        same = [result for result in found if result["id"] == architecture_id]
        if not same:
            raise UserError(
                f"--architecture {architecture_id}: not retrained in {self.path}; expected one of "
                f"{sorted({result['id'] for result in found})}, or run `nas retrain {self.path} --architecture "
                f"{architecture_id}` first"
            )
        return max(same, key=lambda result: (result["name"] == winner, result["validation"][metric]))

    def _finished(self, name: str) -> Any:
        found = self.folder.read_json(name)
        if found is None:
            alone = "; it holds baselines alone" if self.folder.read_json("baselines.json") else ""
            raise UserError(
                f"{self.path}: the run has no {name} yet{alone}; run `nas search --run {self.path}` to its end"
            )
        return found

    def _architecture(self, architecture_id: str) -> Architecture:
        import polars as pl

        self._finished("pareto.json")
        trials = pl.read_parquet(self.path / "trials.parquet").filter(pl.col("id") == architecture_id)
        if not len(trials):
            raise UserError(
                f"--architecture {architecture_id}: no trial of {self.path} has this id; "
                f"expected an id of {self.path / 'trials.parquet'} or of the report, such as {self.pareto[0]['id']}"
            )
        return Architecture.model_validate(json.loads(trials["architecture"][0]))


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
            pays, see `workers_of`. Others may join by `nas worker`. It changes nothing but the time.

    Raises:
        UserError: something in the experiment, the data or the folder is wrong; nothing was written then.
    """
    context = _open(experiment, run, overrides)
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
        chosen = Experiment.load(experiment or DEFAULT, overrides)
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
        _write_report(folder, summary)


@contextmanager
def _at_work(context: Context, workers: int | None) -> Iterator[None]:
    """Share the work of the block with other processes; what passed between them is removed when it is done."""
    with at_work(context, workers) as number:
        context.folder.write_json("environment.json", environment(context) | {"workers": number})
        yield
    context.team.dismiss()
    context.trainings.dismiss()


def _make_summary(context: Context, clock: Clock) -> dict[str, Any]:
    folder = context.folder
    context.team.post(baseline_jobs(context))
    chosen = choose_recipe(context)
    recipe = recipe_of(chosen)
    _, supernet = train_supernet(context, recipe)
    space, branches = settle_branches(context, partial(_lightgcn_states, context, chosen))
    found = run_search(context, space)
    retrained = retrain_best(context, found, pareto(context, found), recipe)
    baselines = tune_baselines(context)
    retrained, tuning = contest(context, space, retrained, chosen, baselines)
    winner = retrained[0]
    test = judge(context, winner, chosen, baselines)
    words = headline(context.experiment.metric, test["users"], test["winner"], test["baselines"])
    metrics = _metrics(winner, test["winner"])
    size = export(context, winner, metrics, folder.path / "recommender", evidence=words)
    return summarise(context, chosen, supernet, branches, found, retrained, tuning, test, size, clock.seconds)


def _lightgcn_states(context: Context, chosen: dict[str, Any]) -> States:
    """Return the final states of the tuned LightGCN."""
    architecture = tuned_lightgcn(chosen)
    fitted = context.trainings.fit(architecture, recipe_of(chosen), context.experiment.search.seed)
    return final_states(architecture, fitted.weights, context.training.graph)[:2]


def _write_report(folder: RunFolder, summary: dict[str, Any]) -> Path:
    # Plotly and networkx take a second to import, which a search would spend before its first sign of life.
    from nas.experiment.report import write_report

    return write_report(folder, summary)


def _metrics(result: dict[str, Any], test: dict[str, float] | None) -> dict[str, Any]:
    return {"validation": result["validation"]} | ({"test": test} if test else {})
