"""UserKNN: what the users most like someone have had (Breese et al., UAI 1998)."""

from nas.baselines.baseline import Baseline, Settings
from nas.data.interactions import Interactions
from nas.model.nearest_users import fit_users
from nas.model.ranking import Scorer
from nas.space.closed_form import UserBranch

_NEIGHBOURS = (25, 50, 100, 200, 400, 800)
_POWER = (1.0, 2.0, 3.0, 4.0, 6.0)
_RARITY = (0.0, 0.25, 0.5, 0.75, 1.0)


def branch(_interactions: Interactions, settings: Settings) -> UserBranch:
    """Return the user branch that is this baseline."""
    return UserBranch.model_validate({**settings})


def fit(interactions: Interactions, settings: Settings) -> Scorer:
    """Count users and items: neighbours are found when somebody asks."""
    return fit_users(branch(interactions, settings), interactions)


USERKNN = Baseline(
    fit,
    ranges={"neighbours": _NEIGHBOURS, "power": _POWER, "rarity": _RARITY},
    start={"neighbours": 100, "power": 2.0, "rarity": 0.5},
    branch=branch,
)
