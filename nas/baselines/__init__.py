"""Classical recommenders, one a file; an addition is its file and its line here."""

from nas.baselines.baseline import Baseline, Settings
from nas.baselines.ease import EASE
from nas.baselines.itemknn import ITEMKNN
from nas.baselines.popularity import POPULARITY

BASELINES: dict[str, Baseline] = {"popularity": POPULARITY, "itemknn": ITEMKNN, "ease": EASE}

__all__ = ["BASELINES", "Baseline", "Settings"]
