"""Scores of several branches made comparable and added.

A branch's scores of a user are divided by their standard deviation over the catalogue, then weighted. Nothing is
subtracted, for what a user's scores have in common changes no ranking.

Shape suffixes: U users, I items, D columns, B users of a block.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.model.ranking import Scorer, dot_scorer

# Below this, a user's scores are all alike, and dividing by it would make much of rounding.
_LEAST_DEVIATION = 1e-6
# Scores that are held are found in blocks of so many users at least, or of fewer: so many bytes at most.
_BLOCK_USERS = 512
_BLOCK_BYTES = 64 * 2**20


def standardised_states(users: Tensor, items: Tensor) -> Tensor:
    """Return final states of users (U, D) such that each user's dot products with all items have deviation 1.

    The variance of u's scores is u' C u, C (D, D) the covariance of the items' states, so no score has to be computed.
    Users whose scores are all alike get zeros.
    """
    centred = items.double() - items.double().mean(0)
    covariance = centred.t() @ centred / len(items)
    deviation = ((users.double() @ covariance) * users.double()).sum(1).clamp(min=0).sqrt()
    largest = items.abs().max().double() * users.abs().sum(1).double()
    scale = torch.where(deviation > _LEAST_DEVIATION * largest, 1 / deviation, torch.zeros_like(deviation))
    return users * scale.to(users.dtype).unsqueeze(1)


def standardised(scores: Tensor) -> Tensor:
    """Divide each row of scores (B, I) by its standard deviation in place, and return it; constant rows become 0."""
    deviation = scores.std(dim=1, correction=0, keepdim=True)
    largest = scores.abs().amax(dim=1, keepdim=True)
    return scores.mul_(torch.where(deviation > _LEAST_DEVIATION * largest, 1 / deviation, 0.0))


class Held:
    """The standardised scores of some users, computed once and kept."""

    def __init__(self, scorer: Scorer, users: NDArray[np.int64], n_users: int) -> None:
        """Keep those of `users`, (n,) increasing: n x I float32."""
        # One user says how many items there are.
        one = scorer(torch.from_numpy(users[:1]))
        self._scores = one.new_empty(len(users), one.shape[1])
        blocks = max(1, len(users) // _BLOCK_USERS, -(-self._scores.nbytes // _BLOCK_BYTES))
        parts = zip(self._scores.tensor_split(blocks), np.array_split(users, blocks), strict=True)
        for scores, block in parts:
            scores.copy_(standardised(scorer(torch.from_numpy(block))))
        self._row = torch.full((n_users,), -1, dtype=torch.int64)
        self._row[torch.from_numpy(users)] = torch.arange(len(users))

    def __call__(self, users: Tensor) -> Tensor:
        """(B,) int64 -> (B, I) float32, fresh memory."""
        return self._scores.index_select(0, self._row[users])


def standardised_scorer(scorer: Scorer) -> Scorer:
    """Return the scorer whose scores have deviation 1 for each user."""
    return lambda users: standardised(scorer(users))


def fused(
    states: tuple[Tensor, Tensor] | None, weight: float, others: Sequence[tuple[float, Scorer]]
) -> Scorer:
    """Return the scorer of a fusion.

    Args:
        states: final states of users (U, D) and items (I, D) of the graph branch, if there is one.
        weight: of the graph branch.
        others: weight and scorer of each other branch; their scores are standardised already.
    """
    if states is not None and not others:
        return dot_scorer(*states)
    learned = dot_scorer(standardised_states(*states) * weight, states[1]) if states is not None else None

    def score(users: Tensor) -> Tensor:
        total = learned(users) if learned else None
        for share, scorer in others:
            scores = scorer(users)
            total = scores.mul_(share) if total is None else total.add_(scores.to(total.device), alpha=share)
        assert total is not None
        return total

    return score
