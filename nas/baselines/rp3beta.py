"""RP3beta: random walks of three steps that shun popular items (Paudel et al., ACM TiiS 2017)."""

import numpy as np
from scipy.sparse import csr_array, diags_array

from nas.baselines.baseline import Baseline, Settings
from nas.data.interactions import Interactions
from nas.model.history import HistoryModel, histories_of, largest_products
from nas.model.ranking import Scorer

_BETA = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_ALPHA = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)
_NEAREST = (50, 100, 200, 400, 800)


def fit(interactions: Interactions, settings: Settings) -> Scorer:
    """Walk item to user to item, the steps' probabilities to the power alpha, and divide by popularity ** beta."""
    histories = histories_of(interactions)
    of_user, of_item = (np.maximum(np.asarray(histories.sum(axis), dtype=np.float32), 1) for axis in (1, 0))
    to_user = diags_array(of_item ** -settings["alpha"]) @ histories.T
    to_item = (
        diags_array(of_user ** -settings["alpha"]) @ histories @ diags_array(of_item ** -settings["beta"])
    )
    weights = largest_products(csr_array(to_user), csr_array(to_item), int(settings["nearest"]))
    return HistoryModel(histories, weights)


RP3BETA = Baseline(
    fit,
    ranges={"beta": _BETA, "alpha": _ALPHA, "nearest": _NEAREST},
    start={"beta": 0.4, "alpha": 0.8, "nearest": 400},
)
