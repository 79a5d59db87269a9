"""Training: of one architecture or, with shared weights, of many."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nas.data.interactions import Interactions
from nas.graph import Graph
from nas.model.losses import LOSSES, Batch
from nas.model.network import propagate
from nas.model.ranking import DivergedError
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


# Keeps a step's scores, users of the batch x negatives, within tens of megabytes on large data.
_MOST_USERS = 4096


def batches(data: TrainingData, parts: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield all users with training items in random order, in `parts` equal parts, or more on large data."""
    offsets, items = data.interactions.offsets, data.interactions.item
    counts = np.diff(offsets)
    order = rng.permutation(np.flatnonzero(counts))
    device = data.graph.device
    parts = min(len(order), max(parts, -(-len(order) // _MOST_USERS)))
    for users in np.array_split(order, parts):
        sizes = counts[users]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        positives = items[np.repeat(offsets[users], sizes) + within].astype(np.int64)
        yield Batch(
            users=torch.from_numpy(users).to(device),
            owner=torch.from_numpy(np.repeat(np.arange(len(users)), sizes)).to(device),
            items=torch.from_numpy(positives).to(device),
        )


class Trainer:
    """A weight store, its optimiser and its random streams; one call of `epoch` an epoch.

    Epoch e draws from streams of its own, so that training which resumes before it continues exactly.
    """

    def __init__(self, weights: Weights, data: TrainingData, recipe: Recipe, seed: int) -> None:
        """Train `weights` on `data` by `recipe`."""
        self.weights, self.data, self.recipe, self.seed = weights, data, recipe, seed
        self.epochs = 0
        # Tensors that a step's architectures do not use keep grad None, and Adam then leaves them alone.
        self.optimiser = torch.optim.Adam(weights.tensors.values(), lr=recipe.learning_rate, foreach=False)

    def epoch(self, choose: Callable[[np.random.Generator], Sequence[Architecture]]) -> float:
        """Train one epoch; each step sums the losses of the architectures that `choose` returns.

        Returns:
            The mean loss of a step and an architecture.

        Raises:
            DivergedError: the loss of every architecture of a step is no longer a number.
        """
        rng = stream(self.seed, f"batches/{self.epochs}")
        generator = torch_stream(self.seed, f"steps/{self.epochs}", self.data.graph.device)
        total, steps = 0.0, 0
        for batch in batches(self.data, self.recipe.batches, rng):
            self.optimiser.zero_grad(set_to_none=True)
            chosen, finite = choose(rng), 0
            for architecture in chosen:
                loss = self._loss(architecture, batch, generator)
                value = float(loss.detach())
                if not np.isfinite(value):
                    # One subnet that overflows must not end the training of all others.
                    continue
                (loss / len(chosen)).backward()  # type: ignore[no-untyped-call]
                total, steps, finite = total + value, steps + 1, finite + 1
            if not finite:
                raise DivergedError("the loss is not a number: training diverged")
            self.optimiser.step()
        self.epochs += 1
        return total / steps

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
        recipe, graph = self.recipe, self.data.graph
        users, items = propagate(
            architecture, self.weights, graph, dropout=recipe.dropout, generator=generator
        )
        loss = LOSSES[recipe.loss](users, items, batch, recipe, generator)
        if recipe.weight_decay:
            size = architecture.graph.hidden_size
            owners = self.weights("users", (graph.n_users, size)).index_select(0, batch.users)
            bought = self.weights("items", (graph.n_items, size))
            penalty = owners.square().sum() / len(batch.users) + bought.square().sum() / graph.n_items
            loss = loss + recipe.weight_decay * penalty
        return loss
