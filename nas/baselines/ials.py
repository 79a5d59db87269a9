"""iALS: weighted matrix factorisation by alternating least squares (Hu, Koren and Volinsky, ICDM 2008), by `implicit`."""

from itertools import product

import torch
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from nas.baselines.baseline import Baseline, Settings
from nas.data.interactions import Interactions
from nas.model.history import histories_of
from nas.model.ranking import Scorer, dot_scorer

_FACTORS = (64, 128)
_CONFIDENCE = (0.5, 1.0, 2.0, 10.0)
_REGULARISATION = (3.0, 20.0)
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
    grid=tuple(
        {"factors": f, "confidence": c, "regularisation": r}
        for f, c, r in product(_FACTORS, _CONFIDENCE, _REGULARISATION)
    ),
)
