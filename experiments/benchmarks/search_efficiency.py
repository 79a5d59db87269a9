"""What a search finds in a given time: our pipeline beside training every trial, and beside scores that know nothing.

Every method gets the same data, space, recipe, early stopping, threads and wall-clock, all of its work counted. What
counts as found are architectures that were trained from scratch. The recipe is fixed: given, or that of LightGCN, tuned
once for all methods outside the clock, as is the data's loading. Nobody is given the presets to begin with.
"""

import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import plotly.graph_objects as go
import torch
import typer
from one_search import METHODS, run_method
from plotly.subplots import make_subplots
from side_by_side import Json, Threads, run
from tables import replace_rows

from nas.errors import UserError
from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.folder import RunFolder
from nas.experiment.stages.recipe import choose_recipe, recipe_of
from nas.experiment.statistics import deviation, paired_bootstrap
from nas.search.hypervolume import Hypervolume
from nas.space.recipe import Recipe

OUT = Path("results/benchmarks/search_efficiency.json")
METRIC, COST = "ndcg@20", "refresh_macs"
# Shares of the time at which a row says how far a method had come.
MOMENTS = (0.25, 0.5, 0.75, 1.0)

Found = dict[str, Any]
"""What one method found with one seed, as `run_method` returns it."""


def experiment_of(data: str, seed: int) -> Experiment:
    """Return the experiment called `data` over the `graph` space, with quality and cost as objectives."""
    overrides = (f"search.seed={seed}", "search_space=graph", f"search.objectives=[{METRIC}, {COST}]")
    return Experiment.load(data, overrides)


def fixed_recipe(data: str, given: Path | None, folder: RunFolder) -> Recipe:
    """Return the recipe of all methods: that of a run's recipe.json, or of LightGCN, tuned here if it was not before.

    Raises:
        UserError: results that are there were made by another recipe.
    """
    held = folder.read_json("recipe.json")
    if given is not None:
        found = json.loads(given.read_text(encoding="utf-8"))
        if held is not None and recipe_of(held) != recipe_of(found):
            raise UserError(f"{folder.path}: holds results by another recipe; give another --folder")
    elif held is None:
        found = choose_recipe(Context.open(experiment_of(data, 0), folder.path / "tuning"))
    else:
        found = held
    folder.write_json("recipe.json", found)
    return recipe_of(found)


def check_asked(data: str, seconds: float, folder: RunFolder) -> None:
    """Write down what the results of a folder are of; UserError where it holds those of something else."""
    asked = {
        "experiment": experiment_of(data, 0).resolved(),
        "seconds": seconds,
        "threads": torch.get_num_threads(),
    }
    held = folder.read_json("asked.json") or asked
    others = [name for name, value in asked.items() if held[name] != value]
    if others:
        raise UserError(
            f"{folder.path}: holds results that differ in {', '.join(others)}; give another --folder"
        )
    folder.write_json("asked.json", asked)


def results(
    data: str, methods: list[str], seeds: int, seconds: float, recipe: Recipe, folder: RunFolder
) -> Iterator[Found]:
    """Yield what each method finds with each seed; what the folder holds already is not made anew."""
    # Seeds first: an interrupted comparison has all methods on the seeds that it came to.
    for seed in range(seeds):
        for method in methods:
            name = f"{method}-{seed}.json"
            if folder.read_json(name) is None:
                context = Context.open(experiment_of(data, seed), folder.path / "runs" / f"{method}-{seed}")
                folder.write_json(name, run_method(method, context, recipe, seconds))
            found: Found = folder.read_json(name)
            best = max((one["validation"] for one in found["trained"]), default=float("nan"))
            typer.echo(f"{method}, seed {seed}: {len(found['trained'])} trained, best {best:.4f}", err=True)
            yield found


def best_so_far(found: Found, _box: Hypervolume) -> list[tuple[float, float]]:
    """Return (seconds, best validation quality) of each training that raised it."""
    steps: list[tuple[float, float]] = []
    for one in found["trained"]:
        if not steps or one["validation"] > steps[-1][1]:
            steps.append((one["seconds"], one["validation"]))
    return steps


def volume_so_far(found: Found, box: Hypervolume) -> list[tuple[float, float]]:
    """Return (seconds, hypervolume) of each training."""
    return [(one["seconds"], box.add(_losses(one))) for one in found["trained"]]


def _losses(one: dict[str, Any]) -> Any:
    return np.array([-one["validation"], one[COST]], dtype=np.float64)


def common_box(all_found: list[Found]) -> Callable[[], Hypervolume]:
    """Return a maker of empty hypervolumes, all in the box of everything that anybody trained."""
    rows = np.array([_losses(one) for found in all_found for one in found["trained"]])
    if not len(rows):
        raise UserError("--seconds: no method came to the end of a training; give them more time")
    return lambda: Hypervolume(rows.min(0), rows.max(0))


def value_at(steps: list[tuple[float, float]], seconds: float) -> float:
    """Return the height of a step line; 0 before its first step."""
    return next((value for moment, value in reversed(steps) if moment <= seconds), 0.0)


