"""EASE: the closed-form linear autoencoder (Steck, WWW 2019, eq. 8)."""

import numpy as np
import torch

from nas.baselines.baseline import Baseline, Settings, history_scorer, matrix_of
from nas.data.interactions import Interactions
from nas.model.ranking import Scorer

# Three (I, I) float32 matrices live at once, and time grows with I cubed: at this size 2.7 GB and minutes a fit.
_MOST_ITEMS = 15_000


def item_weights(interactions: Interactions, regularisation: float) -> torch.Tensor:
    """Return B (I, I) float32 with a zero diagonal: B = I - P / diag(P), P = (X'X + regularisation I)^-1."""
    matrix = matrix_of(interactions)
    gram = torch.from_numpy((matrix.T @ matrix).toarray())
    gram.diagonal().add_(regularisation)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    weights = inverse.div_(-inverse.diagonal().clone())
    weights.fill_diagonal_(0.0)
    return weights


def fit(interactions: Interactions, settings: Settings) -> Scorer:
    """Solve for the item-item weights; a user's scores are its history times them."""
    return history_scorer(interactions, item_weights(interactions, settings["regularisation"]))


def obstacle(interactions: Interactions) -> str | None:
    """Say why not, where the catalogue is too large for a dense item-item matrix."""
    if interactions.n_items <= _MOST_ITEMS:
        return None
    gigabytes = 3 * 4 * interactions.n_items**2 / 1e9
    return f"{interactions.n_items:,} items need {gigabytes:.0f} GB; EASE is run up to {_MOST_ITEMS:,} items"


EASE = Baseline(
    fit,
    grid=tuple({"regularisation": float(v)} for v in np.geomspace(10, 10_000, 13).round(1)),
    obstacle=obstacle,
)
