"""Train candidates from scratch, with early stopping on validation data."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.stages.fusion import States, validation_scorer, weigh
from nas.experiment.stages.judging import ALONE
from nas.experiment.stages.partners import with_partners
from nas.experiment.statistics import deviation
from nas.experiment.team import Job
from nas.model.evaluation import evaluate, final_states
from nas.model.fitting import Fitted
from nas.model.training import steps_of
from nas.model.weights import Weights
from nas.search.constraints import merit
from nas.search.loop import Candidate
from nas.space.architecture import Architecture, GraphBranch
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace


def retrain_best(
    context: Context, space: SearchSpace, found: list[Candidate], recipe: Recipe
) -> list[dict[str, Any]]:
    """Retrain the graph branches that are worth most by themselves in the search, and return their results.

    Each is weighed with all closed-form branches of the space. What a network that has hardly been trained adds to
    those is another thing than what it adds in the end: on ML-100K, of 44 good random networks, the five best by
    themselves end at a mean validation NDCG@20 of .3213 with three branches beside them, the five that were best beside
    these branches before at .3166.
    """
    metric, constraints = context.experiment.metric, context.experiment.search.constraints
    # What breaks a constraint on costs has no quality; a quality may be better after training than in the supernet.
    judged = [c for c in found if ALONE in c.values]
    judged.sort(key=lambda c: (*merit(c.values, constraints, ALONE), c.values[metric]), reverse=True)
    # Candidates that differ in how their branches are weighed share one training, and are weighed anew after it.
    first: dict[GraphBranch, Architecture] = {}
    for candidate in judged:
        first.setdefault(candidate.architecture.learned, candidate.architecture)
    best = list(first.values())[: context.experiment.retrain.top]
    chosen = [with_partners(context, space, architecture) for architecture in best]
    with stage("retrain", len(chosen)) as steps:
        results: list[dict[str, Any]] = []
        jobs = [retraining(architecture, recipe) for architecture in chosen]
        for architecture, _ in zip(chosen, context.team.each(jobs), strict=True):
            results.append(retrain(context, architecture, recipe))
            highest = max(result["validation"][metric] for result in results)
            steps.advance(f"best {metric} {highest:.4f}")
    return best_first(context, results)


def retraining(architecture: Architecture, recipe: Recipe, of: str = "") -> Job:
    """Return what `retrain` does as a job."""
    return Job(
        retrain, result_file(architecture, of), {"architecture": architecture, "recipe": recipe, "of": of}
    )


def best_first(context: Context, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return retrained results, those first that keep to the constraints on qualities, each part best first."""
    metric, constraints = context.experiment.metric, context.experiment.search.constraints
    return sorted(results, key=lambda result: merit(result["validation"], constraints, metric), reverse=True)


def retrain(context: Context, architecture: Architecture, recipe: Recipe, *, of: str = "") -> dict[str, Any]:
    """Train one architecture with each of `retrain.seeds` seeds, unless the run holds its result already.

    `of` names the recipe where it is not the run's; each result of an architecture is kept beside the others.

    Its branches are weighed anew, with the trained graph branch, so `architecture` may differ from what was asked for in
    its fusion; `id` is that of what was asked for.

    Returns:
        {id, name (of its folder), architecture, description, recipe, seeds, epochs, steps (of an epoch),
        validation (means over seeds), spread (standard deviation over seeds), graph (validation of the graph
        branch alone), costs (in service), curve, seconds}.
    """
    path = result_file(architecture, of)
    if not (context.folder.path / path).exists():
        name = Path(path).name
        context.folder.write(path, lambda draft: _train(context, architecture, recipe, name, draft))
    result: dict[str, Any] = context.folder.read_json(f"{path}/result.json")
    return result


def result_file(architecture: Architecture, of: str = "") -> str:
    """Return the folder, in the run's, that `retrain` writes."""
    return f"retrained/{architecture.id}-{of}" if of else f"retrained/{architecture.id}"


