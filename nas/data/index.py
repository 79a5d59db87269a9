"""Ids to indices: maps in natural order, and the codes of a column."""

import re
from collections.abc import Iterable

import numpy as np
import polars as pl

from nas.data.interactions import Ids, IntArray

DIGITS = re.compile(r"([0-9]+)")


def natural_order(ids: Iterable[str]) -> Ids:
    """Sort ids as people do: numbers by value and before text, `user-2` before `user-10`, `7` before `007`."""
    return tuple(sorted(ids, key=_natural_key))


def encode(column: pl.Series) -> tuple[IntArray, Ids]:
    """Return the (n,) int32 codes of a column of ids, and its distinct ids in natural order."""
    ids = natural_order(column.unique().to_list())
    codes = column.cast(pl.Enum(ids)).to_physical().to_numpy().astype(np.int32)
    return codes, ids


def _natural_key(text: str) -> tuple[bool, list[tuple[int, int, str]], int, str]:
    if text.isascii() and text.isdigit():
        return False, [_number(text)], len(text), text
    parts = DIGITS.split(text)
    # Digits stand at the odd places; the empty texts around them would not compare as people do.
    pieces = [_number(part) if place % 2 else (1, 0, part) for place, part in enumerate(parts) if part]
    return True, pieces, len(text), text


def _number(digits: str) -> tuple[int, int, str]:
    # Without leading zeros the longer number is the larger one, so no id is too long to be compared.
    value = digits.lstrip("0")
    return 0, len(value), value
