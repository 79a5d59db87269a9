"""Search the space on the supernet, every trial stored when it is finished."""

import json
import shutil
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import polars as pl
from optuna.storages import BaseStorage

from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.reachable import cheapest, on_costs
from nas.experiment.stages.judging import supernet_evaluator
from nas.experiment.stages.recipe import recipe_of
from nas.experiment.stages.supernet import train_supernet
from nas.experiment.storage import open_storage, study_name
from nas.experiment.team import Job
from nas.search.loop import Candidate, Evaluator, SearchSettings, candidates, open_study, search
from nas.search.pareto import front, progress
from nas.search.plateau import Plateau
from nas.shipped import shipped
from nas.space.architecture import Architecture
from nas.space.search_space import SearchSpace

# Values on their way from the process that found them to the one that searches.
_CANDIDATES = "candidates"


def run_search(context: Context, space: SearchSpace) -> list[Candidate]:
    """Return the finished trials, all that the experiment asks for or until it stands still; write trials.parquet and pareto.json."""
    settings = context.experiment.search
    storage: BaseStorage = open_storage(context.experiment, context.folder.path)
    study = open_study(storage, study_name(context.experiment, context.folder, "search"), settings.objectives)
    found = candidates(study)
    plateau = plateau_of(context, found)
    if len(found) < settings.trials and not plateau.reached:
        evaluator = _evaluator(context)
        with stage("search", settings.trials) as steps:
            steps.begin_at(len(found))
            wanted = SearchSettings(
                settings.sampler,
                settings.trials,
                settings.population,
                settings.seed,
                settings.objectives,
                first_architectures(context, space),
                settings.constraints,
            )
            for candidate in search(
                study,
                space,
                evaluator,
                wanted,
                context.costs,
                map if settings.timed else partial(_shared, context),
            ):
                found.append(candidate)
                steps.advance(_best(context, found))
                if plateau.add(candidate):
                    break
    write_trials(context, found)
    # Its weights are needed no more.
    _evaluator.cache_clear()
    return found


def _shared(
    context: Context, _evaluate: Evaluator, architectures: Sequence[Architecture]
) -> Iterator[dict[str, float]]:
    """Yield the values of each architecture, which are found together with the other processes of the run."""
    jobs = [Job(judge_candidate, _file(one), {"architecture": one}) for one in architectures]
    for job, _ in zip(jobs, context.team.each(jobs), strict=True):
        yield context.folder.read_json(job.result)


def judge_candidate(context: Context, architecture: Architecture) -> None:
    """Evaluate an architecture for the process that searches."""
    context.folder.write_json(_file(architecture), _evaluator(context)(architecture))


def dismiss_candidates(context: Context) -> None:
    """Remove what passed between processes: at the end, when none is still at what a search broke off."""
    shutil.rmtree(context.folder.path / _CANDIDATES, ignore_errors=True)


@lru_cache(maxsize=1)
def _evaluator(context: Context) -> Evaluator:
    """Return the evaluator by the supernet that the run has trained."""
    recipe = recipe_of(context.folder.read_json("recipe.json"))
    weights, _ = train_supernet(context, recipe)
    return supernet_evaluator(context, context.experiment.search_space, weights)


def _file(architecture: Architecture) -> str:
    return f"{_CANDIDATES}/{architecture.id}.json"


def plateau_of(context: Context, found: list[Candidate]) -> Plateau:
    """Return whether the search stands still, as far as it has come."""
    settings = context.experiment.search
    plateau = Plateau(settings.objectives, settings.patience, settings.population)
    for candidate in found:
        plateau.add(candidate)
    return plateau


def first_architectures(context: Context, space: SearchSpace) -> tuple[Architecture, ...]:
    """Return what a search begins with: what the field knows, after what surely keeps to the constraints on costs."""
    cheap = cheapest(context, space) if on_costs(context) else None
    return (*((cheap,) if cheap else ()), *known_architectures(space))


def _best(context: Context, found: list[Candidate]) -> str:
    metric = context.experiment.metric
    values = [candidate.values[metric] for candidate in found if candidate.feasible]
    return f"best {metric} {max(values):.4f}" if values else "nothing keeps to the constraints yet"


def known_architectures(space: SearchSpace) -> tuple[Architecture, ...]:
    """Return the presets that the space contains: a search begins with what the field already knows."""
    names = sorted(path.stem for path in (shipped("search_spaces") / "presets").glob("*.yaml"))
    presets = [SearchSpace.load(f"presets/{name}").decode({}) for name in names]
    return tuple(preset for preset in presets if space.contains(preset))


def pareto(context: Context, found: list[Candidate]) -> list[Candidate]:
    """Return the candidates on the Pareto front of the experiment's objectives, best first objective first."""
    return front(found, context.experiment.search.objectives)


def write_trials(context: Context, found: list[Candidate]) -> None:
    """Write trials.parquet (a row a trial) and pareto.json (the front)."""
    objectives = context.experiment.search.objectives
    volume = progress(found, objectives)
    rows = [
        {
            "number": c.number,
            "id": c.architecture.id,
            "architecture": json.dumps(c.architecture.values()),
            "description": str(c.architecture),
            "cached": c.cached,
            "seconds": c.seconds,
            "finished": c.finished,
            "hypervolume": float(volume[n]),
            "feasible": c.feasible,
            "violations": json.dumps(dict(c.violations)),
            **c.values,
        }
        for n, c in enumerate(found)
    ]
    table = pl.DataFrame(rows, infer_schema_length=None)
    context.folder.write("trials.parquet", table.write_parquet)
    context.folder.write_json("pareto.json", [describe(c) for c in pareto(context, found)])


def describe(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate as plain values."""
    return {
        "id": candidate.architecture.id,
        "trial": candidate.number,
        "architecture": candidate.architecture.values(),
        "description": str(candidate.architecture),
        "values": candidate.values,
        "violations": dict(candidate.violations),
    }
