"""SLIM: sparse linear methods, an elastic net of each item on the others (Ning and Karypis, ICDM 2011, eq. 3 and 4).

In a large catalogue, on the closest of them: fsSLIM, section 4.3 there.
"""

from functools import partial

import numpy as np

from nas.baselines.baseline import Baseline, Settings
from nas.data.interactions import Interactions
from nas.model.item_weights import DENSE_SLIM, fit_items, item_obstacle
from nas.model.ranking import Scorer
from nas.space.closed_form import ItemBranch

_L2 = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_L1 = (0.3, 1.0, 3.0, 10.0)
# Items up to which pairs that a single user shares may have weights, where each item is solved on all others: latest-small's
# 9,724 items take a minute a fit then on two threads, else five seconds.
_FEW_ITEMS = 4_000


def branch(interactions: Interactions, settings: Settings) -> ItemBranch:
    """Return the item branch that is this baseline.

    `l1` counts users, `l2` is a share of the popularity that the item of an interaction has on average.
    """
    popularity = np.bincount(interactions.item, minlength=interactions.n_items).astype(np.float64)
    typical = max(1.0, (popularity**2).sum() / max(1.0, popularity.sum()))
    return ItemBranch(kind="slim", l1=settings["l1"], regularisation=settings["l2"] * typical)


def fit(interactions: Interactions, settings: Settings) -> Scorer:
    """Solve for each item's weights of the others, not below 0; a user's scores are its history times them."""
    return fit_items(branch(interactions, settings), interactions)


def too_long(interactions: Interactions, settings: Settings) -> bool:
    """Whether one shared user is enough for a weight, and items are many and still solved on all others."""
    return settings["l1"] < 1 and _FEW_ITEMS < interactions.n_items <= DENSE_SLIM


SLIM = Baseline(
    fit,
    ranges={"l2": _L2, "l1": _L1},
    start={"l2": 1.0, "l1": 1.0},
    obstacle=partial(item_obstacle, "slim"),
    too_long=too_long,
    branch=branch,
)
