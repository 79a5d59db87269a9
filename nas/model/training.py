"""Training: of one architecture or, with shared weights, of many."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import get_total_norm

from nas.data.interactions import Interactions
from nas.graph import Graph
from nas.model.history import histories_of
from nas.model.losses import LOSSES, Batch
from nas.model.network import Propagation
from nas.model.ranking import DivergedError
from nas.model.timeline import ages_of
from nas.model.weights import Weights
from nas.randomness import stream, torch_stream
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a training step reads: the graph and, user by user, the positives.

    Attributes:
        graph: made of the same interactions.
        interactions: the training interactions.
    """

    graph: Graph
    interactions: Interactions

    @classmethod
    def of(cls, interactions: Interactions, device: torch.device | str = "cpu") -> "TrainingData":
        """Connect the interactions into a graph on `device`."""
        return cls(Graph.from_interactions(interactions, device), interactions)


# What an edge of the propagation costs, in entries of a loss's score matrix: measured, about 10 on ML-1M and Gowalla.
_EDGE_COST = 10
# What the loss and the optimiser cost a node and step, in edges of the propagation.
_NODE_COST = 10


def steps_of(data: TrainingData, recipe: Recipe) -> int:
    """Return the steps of an epoch: `recipe.batches`, or more where they cost less than the loss.

    A step propagates over the whole graph whatever its batch, while the loss of an epoch costs the same in any number
    of steps. Up to the point where both cost alike, more steps are nearly free.
    """
    users = int((np.diff(data.interactions.offsets) > 0).sum())
    return _steps(users, data.interactions.n_items, data.graph.n_edges, recipe)


def epoch_cost(users: int, items: int, interactions: int) -> float:
    """Return what an epoch of LightGCN costs by the recipe's defaults, in edges of a propagation."""
    recipe, edges = Recipe(), 2 * interactions
    propagations = _steps(users, items, edges, recipe) * (edges + _NODE_COST * (users + items))
    return propagations + _scores(users, items, recipe) / _EDGE_COST


def _steps(users: int, items: int, edges: int, recipe: Recipe) -> int:
    most = _scores(users, items, recipe) // (_EDGE_COST * max(1, edges))
    return min(users, max(recipe.batches, most))


def _scores(users: int, items: int, recipe: Recipe) -> int:
    return users * min(recipe.negatives, items)


def pair_weights(interactions: Interactions, recipe: Recipe) -> Tensor | None:
    """Return (n,) float32, what each interaction counts in the loss, 1 on average, or None where all count alike.

    Ratings and age weigh in the loss and not in the graph. LightGCN of two layers, validation NDCG@20, on MovieLens 100K
    where the latest are asked for: .166, with edges that count by age .166 to .171, with pairs that do .210; where random
    ones are asked for, edges that count by rating .308 as without, pairs that do .311.
    """
    recency = recipe.recency if interactions.timestamp is not None else 0.0
    if not recency and not (recipe.rating and interactions.rating is not None):
        return None
    counts = histories_of(interactions, recipe.rating).data
    if recency:
        counts = counts / (1 + ages_of(interactions) / recency)
    return torch.from_numpy((counts / counts.mean()).astype(np.float32))


def batches(
    data: TrainingData, parts: int, rng: np.random.Generator, weights: Tensor | None = None
) -> Iterator[Batch]:
    """Yield all users with training items in random order, in `parts` parts of equal size; no part is empty.

    `weights` (n,) are those of the interactions.
    """
    # Copied, for torch takes no array that is read-only as these may be.
    offsets, items = data.interactions.offsets, torch.tensor(data.interactions.item)
    counts = np.diff(offsets)
    order = rng.permutation(np.flatnonzero(counts))
    device = data.graph.device
    for users in np.array_split(order, min(len(order), parts)):
        sizes = torch.from_numpy(counts[users])
        # torch's operations, for these arrays are as long as the data, and numpy has one thread.
        n_pairs = int(sizes.sum())
        before = torch.from_numpy(offsets[users]) - (sizes.cumsum(0) - sizes)
        place = torch.repeat_interleave(before, sizes, output_size=n_pairs) + torch.arange(n_pairs)
        yield Batch(
            users=torch.from_numpy(users).to(device),
            owner=torch.repeat_interleave(torch.arange(len(users)), sizes, output_size=n_pairs).to(device),
            items=items.index_select(0, place).long().to(device),
            weights=None if weights is None else weights.index_select(0, place).to(device),
        )


# Of the scale of cosines: what a loss wants to tell apart are the best of the catalogue, and with dot products these stand
# out by the items' lengths too. In LightGCN's trainings with random recipes (48 each on ML-100K and latest-small) dot
# products in units of the items' mean length have their best temperature at .27, cosines at .15.
_OF_DOT_PRODUCTS = 0.5


