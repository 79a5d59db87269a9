"""Losses over a batch of users and all their training items; an addition is a function and its line in `LOSSES`.

Shape suffixes: U users, I items, B users of the batch, P positive pairs of the batch, D columns, C candidates.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.space.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Batch:
    """Some users with all their training items.

    Attributes:
        users: (B,) int64.
        owner: (P,) int64, the position in `users` of each positive pair's user, increasing.
        items: (P,) int64, its item.
    """

    users: Tensor
    owner: Tensor
    items: Tensor


Loss = Callable[[Tensor, Tensor, Batch, Recipe, torch.Generator], Tensor]


def softmax(users: Tensor, items: Tensor, batch: Batch, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Cross-entropy of each positive item against the catalogue, mean over the pairs.

    A batch holds whole users, so one row of scores serves all pairs of a user: on ML-100K an epoch costs what 943
    rows cost, not 80,000. A catalogue larger than `recipe.negatives` is represented by that many items drawn
    uniformly, weighted up to its size (Bengio and Senecal, 2008), plus the positive itself.
    """
    queries = users.index_select(0, batch.users) / recipe.temperature
    per_user = torch.bincount(batch.owner, minlength=len(batch.users)).to(queries.dtype)
    n_items = len(items)
    if n_items <= recipe.negatives:
        scores = queries @ items.t()
        positive = scores[batch.owner, batch.items]
        return ((torch.logsumexp(scores, 1) * per_user).sum() - positive.sum()) / len(batch.items)
    drawn = torch.randint(n_items, (recipe.negatives,), generator=generator, device=items.device)
    scores = queries @ items.index_select(0, drawn).t()
    rest = torch.logsumexp(scores, 1) + math.log(n_items / recipe.negatives)
    positive = (queries.index_select(0, batch.owner) * items.index_select(0, batch.items)).sum(1)
    return (torch.logaddexp(rest.index_select(0, batch.owner), positive) - positive).mean()


def bpr(users: Tensor, items: Tensor, batch: Batch, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Bayesian personalised ranking (Rendle et al., UAI 2009) with one uniform negative a pair."""
    queries = users.index_select(0, batch.users).index_select(0, batch.owner) / recipe.temperature
    drawn = torch.randint(len(items), batch.items.shape, generator=generator, device=items.device)
    difference = items.index_select(0, batch.items) - items.index_select(0, drawn)
    return -F.logsigmoid((queries * difference).sum(1)).mean()


LOSSES: dict[str, Loss] = {"softmax": softmax, "bpr": bpr}
