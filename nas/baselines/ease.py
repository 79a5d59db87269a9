"""EASE: the closed-form linear autoencoder (Steck, WWW 2019, eq. 8)."""

from functools import partial

import numpy as np

from nas.baselines.baseline import Baseline, Settings
from nas.data.interactions import Interactions
from nas.model.item_weights import fit_items, item_obstacle
from nas.model.ranking import Scorer
from nas.space.closed_form import ItemBranch


def branch(_interactions: Interactions, settings: Settings) -> ItemBranch:
    """Return the item branch that is this baseline."""
    return ItemBranch(regularisation=settings["regularisation"])


def fit(interactions: Interactions, settings: Settings) -> Scorer:
    """Solve for the item-item weights; a user's scores are its history times them."""
    return fit_items(branch(interactions, settings), interactions)


EASE = Baseline(
    fit,
    ranges={"regularisation": tuple(float(v) for v in np.geomspace(1, 10_000, 17).round(1))},
    start={"regularisation": 100.0},
    obstacle=partial(item_obstacle, "ease"),
    branch=branch,
)