def in_one_unit(users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Return states (U, D), (I, D) of the same rankings, whose scores have one scale whatever the architecture.

    Every user's state has length 1/2, and the items' a root mean square of 1. A loss compares scores with a temperature,
    and those of a dot product are as large as the architecture makes them: 40 times the uniform loss at the start of
    some, whose training then ended where it began. On ML-100K, 14 random dot-product architectures, trained by one
    recipe, have a mean NDCG@20 of .271 with one scale, .254 without.
    """
    length = items.square().sum(dim=1).mean().clamp(min=1e-12).sqrt()
    return F.normalize(users, dim=1) * _OF_DOT_PRODUCTS, items / length


class Trainer:
    """A weight store, its optimiser and its random streams; one call of `epoch` an epoch.

    Epoch e draws from streams of its own, so that training which resumes before it continues exactly.
    """

    def __init__(self, weights: Weights, data: TrainingData, recipe: Recipe, seed: int) -> None:
        """Train `weights` on `data` by `recipe`."""
        self.weights, self.data, self.recipe, self.seed = weights, data, recipe, seed
        self.epochs = 0
        self._pair_weights = pair_weights(data.interactions, recipe)
        # Tensors that a step's architecture does not use keep grad None, and Adam then leaves them alone.
        self.optimiser = torch.optim.Adam(weights.tensors.values(), lr=recipe.learning_rate, fused=True)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return steps_of(self.data, self.recipe)

    def epoch(self, choose: Callable[[], Architecture]) -> float:
        """Train one epoch, in each step the architecture that `choose` returns; return the mean loss of a step.

        Raises:
            DivergedError: no step had a loss and a gradient that are numbers.
        """
        rng = stream(self.seed, f"batches/{self.epochs}")
        generator = torch_stream(self.seed, f"steps/{self.epochs}", self.data.graph.device)
        parts = batches(self.data, self.steps, rng, self._pair_weights)
        losses = [self.step(batch, choose(), generator) for batch in parts]
        finite = [loss for loss in losses if math.isfinite(loss)]
        if not finite:
            raise DivergedError("the loss is not a number: training diverged")
        self.epochs += 1
        return float(np.mean(finite))

    def step(self, batch: Batch, architecture: Architecture, generator: torch.Generator) -> float:
        """Take one optimiser step; return the loss, or NaN where it or its gradient is no number and nothing moves.

        A subnet that overflows thus ends its own step, and not the training of all others.
        """
        self.optimiser.zero_grad(set_to_none=True)
        loss = self._loss(architecture, batch, generator)
        loss.backward()  # type: ignore[no-untyped-call]
        length = get_total_norm([t.grad for t in self.weights.tensors.values() if t.grad is not None])
        if not bool(torch.isfinite(loss) & torch.isfinite(length)):
            return math.nan
        self.optimiser.step()
        return float(loss.detach())

    def state(self) -> dict[str, Tensor]:
        """Return weights and Adam's moments as CPU tensors, ready to be saved."""
        saved = {f"weights/{name}": tensor for name, tensor in self.weights.state().items()}
        for name, tensor in self.weights.tensors.items():
            for key, value in self.optimiser.state.get(tensor, {}).items():
                saved[f"adam/{key}/{name}"] = value.detach().to("cpu", copy=True).contiguous()
        return saved

    def load(self, state: Mapping[str, Tensor], epochs: int) -> None:
        """Go on from `state()` as it was after `epochs` epochs."""
        self.weights.load({name: state[f"weights/{name}"] for name in self.weights.tensors})
        for name, tensor in self.weights.tensors.items():
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"adam/{key}/{name}" in state]
            moments = {key: state[f"adam/{key}/{name}"] for key in keys}
            if moments:
                # Adam keeps its step count on the CPU whatever the device of the tensor.
                self.optimiser.state[tensor] = {
                    key: value.clone() if key == "step" else value.to(tensor.device, copy=True)
                    for key, value in moments.items()
                }
        self.epochs = epochs

    def _loss(self, architecture: Architecture, batch: Batch, generator: torch.Generator) -> Tensor:
        recipe, graph, size = self.recipe, self.data.graph, architecture.learned.hidden_size
        states = Propagation(self.weights, graph, size, dropout=recipe.dropout, generator=generator)
        users, items = states(architecture)
        if architecture.learned.score == "dot":
            users, items = in_one_unit(users, items)
        loss = LOSSES[recipe.loss](users, items, batch, recipe, generator)
        if recipe.weight_decay:
            owners = self.weights("users", (graph.n_users, size)).index_select(0, batch.users)
            bought = self.weights("items", (graph.n_items, size))
            penalty = owners.square().sum() / len(batch.users) + bought.square().sum() / graph.n_items
            loss = loss + recipe.weight_decay * penalty
        return loss
