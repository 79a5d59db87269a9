"""SLIM: sparse linear methods, an elastic net of each item on the others (Ning and Karypis, ICDM 2011, eq. 3 and 4)."""

from itertools import product

import numpy as np

from nas.baselines.baseline import Baseline, Settings
from nas.data.interactions import Interactions
from nas.model.history import HistoryModel, compact, histories_of
from nas.model.item_weights import co_occurrences
from nas.model.ranking import Scorer
from nas.model.sparse_regression import sparse_regression
from nas.space.closed_form import ItemBranch

_L1 = (1.0, 3.0, 10.0)
_L2 = (0.3, 1.0, 3.0)
MOST_ITEMS = 10_000
"""Two dense item-item matrices live at once, and a fit's time grows with the items times the weights."""


def fit(interactions: Interactions, settings: Settings) -> Scorer:
    """Solve for each item's weights of the others, not below 0; a user's scores are its history times them.

    `l1` counts users, `l2` is a share of the popularity that the item of an interaction has on average.
    """
    popularity = np.bincount(interactions.item, minlength=interactions.n_items).astype(np.float64)
    typical = (popularity**2).sum() / max(1.0, popularity.sum())
    gram = co_occurrences(interactions, ItemBranch())
    weights = sparse_regression(gram, settings["l1"], settings["l2"] * typical)
    return HistoryModel(histories_of(interactions), compact(weights))


def obstacle(interactions: Interactions) -> str | None:
    """Say why SLIM cannot be fitted, where the catalogue is too large for a dense item-item matrix."""
    if interactions.n_items <= MOST_ITEMS:
        return None
    gigabytes = 2 * 4 * interactions.n_items**2 / 1e9
    return f"{interactions.n_items:,} items need {gigabytes:.1f} GB; SLIM is run up to {MOST_ITEMS:,} items"


SLIM = Baseline(fit, grid=tuple({"l1": a, "l2": b} for a, b in product(_L1, _L2)), obstacle=obstacle)
