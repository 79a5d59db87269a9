"""The arrays of an artefact with fewer bits."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import UserError

FloatArray = NDArray[np.float32]
PRECISIONS = ("float32", "float16", "int8")
# Small, and either counts, or of a range that float16 has not, or what every state goes through.
_KEPT = re.compile(r"popularity|fold_in|.*_shares|.*_nearest|.*_fade|graph_(?!initial$|\d+_items$).*")


def narrowed(arrays: Mapping[str, NDArray[Any]], precision: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of an artefact with fewer bits.

    "float16" rounds embeddings, what items send into each layer, the weights of the other branches and counts. "int8"
    rounds rows of the first three to multiples of 1/127 of their largest magnitude, which is kept as NAME_scale, and
    counts to float16. Both keep places of items, and ages, as uint16 where that is enough. "float32" changes nothing.

    Raises:
        UserError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise UserError(f"unknown precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    found = dict(arrays)
    if precision == "float32":
        return found
    for name, one in arrays.items():
        if one.dtype == np.int32 and one.max(initial=0) < 2**16:
            found[name] = one.astype(np.uint16)
        elif one.dtype != np.float32 or _KEPT.fullmatch(name):
            continue
        elif precision == "int8" and (one.ndim == 2 or name.endswith("_weights")):
            sizes = None if one.ndim == 2 else np.diff(arrays[f"{name.removesuffix('weights')}indptr"])
            found[name], found[f"{name}_scale"] = _as_int8(one, sizes)
        elif np.abs(one).max(initial=0) < np.finfo(np.float16).max:
            found[name] = one.astype(np.float16)
    return found


def _as_int8(numbers: FloatArray, sizes: NDArray[np.int64] | None) -> tuple[NDArray[np.int8], FloatArray]:
    """Return rows, of two dimensions or of such sizes end to end, as int8 and a scale each."""
    magnitude = np.abs(numbers)
    if sizes is None:
        scale = magnitude.max(axis=1, initial=0) / np.float32(127)
        each = scale[:, None]
    else:
        scale = np.zeros(len(sizes), dtype=np.float32)
        # Between the begins of rows that hold anything lie exactly those rows.
        held = np.flatnonzero(sizes)
        if len(held):
            scale[held] = np.maximum.reduceat(magnitude, (np.cumsum(sizes) - sizes)[held]) / np.float32(127)
        each = np.repeat(scale, sizes)
    steps = np.rint(numbers / np.where(each > 0, each, 1))
    # The scale of denormal numbers is itself rounded, down to where their largest is 128 steps: one too many for int8.
    return np.clip(steps, -127, 127).astype(np.int8), scale
