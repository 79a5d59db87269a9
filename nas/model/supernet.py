"""The supernet: one weight store for a whole space, trained once, from which any architecture is a slice.

Each step trains, on the same batch and with one optimiser step, a wide and some random architectures: half of the
sandwich rule (Yu and Huang, ICCV 2019) over hidden sizes, whose narrow one brought nothing. Aggregators are dealt from
shuffled decks, so that each is trained equally often (strict fairness; Chu et al., ICCV 2021).
"""

from collections import defaultdict

import numpy as np

from nas.model.training import Trainer, TrainingData
from nas.model.weights import Weights, parameters_of_space, start
from nas.space.architecture import Architecture
from nas.space.dimension import Value
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace


class Sampler:
    """Chooses the architectures of a training step."""

    def __init__(self, space: SearchSpace, random: int) -> None:
        """Choose `random` (>= 1) architectures a step with hidden sizes at random, besides a wide one."""
        self.space, self.random = space.only("graph"), random
        self._decks: dict[str, list[Value]] = defaultdict(list)

    def __call__(self, rng: np.random.Generator) -> list[Architecture]:
        """Return the architectures of one step."""
        widest = max(int(size) for size in self.space.genes()["hidden_size"])
        chosen = [self._draw(rng, widest), *(self._draw(rng) for _ in range(self.random))]
        return list(dict.fromkeys(chosen))

    def _draw(self, rng: np.random.Generator, hidden_size: int | None = None) -> Architecture:
        genome = {name: self._deal(name, choices, rng) for name, choices in self.space.genes().items()}
        if hidden_size is not None:
            genome["hidden_size"] = hidden_size
        return self.space.decode(genome)

    def _deal(self, name: str, choices: tuple[Value, ...], rng: np.random.Generator) -> Value:
        if not self._decks[name]:
            self._decks[name] = [choices[int(n)] for n in rng.permutation(len(choices))]
        return self._decks[name].pop()


def supernet_weights(space: SearchSpace, data: TrainingData, recipe: Recipe, seed: int) -> Weights:
    """Return the untrained store that holds every tensor any architecture of the space needs."""
    graph = data.graph
    assert space.branches.graph is not None
    parameters = parameters_of_space(space.branches.graph, graph.n_users, graph.n_items)
    return start(parameters, graph, recipe.start, seed)


def train_epoch(trainer: Trainer, space: SearchSpace, random: int) -> float:
    """Train the supernet in `trainer` one epoch, with decks of the epoch's own; return the mean loss."""
    return trainer.epoch(Sampler(space, random))
