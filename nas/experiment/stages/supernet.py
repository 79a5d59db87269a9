"""Train the supernet once; a checkpoint after an epoch lets an interrupted training go on exactly.

Candidates are judged by the average of its weights over the epochs, as networks that are trained alone are.
"""

import time
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.model.averaging import Average
from nas.model.supernet import supernet_weights, train_epoch
from nas.model.training import Trainer
from nas.model.weights import Weights
from nas.space.recipe import Recipe

_DONE = "supernet/summary.json"
_WEIGHTS = "supernet/weights.safetensors"
_CHECKPOINT = "supernet/checkpoint.safetensors"
_AVERAGE = "average/"
_SECONDS_BETWEEN_CHECKPOINTS = 10.0


def train_supernet(context: Context, recipe: Recipe) -> tuple[Weights, dict[str, Any]]:
    """Return the trained shared weights and {epochs, parameters, loss, seconds}."""
    summary = context.done(_DONE, lambda: _train(context, recipe))
    state = load_file(context.folder.path / _WEIGHTS, device=str(context.device))
    return Weights(state), summary


def _train(context: Context, recipe: Recipe) -> dict[str, Any]:
    settings, folder = context.experiment.supernet, context.folder
    recipe = settings.recipe(recipe)
    space, seed = context.experiment.search_space, context.experiment.search.seed
    trainer = Trainer(supernet_weights(space, context.training, recipe, seed), context.training, recipe, seed)
    average = Average(trainer.weights)
    before, loss = _resume(trainer, average, folder.path / _CHECKPOINT)
    started = saved = time.monotonic()
    with stage("supernet", settings.epochs) as steps:
        steps.begin_at(trainer.epochs)
        while trainer.epochs < settings.epochs:
            loss = train_epoch(trainer, space, settings.random)
            average.add(trainer.weights)
            steps.advance(f"loss {loss:.4f}")
            if time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                saved = time.monotonic()
                seconds = before + saved - started
                note = {"epochs": str(trainer.epochs), "seconds": str(seconds), "loss": str(loss)}
                state = trainer.state() | _of_average(average)
                folder.write(_CHECKPOINT, lambda path, s=state, n=note: save_file(s, path, metadata=n))  # type: ignore[misc]
    seconds = before + time.monotonic() - started
    folder.write(_WEIGHTS, lambda path: save_file(average.weights.state(), path))
    (folder.path / _CHECKPOINT).unlink(missing_ok=True)
    parameters = sum(tensor.numel() for tensor in trainer.weights.tensors.values())
    return {"epochs": settings.epochs, "parameters": parameters, "loss": loss, "seconds": seconds}


def _of_average(average: Average) -> dict[str, Tensor]:
    return {f"{_AVERAGE}{name}": tensor for name, tensor in average.weights.state().items()}


def _resume(trainer: Trainer, average: Average, checkpoint: Path) -> tuple[float, float]:
    """Load a checkpoint if there is one; return the seconds of training that it holds, and the last epoch's loss."""
    if not checkpoint.exists():
        return 0.0, float("nan")
    with safe_open(checkpoint, framework="pt") as file:
        note = file.metadata()
    state, epochs = load_file(checkpoint), int(note["epochs"])
    trainer.load(state, epochs)
    average.load({name: state[f"{_AVERAGE}{name}"] for name in average.weights.tensors}, epochs)
    return float(note["seconds"]), float(note["loss"])
