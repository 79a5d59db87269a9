"""Whether onnxruntime answers as the recommender does."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.recommender.recommender import Recommender

logger = logging.getLogger(__name__)
MOST_USERS, AT_ONCE, LENGTH = 64, 4, 20
TOLERANCE = 1e-4  # of the largest magnitude among a user's scores; float32 leaves some 1e-6


def compare(model: Recommender, arrays: Mapping[str, NDArray[Any]], content: bytes) -> float | None:
    """Compare the scores and lists of up to MOST_USERS users, and log the largest difference.

    Lists are the same but for ties: each listed item has, by the recommender, the score that its rank has.

    Args:
        model: the recommender.
        arrays: its own, of which the histories are taken.
        content: of `model.onnx`.

    Returns:
        The largest difference, as a share of the largest magnitude among the user's scores; None without onnxruntime.

    Raises:
        RuntimeError: a difference is above TOLERANCE, or a list holds what it must not.
    """
    try:
        import onnxruntime
    except ImportError:
        logger.info("model.onnx: not compared with the recommender, for that takes: pip install onnxruntime")
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # threads of its own fight with those of other programs
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    users = np.unique(np.linspace(0, len(model.user_ids) - 1, MOST_USERS).astype(np.int64))
    blocks = [users[start : start + AT_ONCE] for start in range(0, len(users), AT_ONCE)]
    indptr, seen = arrays["seen_indptr"], arrays["seen_items"]
    largest = 0.0
    for block in blocks:
        histories = [seen[indptr[user] : indptr[user + 1]].astype(np.int32) for user in block]
        largest = max(largest, _difference(model, session, block, histories))
    logger.info(
        "model.onnx: %d users have the same %d best items up to ties; scores differ by at most %.1e of the largest",
        len(users), LENGTH, largest,
    )  # fmt: skip
    return largest


def _difference(
    model: Recommender, session: Any, users: NDArray[np.int64], histories: Sequence[NDArray[np.int32]]
) -> float:
    history = np.zeros((len(users), len(model.item_ids)), dtype=np.float32)
    for row, had in zip(history, histories, strict=True):
        row[had] = 1
    asked = {"user": users, "history": history, "k": np.array([LENGTH])}
    found = session.run(["items", "scores", "all_scores"], asked)
    exact = np.empty(history.shape, dtype=np.float32)
    for row, (items, scores) in zip(exact, model.best_items(users, len(model.item_ids)), strict=True):
        row[items] = scores
    size = np.maximum(np.abs(exact).max(axis=1, keepdims=True), 1e-30)
    differences = [np.abs(found[2] - exact) / size]
    lists = model.best_items(users, LENGTH, histories)
    for n, (items, scores, (_, due)) in enumerate(zip(found[0], found[1], lists, strict=True)):
        listed = items[: len(due)]
        if (items[len(due) :] != -1).any() or len(np.setdiff1d(listed, histories[n])) < len(due):
            raise RuntimeError(f"model.onnx lists what it must not for user {model.user_ids[users[n]]!r}")
        differences += [np.abs(one - due) / size[n] for one in (scores[: len(due)], exact[n, listed])]
    largest = max(float(one.max(initial=0)) for one in differences)
    # So written, NaN fails too.
    if not largest <= TOLERANCE:
        raise RuntimeError(
            f"model.onnx differs from the recommender by {largest:.1e} of the largest score of a user"
        )
    return largest
