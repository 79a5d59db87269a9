"""Train the supernet once; a checkpoint after an epoch lets an interrupted training go on exactly."""

import time
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.model.supernet import Supernet
from nas.model.weights import Weights
from nas.space.recipe import Recipe

_DONE = "supernet/summary.json"
_WEIGHTS = "supernet/weights.safetensors"
_CHECKPOINT = "supernet/checkpoint.safetensors"
_SECONDS_BETWEEN_CHECKPOINTS = 10.0


def train_supernet(context: Context, recipe: Recipe) -> tuple[Weights, dict[str, Any]]:
    """Return the trained shared weights and {epochs, parameters, loss, seconds}."""
    summary = context.done(_DONE, lambda: _train(context, recipe))
    state = load_file(context.folder.path / _WEIGHTS, device=str(context.device))
    return Weights(state), summary


def _train(context: Context, recipe: Recipe) -> dict[str, Any]:
    settings, folder = context.experiment.supernet, context.folder
    space, seed = context.experiment.search_space, context.experiment.search.seed
    supernet = Supernet(space, context.training, settings.recipe(recipe), seed)
    before, loss = _resume(supernet, folder.path / _CHECKPOINT)
    started = saved = time.monotonic()
    with stage("supernet", settings.epochs) as steps:
        steps.begin_at(supernet.epochs)
        while supernet.epochs < settings.epochs:
            loss = supernet.epoch()
            steps.advance(f"loss {loss:.4f}")
            if time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                saved = time.monotonic()
                seconds = before + saved - started
                note = {"epochs": str(supernet.epochs), "seconds": str(seconds), "loss": str(loss)}
                folder.write(_CHECKPOINT, lambda path, n=note: save_file(supernet.state(), path, metadata=n))  # type: ignore[misc]
    seconds = before + time.monotonic() - started
    folder.write(_WEIGHTS, lambda path: save_file(supernet.weights.state(), path))
    (folder.path / _CHECKPOINT).unlink(missing_ok=True)
    parameters = sum(tensor.numel() for tensor in supernet.weights.tensors.values())
    return {"epochs": settings.epochs, "parameters": parameters, "loss": loss, "seconds": seconds}


def _resume(supernet: Supernet, checkpoint: Path) -> tuple[float, float]:
    """Load a checkpoint if there is one; return the seconds of training that it holds, and the last epoch's loss."""
    if not checkpoint.exists():
        return 0.0, float("nan")
    with safe_open(checkpoint, framework="pt") as file:
        note = file.metadata()
    supernet.load(load_file(checkpoint), int(note["epochs"]))
    return float(note["seconds"]), float(note["loss"])
