"""ItemKNN: cosine similarity of items with shrinkage, the nearest kept (Sarwar et al., WWW 2001)."""

from nas.baselines.baseline import Baseline, Settings
from nas.data.interactions import Interactions
from nas.model.history import HistoryModel, histories_of
from nas.model.item_weights import cosine_weights
from nas.model.ranking import Scorer

_NEAREST = (20, 50, 100, 200, 400, 800)
_SHRINK = (0.0, 5.0, 20.0, 80.0)


def fit(interactions: Interactions, settings: Settings) -> Scorer:
    """Find every item's neighbours; a user's score of i sums the similarities of the history's items that i is near to."""
    weights = cosine_weights(interactions, int(settings["nearest"]), settings["shrink"])
    return HistoryModel(histories_of(interactions), weights)


ITEMKNN = Baseline(
    fit, ranges={"nearest": _NEAREST, "shrink": _SHRINK}, start={"nearest": 200, "shrink": 20.0}
)
