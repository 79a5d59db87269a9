"""Interactions of a given shape, generated from a seed; or read from a file.

Data sets may not be passed on, so what a benchmark needs by default is made here: as many users, items and
interactions as the real data, with popularities and activities that follow a power law.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.data import DataConfig, Interactions, load

# Pairs that a round draws at most: beside the pairs themselves, a round holds a few arrays of this length.
_DRAWN_AT_ONCE = 2**23


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a data set is."""

    users: int
    items: int
    interactions: int


# The training parts of the splits that the field reports on.
SHAPES = {
    "ml-1m-shape": Shape(6_022, 3_043, 796_244),
    "gowalla-shape": Shape(29_858, 40_981, 810_128),
}


def datasets(paths: Sequence[Path] | None) -> Iterator[tuple[str, Interactions]]:
    """Yield each data set with its name: the files, named by their folders, or the generated ones without any."""
    if paths:
        for path in paths:
            yield path.resolve().parent.name, load(DataConfig(path=path, format="adjacency"), Path())
    else:
        for name, shape in SHAPES.items():
            yield name, generate(shape)


def generate(shape: Shape, seed: int = 0) -> Interactions:
    """Return distinct interactions, at least one a user, some items possibly without any.

    User and item of a pair are drawn independently by `popularity`, pairs that occur already are drawn again.
    """
    if not shape.users <= shape.interactions <= shape.users * shape.items:
        raise ValueError(
            "users <= interactions <= users * items must hold, "
            f"but got {shape.users}, {shape.interactions}, {shape.items}"
        )
    rng = np.random.default_rng(seed)
    active, popular = popularity(shape.users, rng), popularity(shape.items, rng)
    # A pair is one number, so that pairs are sorted and compared as numbers are.
    keys = np.arange(shape.users) * shape.items + _draw(popular, shape.users, rng)
    while len(keys) < shape.interactions:
        missing = shape.interactions - len(keys)
        number = min(missing + missing // 4 + 16, _DRAWN_AT_ONCE)
        drawn = _draw(active, number, rng) * shape.items
        drawn += _draw(popular, number, rng)
        # np.unique hashes, which on 8 million numbers takes 50 times as long as to sort them.
        drawn.sort()
        drawn = drawn[np.diff(drawn, prepend=-1) > 0]
        fresh = drawn[keys[np.searchsorted(keys, drawn).clip(max=len(keys) - 1)] != drawn]
        if len(fresh) > missing:
            fresh = np.sort(rng.choice(fresh, missing, replace=False))
        # Of two sorted runs a stable sort makes one merge.
        keys = np.sort(np.concatenate([keys, fresh]), kind="stable")
    return Interactions(
        user=(keys // shape.items).astype(np.int32),
        item=(keys % shape.items).astype(np.int32),
        user_ids=tuple(map(str, range(shape.users))),
        item_ids=tuple(map(str, range(shape.items))),
    )


def popularity(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the (n,) cumulated probabilities of n things in random order, the r-th proportional to 1 / (r + n/100).

    Zipf and Mandelbrot's law with the offset that gives Gowalla's shape its extremes: users of 6 to 600 items.
    """
    # In order of popularity, neighbouring rows would all be long or all short: kinder to caches than real ids are.
    weights = rng.permutation(1.0 / (np.arange(n) + 1 + n / 100))
    return np.cumsum(weights) / weights.sum()


def _draw(cumulated: NDArray[np.float64], number: int, rng: np.random.Generator) -> NDArray[np.int64]:
    # The last sum may be below 1 by a rounding.
    return np.searchsorted(cumulated, rng.random(number)).clip(max=len(cumulated) - 1)