def rows(data: str, seconds: float, all_found: list[Found]) -> Iterator[dict[str, Any]]:
    """Yield a row a method: means over its seeds, and how far it had come at quarters of the time.

    `interval`: 95 %, of the test quality averaged over seeds, bootstrap over users. Test values are None, and
    `validation` 0, of a seed without a training that ended.
    """
    box = common_box(all_found)
    for method in dict.fromkeys(found["method"] for found in all_found):
        ours = [found for found in all_found if found["method"] == method]
        quality = [best_so_far(found, box()) for found in ours]
        volume = [volume_so_far(found, box()) for found in ours]
        tested = [found["test"] for found in ours if found["test"] is not None]
        last = [value_at(steps, seconds) for steps in quality]
        per_user = np.mean(tested, axis=0) if tested else np.empty(0)
        low, mean, high = (
            paired_bootstrap(per_user, np.zeros_like(per_user), 0) if tested else (None, None, None)
        )
        yield {
            "data": data,
            "method": method,
            "words": METHODS[method].words,
            "seconds": seconds,
            "threads": torch.get_num_threads(),
            "seeds": len(ours),
            "trained": statistics.median(len(found["trained"]) for found in ours),
            "scored": statistics.median(found["scored"] for found in ours),
            "validation": _rounded(statistics.fmean(last)),
            "deviation": _rounded(deviation(last)),
            "validation_at": {f"{share:g}": _mean_at(quality, share * seconds) for share in MOMENTS},
            "hypervolume_at": {f"{share:g}": _mean_at(volume, share * seconds) for share in MOMENTS},
            "test": _rounded(mean),
            "interval": [_rounded(low), _rounded(high)],
        }


def _mean_at(curves: list[list[tuple[float, float]]], seconds: float) -> float | None:
    return _rounded(statistics.fmean(value_at(steps, seconds) for steps in curves))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def draw(path: Path, seconds: float, all_found: list[Found]) -> None:
    """Write both measures against time as one offline HTML page: the mean over the seeds of each method."""
    box = common_box(all_found)
    figure = make_subplots(cols=2, subplot_titles=("best NDCG@20 on validation", "hypervolume, common box"))
    moments = np.linspace(0, seconds, 201)
    for column, measure in enumerate((best_so_far, volume_so_far), 1):
        for number, method in enumerate(dict.fromkeys(found["method"] for found in all_found)):
            curves = [measure(found, box()) for found in all_found if found["method"] == method]
            # Before the first training has ended there is nothing to draw.
            heights = [_mean_at(curves, moment) or None for moment in moments]
            line = go.Scatter(
                x=moments, y=heights, name=METHODS[method].words, legendgroup=method, showlegend=column == 1,
                mode="lines", line={"shape": "hv", "dash": ("solid", "dash", "dot")[number % 3]},
            )  # fmt: skip
            figure.add_trace(line, row=1, col=column)
    figure.update_xaxes(title_text="seconds, everything counted")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.write_html(path, include_plotlyjs=True)


def main(
    data: Annotated[
        str, typer.Option(help="A shipped experiment's name, or an experiment file.")
    ] = "ml-100k",
    seconds: Annotated[float, typer.Option(min=0.1, help="Wall-clock of each method and seed.")] = 600.0,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each method.")] = 5,
    methods: Annotated[str, typer.Option(help="Names with commas between them.")] = ",".join(METHODS),
    recipe: Annotated[
        Path | None, typer.Option(help="A run's recipe.json; LightGCN is tuned for one otherwise.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where results are kept; results/search-efficiency/DATA-SECONDS.")
    ] = None,
    threads: Threads = 2,
    as_json: Json = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Draw both measures.")] = None,
    out: Annotated[
        Path, typer.Option(help="The JSON file to write; data sets it holds already are kept.")
    ] = OUT,
) -> None:
    """Compare ways to search at equal wall-clock; run again, it goes on with what is missing."""
    chosen = methods.split(",")
    for name in chosen:
        if name not in METHODS:
            raise UserError(f"--methods: unknown method {name!r}; expected one of {list(METHODS)}")
    torch.set_num_threads(threads)
    name = experiment_of(data, 0).name
    kept = RunFolder(folder or Path("results") / "search-efficiency" / f"{name}-{seconds:g}")
    kept.path.mkdir(parents=True, exist_ok=True)
    check_asked(data, seconds, kept)
    fixed = fixed_recipe(data, recipe, kept)
    all_found = list(results(data, chosen, seeds, seconds, fixed, kept))
    made = list(rows(name, seconds, all_found))
    replace_rows(out, made)
    if plot is not None:
        draw(plot, seconds, all_found)
    if as_json:
        print(json.dumps(made, indent=1))
        return
    for row in made:
        test = "-" if row["test"] is None else f"{row['test']:.4f} {row['interval']}"
        print(
            f"{row['method']:16} validation {row['validation']:.4f} hypervolume {row['hypervolume_at']['1']:.4f} "
            f"test {test}, {row['trained']:g} trained"
        )


if __name__ == "__main__":
    run(main)
