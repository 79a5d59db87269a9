"""iALS: weighted matrix factorisation by alternating least squares (Hu, Koren and Volinsky, ICDM 2008), by `implicit`."""

import torch
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from nas.baselines.baseline import Baseline, Settings
from nas.data.interactions import Interactions
from nas.model.history import histories_of
from nas.model.ranking import Scorer, dot_scorer

_CONFIDENCE = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_REGULARISATION = (1.25, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
_FACTORS = (32, 64, 128, 256)
_ITERATIONS = 15
_SEED = 0


def fit(interactions: Interactions, settings: Settings) -> Scorer:
    """Factorise; an interaction has confidence 1 + `confidence`, everything else 1."""
    # implicit runs threads of its own, and those of the linear algebra beneath would contend with them.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=int(settings["factors"]),
            regularization=settings["regularisation"],
            # Of what was had, implicit takes alpha for the confidence itself; that of all else is 1.
            alpha=1 + settings["confidence"],
            iterations=_ITERATIONS,
            random_state=_SEED,
            num_threads=torch.get_num_threads(),
        )
        model.fit(csr_matrix(histories_of(interactions)), show_progress=False)
    return dot_scorer(torch.from_numpy(model.user_factors), torch.from_numpy(model.item_factors))


IALS = Baseline(
    fit,
    ranges={"confidence": _CONFIDENCE, "regularisation": _REGULARISATION, "factors": _FACTORS},
    start={"confidence": 4.0, "regularisation": 20.0, "factors": 128},
)
