"""The supernet: one weight store for a whole space, trained once, from which any architecture is a slice.

Each step trains one random architecture of the widest hidden size (the largest of the sandwich rule; Yu and Huang, ICCV
2019). Columns start in the order of the singular values, so a narrow slice of a wide network is a good network by
itself; where narrow ones are trained too, candidates are ranked less well (`results/benchmarks/supernet_ablation.json`),
as they were by a wide and a random one a step, their gradients brought to one length (a tau of .72 where the widest alone
had .75, both judged by whole lengths of the items). Aggregators are dealt from shuffled decks, so that each is trained
equally often (strict fairness; Chu et al., ICCV 2021). What is kept are the weights' averages over the epochs, as of
networks that are trained alone.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nas.model.averaging import Average
from nas.model.training import Trainer, TrainingData
from nas.model.weights import Weights, parameters_of_space, start
from nas.randomness import stream
from nas.space.architecture import Architecture, GraphBranch
from nas.space.dimension import Value
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace

_AVERAGE = "average/"
# An item without edges may be of length 0, and stays so.
_LEAST_LENGTH = 1e-12

LENGTH_POWER = 0.5
"""What is made of the lengths of items where shared weights are judged by dot products."""


def with_tempered_lengths(branch: GraphBranch, items: Tensor, power: float = LENGTH_POWER) -> Tensor:
    """Return the final states of items (I, D) by which a subnet is judged: for dot products, each of its length ** power.

    An item's length says how much it is recommended to everybody, and shared weights get it wrong: of networks that are
    trained alone on ML-100K it grows like popularity to the power .22 to .28 (LightGCN, mean, GIN, NGCF), in a
    supernet from 0 (mean) over .12 (GIN) to .25 (three LightGCN layers), and falls with GAT. By roots of lengths, scores
    rank architectures as training does much better: Kendall's tau .74 -> .79 on ML-100K, .64 -> .67 on latest-small, .75
    -> .86 on ML-1M, each the mean of three or four supernets. So they did not by lengths ** 0, nor by the power of
    popularity that training ends at.
    """
    if branch.score != "dot":
        return items
    lengths = torch.linalg.vector_norm(items, dim=1, keepdim=True).clamp(min=_LEAST_LENGTH)
    return items * torch.pow(lengths, power - 1)


class Sampler:
    """Chooses the architecture of a training step."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        """Choose among the space's graph branches of the widest hidden size."""
        self.space, self._rng = space.only("graph"), stream(seed, "architectures of the supernet")
        self._widest = max(int(size) for size in self.space.genes()["hidden_size"])
        self._decks: dict[str, list[Value]] = defaultdict(list)

    def __call__(self) -> Architecture:
        """Return the next architecture."""
        return self.space.decode(self._deal() | {"hidden_size": self._widest})

    def _deal(self) -> dict[str, Value]:
        """Return a choice for every gene, each from the top of its deck."""
        genes = self.space.genes()
        for name, choices in genes.items():
            if not self._decks[name]:
                self._decks[name] = [choices[int(n)] for n in self._rng.permutation(len(choices))]
        return {name: self._decks[name].pop() for name in genes}


class Supernet:
    """The shared weights in training."""

    def __init__(
        self,
        space: SearchSpace,
        data: TrainingData,
        recipe: Recipe,
        seed: int,
        sampler: Callable[[SearchSpace, int], Sampler] = Sampler,
    ) -> None:
        """Hold every tensor that any architecture of the space needs, untrained; `sampler` chooses what is trained."""
        graph, branch = data.graph, space.branches.graph
        assert branch is not None
        parameters = parameters_of_space(branch, graph.n_users, graph.n_items)
        self._sampler = sampler(space, seed)
        self._trainer = Trainer(start(parameters, graph, recipe.start, seed), data, recipe, seed)
        self._average = Average(self._trainer.weights)

    @property
    def weights(self) -> Weights:
        """The shared weights: their average over the epochs."""
        return self._average.weights

    @property
    def epochs(self) -> int:
        """Epochs of training so far."""
        return self._trainer.epochs

    def epoch(self) -> float:
        """Train one epoch; return the mean loss. DivergedError where no loss is a number."""
        loss = self._trainer.epoch(self._sampler)
        self._average.add(self._trainer.weights)
        return loss

    def state(self) -> dict[str, Tensor]:
        """Return all that another training needs to go on, as CPU tensors, ready to be saved."""
        average = {f"{_AVERAGE}{name}": tensor for name, tensor in self.weights.state().items()}
        return self._trainer.state() | average

    def load(self, state: Mapping[str, Tensor], epochs: int) -> None:
        """Go on from `state()` as it was after `epochs` epochs; only what is untrained takes it."""
        self._trainer.load(state, epochs)
        for _ in range(epochs * self._trainer.steps):
            self._sampler()
        self._average.load({name: state[f"{_AVERAGE}{name}"] for name in self.weights.tensors}, epochs)
