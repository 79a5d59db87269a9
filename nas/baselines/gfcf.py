"""GF-CF: a linear and an ideal low-pass filter of the history (Shen et al., CIKM 2021)."""

from itertools import product

from nas.baselines.baseline import Baseline, Settings
from nas.data.interactions import Interactions
from nas.graph import Graph
from nas.model.ranking import Scorer
from nas.model.spectral import fit_spectral
from nas.space.closed_form import SpectralBranch

_RANKS = (32, 64, 128, 256)
_LOW_PASS = (0.1, 0.3, 1.0)
_SEED = 0


def branch(_interactions: Interactions, settings: Settings) -> SpectralBranch:
    """Return the spectral branch that is this baseline."""
    return SpectralBranch(rank=int(settings["rank"]), low_pass=settings["low_pass"])


def fit(interactions: Interactions, settings: Settings) -> Scorer:
    """Filter the training graph."""
    found = branch(interactions, settings)
    return fit_spectral(found, interactions, Graph.from_interactions(interactions), _SEED)


GFCF = Baseline(
    fit, grid=tuple({"rank": r, "low_pass": w} for r, w in product(_RANKS, _LOW_PASS)), branch=branch
)
