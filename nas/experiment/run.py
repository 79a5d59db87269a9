"""A run: all stages in order, and what came out."""

import json
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nas.errors import UserError
from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.folder import RunFolder
from nas.experiment.stages.baselines import tune_baselines
from nas.experiment.stages.branches import settle_branches
from nas.experiment.stages.export import export
from nas.experiment.stages.recipe import choose_recipe, lightgcn, recipe_of, tune_candidate
from nas.experiment.stages.retrain import retrain, retrain_best
from nas.experiment.stages.search import pareto, run_search
from nas.experiment.stages.supernet import train_supernet
from nas.experiment.stages.test import judge
from nas.model.evaluation import costs
from nas.search.loop import Candidate
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace

DEFAULT = "ml-100k"
"""The experiment that runs when none is named."""


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

    def retrain(self, architecture_id: str) -> dict[str, Any]:
        """Train one architecture of the search from scratch, as the best were; return its validation result.

        Raises:
            UserError: no trial of the run has this architecture.
        """
        context = self._open()
        with self.folder.locked():
            recipe = recipe_of(self._finished("recipe.json"))
            return retrain(context, self._architecture(architecture_id), recipe)

    def export(self, folder: Path | str, architecture_id: str | None = None) -> Path:
        """Write the winner, or another retrained architecture, as an artefact; return its folder.

        Raises:
            UserError: the architecture was not retrained, or the folder holds something else.
        """
        winner = self.summary["winner"]["id"]
        chosen = winner if architecture_id is None else architecture_id
        name = self.summary["winner"]["name"] if chosen == winner else chosen
        result = self.folder.read_json(f"retrained/{name}/result.json") if chosen.isalnum() else None
        if result is None:
            raise UserError(
                f"--architecture {chosen}: not retrained in {self.path}; expected one of {self._retrained()}, "
                f"or run `nas retrain {self.path} --architecture {chosen}` first"
            )
        context = self._open()
        with self.folder.locked():
            test = self.summary["winner"]["test"] if chosen == winner else None
            export(context, result, _metrics(result, test), Path(folder))
        return Path(folder)

    def _open(self) -> Context:
        return Context.open(self.experiment, self.path)

    def _retrained(self) -> list[str]:
        return sorted({path.parent.name[:10] for path in self.path.glob("retrained/*/result.json")})

    def _finished(self, name: str) -> Any:
        found = self.folder.read_json(name)
        if found is None:
            raise UserError(
                f"{self.path}: the run has no {name} yet; run `nas search --run {self.path}` to its end"
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
    experiment: Experiment | Mapping[str, Any] | str | Path | None = None,
    run: Path | str | None = None,
    overrides: tuple[str, ...] = (),
) -> Run:
    """Run an experiment to its end, or go on with one that was interrupted.

    Args:
        experiment: an `Experiment`, its values as a mapping, a YAML file or the name of a shipped one; None is the
            experiment that `run` holds already, or MovieLens 100K.
        run: the run folder; `results/NAME` by default.
        overrides: `section.key=value`, each in place of what the experiment says.

    Raises:
        UserError: something in the experiment, the data or the folder is wrong; nothing was written then.
    """
    if experiment is None and run is not None and RunFolder(Path(run)).started:
        held = RunFolder(Path(run)).experiment()
        chosen = Experiment.parse(held.resolved(), str(run), Path(), overrides)
    elif isinstance(experiment, Experiment):
        chosen = Experiment.parse(experiment.resolved(), "experiment", Path(), overrides)
    elif isinstance(experiment, Mapping):
        chosen = Experiment.parse(dict(experiment), "experiment", Path(), overrides)
    else:
        chosen = Experiment.load(experiment or DEFAULT, overrides)
    context = Context.open(chosen, Path(run) if run is not None else Path("results") / chosen.name)
    with context.folder.locked():
        _run_stages(context)
    return Run(context.folder.path)


def _run_stages(context: Context) -> None:
    folder = context.folder
    summary = folder.read_json("summary.json")
    if summary is None:
        summary = _make_summary(context)
        folder.write_json("summary.json", summary)
    if not (folder.path / "report.html").exists():
        _write_report(folder, summary)


def _make_summary(context: Context) -> dict[str, Any]:
    folder = context.folder
    folder.write_json("environment.json", _environment(context))
    chosen = choose_recipe(context)
    recipe = recipe_of(chosen)
    weights, supernet = train_supernet(context, recipe)
    space, branches = settle_branches(context)
    found = run_search(context, space, weights)
    retrained = retrain_best(context, found, pareto(context, found), recipe)
    retrained, tuning = _tuned(context, space, retrained, recipe)
    winner = retrained[0]
    baselines = tune_baselines(context)
    test = judge(context, winner, chosen, baselines)
    size = export(context, winner, _metrics(winner, test["winner"]), folder.path / "recommender")
    return _summary(context, chosen, supernet, branches, found, retrained, tuning, test, size)


