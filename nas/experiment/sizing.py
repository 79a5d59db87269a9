"""Defaults that follow the size of the data, so that a search of a million interactions ends within an hour or so.

What an experiment sets is left alone. What it leaves open is the default of `config.py` up to the size of MovieLens
100K and latest-small, and less of it beyond, in whole numbers that `experiment.yaml` of the run folder then shows. The
size is what an epoch costs: few interactions of many users and items are more work than as many of few. The users that
all is judged on are fewer where items are so many that their scores would fill the memory.
"""

from typing import Any

from nas.data import Interactions
from nas.experiment.config import DEFAULT_SPACE, Experiment
from nas.model.training import epoch_cost
from nas.space.search_space import SearchSpace

# Edges of an epoch. ML-100K has .6 million, latest-small .9, ML-1M 5.6, Gowalla 26.
_SMALL = 1_140_000
# Times the small size: from here on the search keeps to aggregators without weight matrices, and to baselines that are
# not trained but MF.
_LARGE = 3.0
_LARGE_SPACE = "linear"
# Scores of all judged users that are held of each closed-form branch: a gigabyte, 4,000 users of 67,000 items.
_SCORES = 2**28
_UNTRAINED = ("popularity", "itemknn", "userknn", "rp3beta", "ease", "slim", "gfcf", "ials", "mf-bpr")


def sized(experiment: Experiment, interactions: Interactions) -> Experiment:
    """Return the experiment with every setting that it left open chosen by the size of the data."""
    cost = epoch_cost(interactions.n_users, interactions.n_items, len(interactions))
    scale = max(1.0, cost / _SMALL)
    chosen: dict[str, Any] = {}
    for section, settings in _settings(scale, interactions.n_items).items():
        held = getattr(experiment, section)
        left_open = {key: value for key, value in settings.items() if key not in held.model_fields_set}
        chosen[section] = held.model_copy(update=left_open)
    if "search_space" not in experiment.model_fields_set:
        chosen["search_space"] = SearchSpace.load(_LARGE_SPACE if scale > _LARGE else DEFAULT_SPACE)
    return experiment.model_copy(update=chosen)


def _settings(scale: float, items: int) -> dict[str, dict[str, Any]]:
    def less(default: int, least: int, power: float) -> int:
        return max(least, round(float(default / scale**power)))

    found: dict[str, dict[str, Any]] = {
        "recipe": {"trials": less(20, 8, 0.5)},
        "supernet": {"epochs": less(30, 15, 0.1)},
        "search": {
            "trials": less(300, 60, 0.7),
            "population": less(40, 20, 0.5),
            "users": max(1000, min(4000, _SCORES // items)),
        },
        "retrain": {
            "top": less(5, 1, 0.7),
            "recipes": less(8, 2, 0.7),
            "tuned": less(2, 0, 0.8),
            "repeats": less(3, 1, 0.5),
            "epochs": less(300, 80, 0.7),
            # A look at 4,000 users costs less than an epoch from Gowalla's size on: more than five would only miss the best.
            "every": min(5, round(2 * scale**0.4)),
            "looks": less(10, 3, 0.5),
        },
        "baselines": {"recipes": less(8, 1, 1.0)},
    }
    if scale > _LARGE:
        found["baselines"]["names"] = _UNTRAINED
    return found
