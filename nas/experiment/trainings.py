"""Stand-alone trainings of a run; what was trained already, and is still in memory or in the folder, is not trained again.

LightGCN is trained when the recipe is chosen, again as what the search has to beat, and again as a baseline: with equal
settings and seed these are one training. What one process trains and another needs goes through the run folder.
"""

import hashlib
import json
import shutil
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nas.model.evaluation import evaluate, scorer_of
from nas.model.fitting import Fitted, Patience, fit, refit
from nas.model.training import steps_of
from nas.model.weights import Weights
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe

if TYPE_CHECKING:
    from nas.experiment.context import Context

# On Gowalla, 59 trainings of 64 columns.
_MOST_BYTES = 2**30
_FOLDER = "trainings"


class Trainings:
    """Trainings by architecture, recipe and seed; the least recently used are forgotten."""

    def __init__(self, context: "Context") -> None:
        """Train on the data of `context`."""
        self._context = context
        self._kept: OrderedDict[Any, Fitted | Weights] = OrderedDict()

    def fit(
        self,
        architecture: Architecture,
        recipe: Recipe,
        seed: int,
        report: Callable[[int, float], Any] = lambda _epoch, _value: None,
    ) -> Fitted:
        """Train the graph branch on the training part, with early stopping on the validation part.

        `report` hears of the looks at the validation data as they are made: not of those of a training that is kept.
        """
        context = self._context
        settings, name = context.experiment.retrain, fit_file(architecture, recipe, seed)

        def train() -> Fitted:
            if (kept := self._read(name)) is not None:
                return self._fitted(architecture, *kept)
            return fit(
                architecture,
                recipe,
                context.training,
                context.valid,
                Patience(settings.epochs, settings.every, settings.looks),
                metric=context.experiment.metric,
                ks=context.experiment.ks,
                seed=seed,
                users=context.judged_users,
                report=report,
            )

        found: Fitted = self._once(name, train)
        return found

    def keep(self, architecture: Architecture, recipe: Recipe, seed: int) -> None:
        """Write what `fit` returned into the folder, where every process of the run finds it."""
        name, fitted = fit_file(architecture, recipe, seed), self.fit(architecture, recipe, seed)
        note = {"epochs": fitted.epochs, "curve": fitted.curve, "seconds": fitted.seconds}
        self._write(name, fitted.weights, note)

    def refit(self, architecture: Architecture, recipe: Recipe, epochs: int, seed: int) -> Weights:
        """Train the graph branch on training and validation part, for the number of epochs that is chosen.

        An epoch has as many steps as `fit` takes, at least.
        """
        context = self._context
        name = refit_file(architecture, recipe, epochs, seed)

        def train() -> Weights:
            if (kept := self._read(name)) is not None:
                return kept[0]
            steps = steps_of(context.training, recipe)
            return refit(architecture, recipe, context.refitting, epochs=epochs, seed=seed, steps=steps)

        found: Weights = self._once(name, train)
        return found

    def keep_refit(self, architecture: Architecture, recipe: Recipe, epochs: int, seed: int) -> None:
        """Write what `refit` returns into the folder."""
        weights = self.refit(architecture, recipe, epochs, seed)
        self._write(refit_file(architecture, recipe, epochs, seed), weights, {})

    def dismiss(self) -> None:
        """Remove what was kept in the folder: the run is at its end."""
        shutil.rmtree(self._context.folder.path / _FOLDER, ignore_errors=True)

    def _read(self, name: str) -> tuple[Weights, dict[str, Any]] | None:
        path = self._context.folder.path / name
        if not path.exists():
            return None
        with safe_open(path, framework="pt") as file:
            note = json.loads(file.metadata()["note"])
        return Weights(load_file(path, device=str(self._context.device))), note

    def _write(self, name: str, weights: Weights, note: dict[str, Any]) -> None:
        metadata = {"note": json.dumps(note)}
        self._context.folder.write(name, lambda path: save_file(weights.state(), path, metadata=metadata))

    def _fitted(self, architecture: Architecture, weights: Weights, note: dict[str, Any]) -> Fitted:
        context = self._context
        scorer = scorer_of(architecture, weights, context.training.graph)
        found = evaluate(scorer, context.train, context.valid, context.experiment.ks, context.judged_users)
        curve = [(int(epoch), float(value)) for epoch, value in note["curve"]]
        return Fitted(weights, note["epochs"], found, curve, note["seconds"])

    def _once(self, key: Any, train: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = train()
            while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > _MOST_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def refit_file(architecture: Architecture, recipe: Recipe, epochs: int, seed: int) -> str:
    """Return the file of the run that `keep_refit` writes."""
    return _file(architecture, recipe, seed, f"-{epochs}")


def fit_file(architecture: Architecture, recipe: Recipe, seed: int) -> str:
    """Return the file of the run that `keep` writes."""
    return _file(architecture, recipe, seed, "")


def _file(architecture: Architecture, recipe: Recipe, seed: int, suffix: str) -> str:
    network = Architecture(graph=architecture.learned).id
    settings = hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()[:10]
    return f"{_FOLDER}/{network}-{settings}-{seed}{suffix}.safetensors"


def _bytes(kept: Fitted | Weights) -> int:
    weights = kept.weights if isinstance(kept, Fitted) else kept
    return sum(tensor.nbytes for tensor in weights.tensors.values())