def _tuned(
    context: Context, space: SearchSpace, retrained: list[dict[str, Any]], recipe: Recipe
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Tune the recipes of the best retrained candidates, let what is known compete, and return all, best first.

    LightGCN had its tuning when the recipe was chosen, and the closed-form branches theirs; where the search finds
    nothing better, they are the answer.
    """
    known, settings = lightgcn(), context.experiment.retrain
    searched = [
        result
        for result in retrained
        if Architecture.model_validate(result["architecture"]).graph != known.graph
    ][: settings.tuned]
    tuning = []
    all_trained = {result["name"]: result for result in retrained}
    for result in searched:
        architecture = Architecture.model_validate(result["architecture"])
        tuning.append(tune_candidate(context, architecture, recipe))
        tuned = retrain(context, architecture, recipe_of(tuning[-1]), tuned=True)
        all_trained[tuned["name"]] = tuned
    for architecture in _known_fusions(space):
        same = retrain(context, architecture, recipe)
        all_trained[same["name"]] = same
    metric = context.experiment.metric
    return sorted(all_trained.values(), key=lambda result: -result["validation"][metric]), tuning


def _known_fusions(space: SearchSpace) -> list[Architecture]:
    """Return LightGCN with each closed-form branch that the space may add, and those branches without it."""
    closed = [name for name in space.branches.names if name != "graph"]
    known = [lightgcn()] if space.branches.graph and space.branches.graph.contains(lightgcn().learned) else []
    branches = space.only(*closed).decode({}).branches if closed else {}
    found = [Architecture.model_validate({**branches, "graph": one.graph}) for one in known]
    optional = 0 in space.fusion.graph.choices
    return found + ([Architecture.model_validate(branches)] if branches and optional else [])


def _write_report(folder: RunFolder, summary: dict[str, Any]) -> Path:
    # Plotly and networkx take a second to import, which a search would spend before its first sign of life.
    from nas.experiment.report import write_report

    return write_report(folder, summary)


def _metrics(result: dict[str, Any], test: dict[str, float] | None) -> dict[str, Any]:
    return {"validation": result["validation"]} | ({"test": test} if test else {})


def _summary(
    context: Context,
    recipe: dict[str, Any],
    supernet: dict[str, Any],
    branches: dict[str, dict[str, Any]],
    found: list[Candidate],
    retrained: list[dict[str, Any]],
    tuning: list[dict[str, Any]],
    test: dict[str, Any],
    artefact_bytes: int,
) -> dict[str, Any]:
    experiment, winner = context.experiment, retrained[0]
    architecture = Architecture.model_validate(winner["architecture"])
    interactions = context.interactions
    models = context.closed_forms.of(architecture, "train and valid")
    cost = costs(
        architecture, interactions.n_users, interactions.n_items, len(context.train_and_valid), models
    )
    seconds = {
        "recipe": recipe["seconds"],
        "supernet": supernet["seconds"],
        "branches": sum(result.get("seconds", 0.0) for result in branches.values()),
        "search": sum(c.seconds for c in found),
        "retrain": sum(result["seconds"] for result in [*retrained, *tuning]),
        "baselines": sum(row["seconds"] for row in test["baselines"] if row["name"] != "lightgcn"),
        "test": test["seconds"],
    }
    return {
        "name": experiment.name,
        "data": context.folder.read_json("data.json"),
        "recipe": {key: recipe[key] for key in ("recipe", "trials", "seconds")},
        "supernet": supernet,
        "branches": branches,
        "search": {
            "sampler": experiment.search.sampler,
            "objectives": list(experiment.search.objectives),
            "trials": len(found),
            "unique_architectures": len({c.architecture for c in found}),
            "space": experiment.search_space.name,
            "space_size": experiment.search_space.size(),
            "seconds": seconds["search"],
        },
        "retrain": {
            "candidates": len(retrained),
            "recipes": sum(result["trials"] for result in tuning),
            "seconds": seconds["retrain"],
        },
        "winner": {
            "id": winner["id"],
            "name": winner["name"],
            "architecture": winner["architecture"],
            "description": winner["description"],
            "recipe": winner["recipe"],
            "epochs": winner["epochs"],
            "validation": winner["validation"],
            "test": test["winner"],
            "parameters": cost["parameters"],
            "refresh_macs": cost["refresh_macs"],
            "artefact_bytes": artefact_bytes,
        },
        "baselines": test["baselines"],
        "test_users": test["users"],
        # Measured by a command of its own, when it is.
        "fidelity": None,
        "seconds": seconds,
        "seconds_total": sum(seconds.values()),
    }


def _environment(context: Context) -> dict[str, Any]:
    packages = ("torch", "optuna", "numpy", "scipy", "polars", "safetensors", "plotly", "pydantic")
    return {
        "nas": version("nas-recsys"),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": str(context.device),
        "gpu": torch.cuda.get_device_name(0) if context.device.type == "cuda" else None,
        "seed": context.experiment.search.seed,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _commit() -> str | None:
    """The commit of the checkout that nas runs from, None for an installed one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
