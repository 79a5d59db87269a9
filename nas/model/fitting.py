"""Stand-alone training of one architecture, from its start to the epoch that validation likes best."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.interactions import Interactions
from nas.model.averaging import Average
from nas.model.evaluation import Evaluation, evaluate, scorer_of
from nas.model.ranking import DivergedError
from nas.model.training import Trainer, TrainingData
from nas.model.weights import Weights, parameters_of, start
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe

logger = logging.getLogger("nas.training")


@dataclass(frozen=True, slots=True)
class Patience:
    """When to stop.

    Attributes:
        epochs: at most.
        every: epochs between two looks at the validation data.
        looks: looks without a better value before training stops, twice as many at least in all.
    """

    epochs: int
    every: int
    looks: int

    def over(self, values: Sequence[float]) -> bool:
        """Say whether training stops after looks of these values, the first of them at the untrained start.

        What rises goes on, though it is below its best. Singular vectors are a good start that training leaves before it
        is of use: with a temperature of .055 and a learning rate of .006, LightGCN on ML-100K, its weights not averaged,
        falls from .276 to .250 within twelve epochs, is back after thirty, and has .304 after 176. Ten looks without a
        better value would end it at once.
        """
        best, last = int(np.argmax(values)), values[-self.looks :]
        if len(values) - 1 - best < self.looks or len(values) <= 2 * self.looks:
            return False
        return float(np.mean(last)) <= float(np.mean(values[-2 * self.looks : -self.looks]))


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained network at its best epoch.

    Attributes:
        weights: its tensors, averaged over the epochs.
        epochs: epochs of training that made them.
        evaluation: on the validation data.
        curve: (epoch, value of the metric) of each look, the untrained start included.
        seconds: wall-clock of the whole training.
    """

    weights: Weights
    epochs: int
    evaluation: Evaluation
    curve: list[tuple[int, float]]
    seconds: float


def new_trainer(architecture: Architecture, data: TrainingData, recipe: Recipe, seed: int) -> Trainer:
    """Return a trainer of fresh stand-alone weights."""
    parameters = parameters_of(architecture.learned, data.graph.n_users, data.graph.n_items)
    return Trainer(start(parameters, data.graph, recipe.start, seed), data, recipe, seed)


def fit(
    architecture: Architecture,
    recipe: Recipe,
    data: TrainingData,
    held_out: Interactions,
    patience: Patience,
    *,
    metric: str,
    ks: tuple[int, ...],
    seed: int,
    users: NDArray[np.int64] | None = None,
    report: Callable[[int, float], Any] = lambda _epoch, _value: None,
) -> Fitted:
    """Train from scratch with early stopping on `metric` over `held_out`; what is judged is the average over the epochs.

    A training that diverges ends there, and its best epoch before counts. `report` hears of every look; what it raises
    ends the training (so a tuner can prune).
    """
    started = time.perf_counter()
    trainer = new_trainer(architecture, data, recipe, seed)
    average = Average(trainer.weights)

    def look() -> Evaluation:
        scorer = scorer_of(architecture, average.weights, data.graph)
        return evaluate(scorer, data.interactions, held_out, ks, users)

    best = look()
    best_state, best_epoch = average.weights.state(), 0
    curve = [(0, best.means[metric])]
    while trainer.epochs < patience.epochs and not patience.over([value for _, value in curve]):
        try:
            trainer.epoch(lambda: architecture)
            average.add(trainer.weights)
            if trainer.epochs % patience.every and trainer.epochs < patience.epochs:
                continue
            found = look()
        except DivergedError:
            break
        curve.append((trainer.epochs, found.means[metric]))
        report(*curve[-1])
        if found.means[metric] > best.means[metric]:
            best, best_state, best_epoch = found, average.weights.state(), trainer.epochs
    average.weights.load(best_state)
    return Fitted(average.weights, best_epoch, best, curve, time.perf_counter() - started)


def refit(
    architecture: Architecture, recipe: Recipe, data: TrainingData, *, epochs: int, seed: int, steps: int = 1
) -> Weights:
    """Train from scratch for the number of epochs that is chosen, on all of `data`; return their average.

    A training that diverges ends there; the average is then that of the epochs before, or the start.

    Args:
        architecture: what to train.
        recipe: that of the chosen training.
        data: more than that had, as a rule.
        epochs: of the chosen training.
        seed: of the start and all that is drawn.
        steps: of an epoch at least, as many as the chosen training took: of more edges `steps_of` would make
            fewer steps, and so many epochs of these would be less training than was chosen.
    """
    recipe = recipe.model_copy(update={"batches": max(recipe.batches, steps)})
    trainer = new_trainer(architecture, data, recipe, seed)
    average = Average(trainer.weights)
    for _ in range(epochs):
        try:
            trainer.epoch(lambda: architecture)
        except DivergedError as error:
            logger.warning("fitted anew for %d epochs of %d: %s", trainer.epochs, epochs, error)
            break
        average.add(trainer.weights)
    return average.weights
