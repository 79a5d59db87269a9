"""A step of training LightGCN, by our trainer and by PyG's model with the loss as it is usually written."""

import math
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data import Interactions
from nas.model.losses import Batch, first_users
from nas.model.training import Trainer, TrainingData, in_one_unit
from nas.model.weights import Weights
from nas.space import Architecture, GraphBranch, Layer, Recipe

COLUMNS = 64
LAYERS = 3
PAIRS = 8192

# (batch, generator of the negatives) -> the loss before the step.
Step = Callable[[Batch, torch.Generator], float]


def lightgcn(layers: int) -> Architecture:
    """Return LightGCN with that many layers of 64 columns, read out by their mean."""
    return Architecture(
        graph=GraphBranch(
            hidden_size=COLUMNS, layers=(Layer(aggregator="lightgcn"),) * layers, readout="mean"
        )
    )


def batch_of(interactions: Interactions, pairs: int, rng: np.random.Generator) -> Batch:
    """Return random interactions as a batch, pairs of one user side by side; all of them where there are fewer."""
    rows = np.sort(rng.choice(len(interactions), min(pairs, len(interactions)), replace=False))
    users, owner = np.unique(interactions.user[rows], return_inverse=True)
    columns = (users, owner, interactions.item[rows])
    return Batch(*(torch.from_numpy(column.astype(np.int64)) for column in columns))


def naive_bpr(
    users: Tensor, items: Tensor, batch: Batch, recipe: Recipe, generator: torch.Generator
) -> Tensor:
    """BPR as it is usually written: gather, score, compare."""
    mine = users[batch.users[batch.owner]]
    drawn = torch.randint(len(items), batch.items.shape, generator=generator)
    difference = (mine * items[batch.items]).sum(1) - (mine * items[drawn]).sum(1)
    return -F.logsigmoid(difference / recipe.temperature).mean()


def naive_softmax(
    users: Tensor, items: Tensor, batch: Batch, recipe: Recipe, generator: torch.Generator
) -> Tensor:
    """The formula of nas/model/losses.py with one row of scores a pair, through torch's cross-entropy."""
    mine = users[batch.users[batch.owner]] / recipe.temperature
    if len(items) <= recipe.negatives:
        return F.cross_entropy(mine @ items.t(), batch.items)
    firsts = first_users(batch, recipe.negatives)
    drawn = torch.randint(len(items), (len(firsts) - 1, recipe.negatives), generator=generator)
    positive = (mine * items[batch.items]).sum(1, keepdim=True)
    # Ours draws anew for each run of users: the pairs of one are side by side.
    pairs = torch.searchsorted(batch.owner, torch.tensor(firsts)).diff().tolist()
    rest = torch.cat([own @ items[d].t() for own, d in zip(mine.split(pairs), drawn, strict=True)])
    rest = rest + math.log(len(items) / recipe.negatives)
    return F.cross_entropy(torch.cat([positive, rest], 1), torch.zeros(len(mine), dtype=torch.long))


NAIVE = {"bpr": naive_bpr, "softmax": naive_softmax}


def our_step(data: TrainingData, start: Tensor, recipe: Recipe) -> tuple[Step, list[Tensor]]:
    """Return a step of our trainer from embeddings `start` (N, D), and the tensors that it learns."""
    n_users, architecture = data.graph.n_users, lightgcn(LAYERS)
    weights = Weights({"users": start[:n_users], "items": start[n_users:]})
    trainer = Trainer(weights, data, recipe, seed=0)

    def step(batch: Batch, generator: torch.Generator) -> float:
        return trainer.step(batch, architecture, generator)

    return step, [weights.tensors["users"], weights.tensors["items"]]


def pyg_step(
    pyg: ModuleType, edges: tuple[Tensor, ...], n_users: int, start: Tensor, recipe: Recipe, normalise: bool
) -> tuple[Step, list[Tensor]]:
    """Return the same for PyG's LightGCN, a stack of its LGConv, with the naive loss and torch's Adam."""
    model = pyg.nn.LightGCN(len(start), COLUMNS, LAYERS, normalize=normalise)
    model.embedding.weight.data.copy_(start)
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)

    def step(batch: Batch, generator: torch.Generator) -> float:
        optimiser.zero_grad()
        states = model.get_embedding(*edges)
        users, items = in_one_unit(states[:n_users], states[n_users:])
        loss = NAIVE[recipe.loss](users, items, batch, recipe, generator)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step, [model.embedding.weight[:n_users], model.embedding.weight[n_users:]]
