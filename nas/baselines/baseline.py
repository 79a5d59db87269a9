"""What a baseline is: something that is fitted on interactions, with a grid of settings, and scores users."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array

from nas.data.interactions import Interactions
from nas.model.ranking import Scorer

Settings = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A closed-form recommender.

    Attributes:
        fit: (interactions, settings) -> scorer of all items.
        grid: the settings that are tried on validation data.
        obstacle: (interactions) -> why it cannot be run on them, or None.
    """

    fit: Callable[[Interactions, Settings], Scorer]
    grid: tuple[Settings, ...] = ({},)
    obstacle: Callable[[Interactions], str | None] = lambda _interactions: None


def matrix_of(interactions: Interactions) -> csr_array:
    """Return the (n_users, n_items) float32 matrix of ones."""
    ones = np.ones(len(interactions), dtype=np.float32)
    shape = (interactions.n_users, interactions.n_items)
    return csr_array((ones, interactions.item, interactions.offsets), shape=shape)


def history_scorer(interactions: Interactions, weights: csr_array | torch.Tensor) -> Scorer:
    """Return the scorer of an item-item model: the sum of `weights` (I, I) over the rows of a user's history."""
    matrix = matrix_of(interactions)

    def score(users: torch.Tensor) -> torch.Tensor:
        histories = matrix[users.cpu().numpy()]
        if isinstance(weights, torch.Tensor):
            return torch.from_numpy(histories.toarray()) @ weights
        return torch.from_numpy((histories @ weights).toarray())

    return score
