"""The map by which someone new gets an initial embedding."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
USERS_PER_BLOCK = 4096


def fold_in_maps(
    user_embeddings: FloatArray,
    item_embeddings: FloatArray,
    seen_indptr: NDArray[np.int64],
    seen_items: NDArray[np.int32],
    ridges: Sequence[float],
) -> list[FloatArray]:
    """Fit the map from the mean of a history's final item embeddings to the user's initial embedding, once a ridge.

    With H (U', D) the means and E (U', d) the embeddings of the users who have a history, it is
    argmin_W |H W - E|^2 + ridge * trace(H'H) / D * |W|^2, so that `ridge` does not depend on the scale of the
    embeddings or the number of users.

    Args:
        user_embeddings: (U, d), those before the first layer; without layers, the final ones.
        item_embeddings: (I, D).
        seen_indptr: (U + 1,).
        seen_items: (N,).
        ridges: each at least 0, as a fraction of the mean diagonal of H'H.

    Returns:
        (D, d) float32 for each ridge; zeros if nobody has a history.

    Raises:
        ValueError: a ridge is negative or not finite.
    """
    for ridge in ridges:
        if not 0 <= ridge < np.inf:
            raise ValueError(f"ridge must be a finite number of at least 0, but got {ridge}")
    columns = item_embeddings.shape[1]
    gram, target = np.zeros((columns, columns)), np.zeros((columns, user_embeddings.shape[1]))
    trained = np.flatnonzero(np.diff(seen_indptr))
    for block in (
        trained[start : start + USERS_PER_BLOCK] for start in range(0, len(trained), USERS_PER_BLOCK)
    ):
        starts, stops = seen_indptr[block], seen_indptr[block + 1]
        # Histories of the others are empty, so those of a block lie end to end.
        rows = item_embeddings[seen_items[starts[0] : stops[-1]]].astype(np.float64)
        means = np.add.reduceat(rows, starts - starts[0], axis=0) / (stops - starts)[:, None]
        gram += means.T @ means
        target += means.T @ user_embeddings[block]
    unit = np.trace(gram) / columns * np.eye(columns)
    # Least squares rather than solve: without ridge, embeddings of low rank make the system singular.
    return [np.linalg.lstsq(gram + ridge * unit, target)[0].astype(np.float32) for ridge in ridges]
