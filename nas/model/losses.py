"""Losses over a batch of users and all their training items; an addition is a function and its line in `LOSSES`.

A loss finds its gradients along with its value, some users at a time: scores are made, used and forgotten while they
are in the cache, and neither all of a batch's scores nor a row a pair is ever in memory.

Newer losses were measured beside softmax on LightGCN of MovieLens 100K, latest-small and in part 1M, with equal settings:
BSL (Wu et al., ICDE 2024), DirectAU (Wang et al., KDD 2022), softmax at K, negatives alone in the denominator, pairs
weighted by their user's activity, logits corrected by popularity, item neighbours as targets (UltraGCN's idea). Beside
the item branch none was better beyond the noise of seeds on two of the three; PSL (Yang et al., NeurIPS 2024) needs a
row of scores a pair and took ten times as long.

Shape suffixes: U users, I items, B users of the batch, P positive pairs of the batch, D columns, C candidates.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.graph.pairs import add_weighted_rows, dots
from nas.graph.threads import on_cores
from nas.space.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Batch:
    """Some users with all their training items.

    Attributes:
        users: (B,) int64, each once.
        owner: (P,) int64, the position in `users` of each positive pair's user, increasing.
        items: (P,) int64, its item.
        weights: (P,) floating, what it counts, above 0, or None where all pairs count 1.
    """

    users: Tensor
    owner: Tensor
    items: Tensor
    weights: Tensor | None = None

    def weighted(self, values: Tensor, pairs: slice = slice(None)) -> Tensor:
        """Return values of some pairs, each times its weight."""
        return values if self.weights is None else values * self.weights[pairs]


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


def first_users(batch: Batch, columns: int) -> list[int]:
    """Return the first user of each run of users whose scores of `columns` items are one chunk, and the batch's end."""
    n_users, rows = len(batch.users), max(1, _CHUNK // columns)
    return [*range(0, n_users, rows), n_users]


def _over_users(
    batch: Batch,
    columns: int,
    work: Callable[[int, slice, slice, Tensor, list[Tensor]], None],
    sums: list[Tensor],
) -> None:
    """Call work(number, users, pairs, scores, sums) for runs of users such that `scores`, users x `columns`, is one chunk.

    Each core has scores to overwrite, for fresh memory costs more than what is done with it, and adds to sums of its
    own, which are then added to `sums`.
    """
    firsts = first_users(batch, columns)
    pairs = torch.searchsorted(batch.owner, torch.tensor(firsts, device=batch.owner.device)).tolist()

    def run(begin: int, end: int) -> list[Tensor]:
        own = sums if not begin else [torch.zeros_like(total) for total in sums]
        scores = sums[-1].new_empty(firsts[1] - firsts[0], columns)
        for n in range(begin, end):
            users = slice(firsts[n], firsts[n + 1])
            work(n, users, slice(pairs[n], pairs[n + 1]), scores[: users.stop - users.start], own)
        return own

    pieces = len(firsts) - 1
    for own in on_cores(run, pieces)[1:] if batch.users.device.type == "cpu" else [run(0, pieces)][1:]:
        for total, part in zip(sums, own, strict=True):
            total += part


def softmax(users: Tensor, items: Tensor, batch: Batch, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Cross-entropy of each positive item against the catalogue, times the pair's weight, mean over the pairs.

    A batch holds whole users, so one row of scores serves all pairs of a user: on ML-100K an epoch costs what 943
    rows cost, not 80,000. A catalogue larger than `recipe.negatives` is represented by that many items drawn
    uniformly, weighted up to its size (Bengio and Senecal, 2008), plus the positive itself. Each chunk of users has a
    draw of its own, at no cost: on Gowalla, LightGCN's NDCG@20 was .105 after 10 epochs, .101 after 11 with one draw.
    """
    if len(items) <= recipe.negatives:
        return _found(users, items, *_whole_softmax(users.detach(), items.detach(), batch, recipe))
    shape = (len(first_users(batch, recipe.negatives)) - 1, recipe.negatives)
    drawn = torch.randint(len(items), shape, generator=generator, device=items.device)
    return _found(users, items, *_sampled_softmax(users.detach(), items.detach(), batch, recipe, drawn))


def _whole_softmax(
    users: Tensor, items: Tensor, batch: Batch, recipe: Recipe
) -> tuple[Tensor, Tensor, Tensor]:
    n_pairs = len(batch.items)
    count = torch.bincount(batch.owner, batch.weights, len(batch.users)).to(users.dtype)
    grad_users = torch.zeros_like(users)

    def work(_number: int, rows: slice, pairs: slice, scores: Tensor, sums: list[Tensor]) -> None:
        loss, grad_items = sums
        owner = batch.owner[pairs] - rows.start
        queries = users.index_select(0, batch.users[rows]) / recipe.temperature
        torch.mm(queries, items.t(), out=scores)
        scores.sub_(scores.amax(1, keepdim=True))
        flat, places = scores.view(-1), owner * len(items) + batch.items[pairs]
        loss -= batch.weighted(flat.index_select(0, places), pairs).sum()
        total = scores.exp_().sum(1)
        loss += total.log() @ count[rows]
        # What follows is the scores' gradient, up to `share`: count / total * scores, less its weight at each positive.
        share = count[rows] / total
        flat.index_add_(0, places, batch.weighted(-1 / share.index_select(0, owner), pairs))
        share = share.unsqueeze(1) / n_pairs
        # A user is in a batch once, so no two cores write to one row.
        grad_users[batch.users[rows]] = (scores @ items) * (share / recipe.temperature)
        grad_items.addmm_(scores.t(), queries * share)

    loss, grad_items = users.new_zeros(()), torch.zeros_like(items)
    _over_users(batch, len(items), work, [loss, grad_items])
    return loss / n_pairs, grad_users, grad_items


def _sampled_softmax(
    users: Tensor, items: Tensor, batch: Batch, recipe: Recipe, drawn: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    n_pairs, weight = len(batch.items), math.log(len(items) / drawn.shape[1])
    grad_users = torch.zeros_like(users)
    one = torch.ones(drawn.shape[1], dtype=items.dtype, device=items.device)
    places = torch.arange(drawn.shape[1], device=items.device)

    def work(number: int, rows: slice, pairs: slice, scores: Tensor, sums: list[Tensor]) -> None:
        loss, grad_items = sums
        owner, bought = batch.owner[pairs] - rows.start, batch.items[pairs]
        queries = users.index_select(0, batch.users[rows]) / recipe.temperature
        candidates = items.index_select(0, drawn[number])
        torch.mm(queries, candidates.t(), out=scores)
        highest = scores.amax(1, keepdim=True)
        total = scores.sub_(highest).exp_().sum(1)
        rest = total.log() + highest.squeeze(1) + weight
        margin = rest.index_select(0, owner) - dots(queries, owner, items, bought)
        loss += batch.weighted(F.softplus(margin), pairs).sum()
        wrong = batch.weighted(torch.sigmoid(margin), pairs) / n_pairs
        share = torch.zeros_like(total).index_add_(0, owner, wrong).div_(total).unsqueeze(1)
        grad_queries = (scores @ candidates).mul_(share)
        add_weighted_rows(grad_queries, owner, -wrong, items, bought)
        add_weighted_rows(grad_items, bought, -wrong, queries, owner)
        add_weighted_rows(grad_items, drawn[number], one, scores.t() @ (queries * share), places)
        grad_users[batch.users[rows]] = grad_queries.div_(recipe.temperature)

    loss, grad_items = users.new_zeros(()), torch.zeros_like(items)
    _over_users(batch, drawn.shape[1], work, [loss, grad_items])
    return loss / n_pairs, grad_users, grad_items


def bpr(users: Tensor, items: Tensor, batch: Batch, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Bayesian personalised ranking (Rendle et al., UAI 2009) with one uniform negative a pair."""
    drawn = torch.randint(len(items), batch.items.shape, generator=generator, device=items.device)
    return _found(users, items, *_bpr(users.detach(), items.detach(), batch, recipe, drawn))


def _bpr(
    users: Tensor, items: Tensor, batch: Batch, recipe: Recipe, drawn: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    n_pairs, owners = len(batch.items), batch.users.index_select(0, batch.owner)
    margin = dots(users, owners, items, batch.items) - dots(users, owners, items, drawn)
    margin /= recipe.temperature
    wrong = batch.weighted(torch.sigmoid(-margin)) / (n_pairs * recipe.temperature)
    grad_users, grad_items = torch.zeros_like(users), torch.zeros_like(items)
    for chosen, weight in ((batch.items, -wrong), (drawn, wrong)):
        add_weighted_rows(grad_users, owners, weight, items, chosen)
        add_weighted_rows(grad_items, chosen, weight, users, owners)
    return batch.weighted(F.softplus(-margin)).mean(), grad_users, grad_items


LOSSES: dict[str, Loss] = {"softmax": softmax, "bpr": bpr}