def _train(context: Context, architecture: Architecture, recipe: Recipe, name: str, draft: Path) -> None:
    experiment = context.experiment
    seeds = [experiment.search.seed + n for n in range(experiment.retrain.seeds)]
    started = time.perf_counter()
    fitted = (
        [context.trainings.fit(architecture, recipe, seed) for seed in seeds] if architecture.graph else []
    )
    weighed, means = _weighed(context, architecture, fitted)
    result = {
        "id": architecture.id,
        "name": name,
        "architecture": weighed.values(),
        "description": str(weighed),
        "recipe": recipe.model_dump(mode="json"),
        "seeds": seeds,
        "epochs": round(float(np.median([one.epochs for one in fitted]))) if fitted else 0,
        "steps": steps_of(context.training, recipe) if fitted else 0,
        "validation": {key: float(np.mean([m[key] for m in means])) for key in means[0]},
        "spread": {key: deviation([m[key] for m in means]) for key in means[0]},
        "graph": fitted[0].evaluation.means if fitted else None,
        "costs": context.costs(weighed),
        "curve": fitted[0].curve if fitted else [],
        "seconds": time.perf_counter() - started,
    }
    draft.mkdir()
    if fitted:
        save_file(fitted[0].weights.state(), draft / "weights.safetensors")
    (draft / "result.json").write_text(json.dumps(result, indent=1, allow_nan=False))


def _weighed(
    context: Context, architecture: Architecture, fitted: list[Fitted]
) -> tuple[Architecture, list[dict[str, float]]]:
    """Return the architecture with weights chosen by its first training, and the validation metrics of each."""
    if len(architecture.branches) == 1:
        if fitted:
            return architecture, [one.evaluation.means for one in fitted]
        return architecture, [weigh(context, architecture, None)[1]]
    graph = context.training.graph
    states: list[States | None] = [final_states(architecture, one.weights, graph)[:2] for one in fitted]
    weighed, first = weigh(context, architecture, states[0] if states else None)
    means = [first]
    for one in states[1:]:
        scorer = validation_scorer(context, weighed, one)
        users = context.judged_users
        means.append(evaluate(scorer, context.train, context.valid, context.experiment.ks, users).means)
    return weighed, means


def refitted_states(context: Context, result: dict[str, Any], repeat: int = 0) -> States | None:
    """Return the final states that are tested, or None where the architecture has no graph branch."""
    weights = refitted(context, result, repeat)
    if weights is None:
        return None
    architecture = Architecture.model_validate(result["architecture"])
    users, items, _ = final_states(architecture, weights, context.refitting.graph)
    return users, items


def trained(context: Context, result: dict[str, Any]) -> Weights:
    """Return the weights of an architecture with a graph branch, fitted on the training part."""
    path = context.folder.path / f"retrained/{result['name']}/weights.safetensors"
    return Weights(load_file(path, device=str(context.device)))


def refitted(context: Context, result: dict[str, Any], repeat: int = 0) -> Weights | None:
    """Return the weights fitted on train + validation for the chosen epochs.

    Those of `repeat` 0 are exported, others differ in their seed. None where the architecture has no graph branch.
    """
    if not result["architecture"].get("graph"):
        return None
    if repeat:
        return context.trainings.refit(*refitting(result, repeat))
    name = f"retrained/{result['name']}/refitted.safetensors"
    path = context.folder.path / name
    if not path.exists():
        weights = context.trainings.refit(*refitting(result))
        context.folder.write(name, lambda draft: save_file(weights.state(), draft))
    return Weights(load_file(path, device=str(context.device)))


def refitting(result: dict[str, Any], repeat: int = 0) -> tuple[Architecture, Recipe, int, int]:
    """Return what `refitted` trains: architecture, recipe, epochs and seed."""
    architecture = Architecture.model_validate(result["architecture"])
    return (
        architecture,
        Recipe.model_validate(result["recipe"]),
        result["epochs"],
        result["seeds"][0] + repeat,
    )
