"""Losses over a batch of users and all their training items; an addition is a function and its line in `LOSSES`.

A loss finds its gradients along with its value, some users at a time: scores are made, used and forgotten while they
are in the cache, and neither all of a batch's scores nor a row a pair is ever in memory.

Shape suffixes: U users, I items, B users of the batch, P positive pairs of the batch, D columns, C candidates.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

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

# Numbers that are worked on at once: 2 MB of float32.
_CHUNK = 2**19


class _Found(torch.autograd.Function):
    """A loss whose gradients are known already."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        _users, _items, loss, grad_users, grad_items = tensors
        ctx.save_for_backward(grad_users, grad_items)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_users, grad_items = ctx.saved_tensors
        return grad_users * grads[0], grad_items * grads[0], None, None, None


def _found(users: Tensor, items: Tensor, loss: Tensor, grad_users: Tensor, grad_items: Tensor) -> Tensor:
    result: Tensor = _Found.apply(users, items, loss, grad_users, grad_items)  # type: ignore[no-untyped-call]
    return result


def _by_users(batch: Batch, columns: int) -> Iterator[tuple[slice, slice]]:
    """Cut the batch into runs of users and of their pairs, so that users x `columns` is one chunk."""
    n_users, rows = len(batch.users), max(1, _CHUNK // columns)
    firsts = torch.arange(0, n_users + rows, rows, device=batch.owner.device).clamp(max=n_users)
    pairs = torch.searchsorted(batch.owner, firsts).tolist()
    for n, first in enumerate(range(0, n_users, rows)):
        yield slice(first, min(first + rows, n_users)), slice(pairs[n], pairs[n + 1])


def softmax(users: Tensor, items: Tensor, batch: Batch, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Cross-entropy of each positive item against the catalogue, mean over the pairs.

    A batch holds whole users, so one row of scores serves all pairs of a user: on ML-100K an epoch costs what 943
    rows cost, not 80,000. A catalogue larger than `recipe.negatives` is represented by that many items drawn
    uniformly, weighted up to its size (Bengio and Senecal, 2008), plus the positive itself.
    """
    if len(items) <= recipe.negatives:
        return _found(users, items, *_whole_softmax(users.detach(), items.detach(), batch, recipe))
    drawn = torch.randint(len(items), (recipe.negatives,), generator=generator, device=items.device)
    return _found(users, items, *_sampled_softmax(users.detach(), items.detach(), batch, recipe, drawn))


def _whole_softmax(
    users: Tensor, items: Tensor, batch: Batch, recipe: Recipe
) -> tuple[Tensor, Tensor, Tensor]:
    n_pairs = len(batch.items)
    count = torch.bincount(batch.owner, minlength=len(batch.users)).to(users.dtype)
    loss, grad_users, grad_items = users.new_zeros(()), torch.zeros_like(users), torch.zeros_like(items)
    for rows, pairs in _by_users(batch, len(items)):
        owners = batch.users[rows]
        queries = users.index_select(0, owners) / recipe.temperature
        scores = queries @ items.t()
        highest = scores.amax(1, keepdim=True)
        scores.sub_(highest)
        places = (batch.owner[pairs] - rows.start) * len(items) + batch.items[pairs]
        positive = scores.view(-1).index_select(0, places).sum()
        total = scores.exp_().sum(1)
        loss += total.log() @ count[rows] - positive
        # What follows is the scores' gradient, up to `share`: count / total * scores, less 1 at each positive.
        share = count[rows] / total
        scores.view(-1).index_add_(0, places, -1 / share.index_select(0, batch.owner[pairs] - rows.start))
        share = share.unsqueeze(1) / n_pairs
        grad_users.index_add_(0, owners, (scores @ items) * (share / recipe.temperature))
        grad_items.addmm_(scores.t(), queries * share)
    return loss / n_pairs, grad_users, grad_items


def _sampled_softmax(
    users: Tensor, items: Tensor, batch: Batch, recipe: Recipe, drawn: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    n_pairs, weight = len(batch.items), math.log(len(items) / len(drawn))
    candidates = items.index_select(0, drawn)
    loss, grad_users, grad_items = users.new_zeros(()), torch.zeros_like(users), torch.zeros_like(items)
    grad_candidates = torch.zeros_like(candidates)
    for rows, pairs in _by_users(batch, len(drawn)):
        owners, owner, bought = batch.users[rows], batch.owner[pairs] - rows.start, batch.items[pairs]
        queries = users.index_select(0, owners) / recipe.temperature
        scores = queries @ candidates.t()
        highest = scores.amax(1, keepdim=True)
        total = scores.sub_(highest).exp_().sum(1)
        rest = total.log() + highest.squeeze(1) + weight
        asking, item = queries.index_select(0, owner), items.index_select(0, bought)
        positive = (asking * item).sum(1)
        margin = rest.index_select(0, owner) - positive
        loss += F.softplus(margin).sum()
        wrong = torch.sigmoid(margin) / n_pairs
        share = torch.zeros_like(total).index_add_(0, owner, wrong).div_(total).unsqueeze(1)
        grad_queries = (scores @ candidates).mul_(share)
        grad_queries.index_add_(0, owner, item.mul_(-wrong.unsqueeze(1)))
        grad_users.index_add_(0, owners, grad_queries.div_(recipe.temperature))
        grad_candidates.addmm_(scores.t(), queries * share)
        grad_items.index_add_(0, bought, asking.mul_(-wrong.unsqueeze(1)))
    grad_items.index_add_(0, drawn, grad_candidates)
    return loss / n_pairs, grad_users, grad_items


def bpr(users: Tensor, items: Tensor, batch: Batch, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Bayesian personalised ranking (Rendle et al., UAI 2009) with one uniform negative a pair."""
    drawn = torch.randint(len(items), batch.items.shape, generator=generator, device=items.device)
    return _found(users, items, *_bpr(users.detach(), items.detach(), batch, recipe, drawn))


def _bpr(
    users: Tensor, items: Tensor, batch: Batch, recipe: Recipe, drawn: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    n_pairs, rows = len(batch.items), max(1, _CHUNK // users.shape[1])
    loss, grad_users, grad_items = users.new_zeros(()), torch.zeros_like(users), torch.zeros_like(items)
    for first in range(0, n_pairs, rows):
        pairs = slice(first, first + rows)
        owners = batch.users.index_select(0, batch.owner[pairs])
        queries = users.index_select(0, owners) / recipe.temperature
        difference = items.index_select(0, batch.items[pairs]) - items.index_select(0, drawn[pairs])
        margin = (queries * difference).sum(1)
        loss += F.softplus(-margin).sum()
        wrong = torch.sigmoid(-margin).unsqueeze(1) / n_pairs
        grad_users.index_add_(0, owners, difference.mul_(-wrong / recipe.temperature))
        change = queries.mul_(wrong)
        grad_items.index_add_(0, drawn[pairs], change)
        grad_items.index_add_(0, batch.items[pairs], change, alpha=-1)
    return loss / n_pairs, grad_users, grad_items


LOSSES: dict[str, Loss] = {"softmax": softmax, "bpr": bpr}
