"""UserKNN: what the users most like someone have had (Breese et al., UAI 1998)."""

from itertools import product

from nas.baselines.baseline import Baseline, Settings
from nas.data.interactions import Interactions
from nas.model.nearest_users import fit_users
from nas.model.ranking import Scorer
from nas.space.closed_form import UserBranch

_NEAREST = (25, 50, 100, 200)
_POWER = (1.0, 3.0)
_RARITY = (0.0, 0.5)


def fit(interactions: Interactions, settings: Settings) -> Scorer:
    """Count users and items: neighbours are found when somebody asks."""
    return fit_users(
        UserBranch(neighbours=int(settings["nearest"]), power=settings["power"], rarity=settings["rarity"]),
        interactions,
    )


USERKNN = Baseline(
    fit, grid=tuple({"nearest": k, "power": p, "rarity": r} for k, p, r in product(_NEAREST, _POWER, _RARITY))
)
