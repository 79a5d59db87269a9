"""Train candidates from scratch, with early stopping on validation data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.model.fitting import refit
from nas.model.weights import Weights
from nas.search.loop import Candidate
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe


def retrain_best(
    context: Context, ranked: list[Candidate], front: list[Candidate], recipe: Recipe
) -> list[dict[str, Any]]:
    """Retrain the best of the front, best first by its first objective, and return their results.

    Where the front is shorter than `retrain.top`, the best of all candidates fill it up.
    """
    metric = context.experiment.metric
    rest = sorted(ranked, key=lambda c: -c.values[metric])
    chosen = list(dict.fromkeys(c.architecture for c in [*front, *rest]))[: context.experiment.retrain.top]
    with stage("retrain", len(chosen)) as steps:
        results: list[dict[str, Any]] = []
        for architecture in chosen:
            results.append(retrain(context, architecture, recipe))
            best = max(result["validation"][metric] for result in results)
            steps.advance(f"best {metric} {best:.4f}")
    return sorted(results, key=lambda result: -result["validation"][metric])


def retrain(
    context: Context, architecture: Architecture, recipe: Recipe, *, tuned: bool = False
) -> dict[str, Any]:
    """Train one architecture with each of `retrain.seeds` seeds, unless the run holds its result already.

    `tuned` says that the recipe is the architecture's own and not the run's; its result is kept beside the other.

    Returns:
        {id, name (of its folder), architecture, description, recipe, seeds, epochs, validation (means over seeds), spread (standard
        deviation over seeds), curve, seconds}.
    """
    name = architecture.id + ("-tuned" if tuned else "")
    path = f"retrained/{name}"
    if not (context.folder.path / path).exists():
        context.folder.write(path, lambda draft: _train(context, architecture, recipe, name, draft))
    result: dict[str, Any] = context.folder.read_json(f"{path}/result.json")
    return result


def _train(context: Context, architecture: Architecture, recipe: Recipe, name: str, draft: Path) -> None:
    experiment = context.experiment
    seeds = [experiment.search.seed + n for n in range(experiment.retrain.seeds)]
    fitted = [context.fit(architecture, recipe, seed) for seed in seeds]
    means = [one.evaluation.means for one in fitted]
    result = {
        "id": architecture.id,
        "name": name,
        "architecture": architecture.model_dump(mode="json"),
        "description": str(architecture),
        "recipe": recipe.model_dump(mode="json"),
        "seeds": seeds,
        "epochs": round(float(np.median([one.epochs for one in fitted]))),
        "validation": {key: float(np.mean([m[key] for m in means])) for key in means[0]},
        "spread": {key: float(np.std([m[key] for m in means])) for key in means[0]},
        "curve": fitted[0].curve,
        "seconds": sum(one.seconds for one in fitted),
    }
    draft.mkdir()
    save_file(fitted[0].weights.state(), draft / "weights.safetensors")
    (draft / "result.json").write_text(json.dumps(result, indent=1, allow_nan=False))


def refitted_weights(context: Context, result: dict[str, Any]) -> Weights:
    """Return the weights that are tested and exported: fitted on train + validation for the chosen epochs."""
    architecture = Architecture.model_validate(result["architecture"])
    recipe = Recipe.model_validate(result["recipe"])
    name = f"retrained/{result['name']}/refitted.safetensors"
    path = context.folder.path / name
    if not path.exists():
        weights = refit(
            architecture, recipe, context.refitting, epochs=result["epochs"], seed=result["seeds"][0]
        )
        context.folder.write(name, lambda draft: save_file(weights.state(), draft))
    return Weights(load_file(path, device=str(context.device)))
