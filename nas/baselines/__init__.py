"""Recommenders to be measured against, one a file; an addition is its file and its line here."""

from nas.baselines.baseline import Baseline, Settings
from nas.baselines.ease import EASE
from nas.baselines.gfcf import GFCF
from nas.baselines.ials import IALS
from nas.baselines.itemknn import ITEMKNN
from nas.baselines.popularity import POPULARITY
from nas.baselines.rp3beta import RP3BETA
from nas.baselines.slim import SLIM
from nas.baselines.trained import TRAINED, Trained
from nas.baselines.userknn import USERKNN

BASELINES: dict[str, Baseline] = {
    "popularity": POPULARITY,
    "itemknn": ITEMKNN,
    "userknn": USERKNN,
    "rp3beta": RP3BETA,
    "ease": EASE,
    "slim": SLIM,
    "gfcf": GFCF,
    "ials": IALS,
}
"""Those whose settings are tuned by fitting them."""

__all__ = ["BASELINES", "TRAINED", "Baseline", "Settings", "Trained"]
