"""A dimension is written down as shortly as it may be given, and reads as the same."""

from typing import Any

import pytest

from nas.space.dimension import Dimension


@pytest.mark.parametrize("spelling", [
    "dot",
    3,
    0.5,
    ["dot", "cosine"],
    [1, 2.5],
    {"choices": [1, 2], "per": "tied"},
    {"choices": ["gat"], "per": "tied"},
    {"min": 0.01, "max": 1.0, "log": True},
    {"min": 1.0, "max": 2.0},
])  # fmt: skip
def test_the_shortest_spelling_is_kept(spelling: Any) -> None:
    dimension = Dimension.model_validate(spelling)
    written = dimension.model_dump(mode="json")
    assert written == spelling
    assert type(written) is type(spelling)
    assert Dimension.model_validate(written) == dimension


@pytest.mark.parametrize(("spelling", "shortest"), [
    ({"min": 0, "max": 2}, [0, 1, 2]),
    ({"choices": ["dot"]}, "dot"),
    (["dot"], "dot"),
    ({"choices": [1, 2], "per": "layer", "log": False}, [1, 2]),
])  # fmt: skip
def test_a_longer_one_becomes_it(spelling: Any, shortest: Any) -> None:
    dimension = Dimension.model_validate(spelling)
    assert dimension.model_dump(mode="json") == shortest
    assert Dimension.model_validate(shortest) == dimension
