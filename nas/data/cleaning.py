"""What leaves the data before it is indexed for good: low ratings, repeated pairs, rare users and items."""

import logging

import numpy as np
import polars as pl

from nas.data.interactions import BoolArray, IntArray
from nas.errors import UserError

log = logging.getLogger("nas.data")


def keep_rated(frame: pl.DataFrame, min_rating: float, where: str) -> pl.DataFrame:
    """Return the rows with a rating of at least `min_rating`; pairs do not repeat any more.

    Raises `UserError` where no rating is high enough.
    """
    kept = frame.filter(pl.col("rating") >= min_rating)
    if kept.is_empty():
        highest = frame["rating"].to_numpy().max()
        raise UserError(
            f"{where}: nothing is left with min_rating: {min_rating:g}; the highest rating is {highest:g}"
        )
    _log_dropped(len(frame) - len(kept), len(frame), f"rated below {min_rating:g}")
    return kept


def distinct(frame: pl.DataFrame) -> pl.DataFrame:
    """Return one row a pair of (user, item), sorted by pair.

    Across parts the earliest part keeps the pair, since a pair in two parts would leak; then the latest
    timestamp does, then the last row. Where pairs repeat and nothing is rated, `rating` is how often the pair
    occurs in that part.
    """
    pair = ["user", "item"]
    if "rating" not in frame.columns:
        alike = [name for name in (*pair, "part") if name in frame.columns]
        counted = frame.with_columns(rating=pl.len().over(alike))
        frame = counted if counted["rating"].max() != 1 else frame
    order = {"user": False, "item": False, "part": True, "timestamp": False}
    order = {name: descending for name, descending in order.items() if name in frame.columns}
    ordered = frame.sort(list(order), descending=list(order.values()), maintain_order=True)
    is_last = (pl.struct(pair) != pl.struct(pair).shift(-1)).fill_null(True)
    kept = ordered.filter(is_last)
    _log_dropped(len(frame) - len(kept), len(frame), "repeating a user-item pair")
    return kept


def core(user: IntArray, item: IntArray, k: int) -> BoolArray:
    """Return the (n,) mask of the k-core: every user and item left has at least `k` interactions left."""
    keep = np.ones(len(user), dtype=np.bool_)
    while True:
        left = keep.copy()
        for column in (user, item):
            counts = np.bincount(column[left], minlength=int(column.max(initial=0)) + 1)
            left &= counts[column] >= k
        if left.all() or np.array_equal(left, keep):
            _log_dropped(len(user) - int(left.sum()), len(user), f"outside the {k}-core")
            return left
        keep = left


def _log_dropped(dropped: int, of: int, why: str) -> None:
    if dropped:
        log.info("dropped %d of %d interactions %s", dropped, of, why)
