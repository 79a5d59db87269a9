"""GF-CF: a linear and an ideal low-pass filter of the history (Shen et al., CIKM 2021)."""

from nas.baselines.baseline import Baseline, Settings
from nas.data.interactions import Interactions
from nas.graph import Graph
from nas.model.ranking import Scorer
from nas.model.spectral import fit_spectral
from nas.space.closed_form import SpectralBranch

_RANKS = (16, 32, 64, 128, 256, 512)
_LOW_PASS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_SEED = 0


def branch(_interactions: Interactions, settings: Settings) -> SpectralBranch:
    """Return the spectral branch that is this baseline."""
    return SpectralBranch(rank=int(settings["rank"]), low_pass=settings["low_pass"])


def fit(interactions: Interactions, settings: Settings) -> Scorer:
    """Filter the training graph."""
    found = branch(interactions, settings)
    return fit_spectral(found, interactions, Graph.from_interactions(interactions), _SEED)


GFCF = Baseline(
    fit,
    ranges={"low_pass": _LOW_PASS, "rank": _RANKS},
    start={"low_pass": 0.3, "rank": 128},
    branch=branch,
)
