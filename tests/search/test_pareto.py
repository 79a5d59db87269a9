from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from nas.search.hypervolume import hypervolume_history
from nas.search.loop import Candidate
from nas.search.pareto import front, front_mask, losses
from nas.space import Architecture, GraphBranch

Floats = NDArray[np.float64]

# Few levels, so that many values tie.
values = st.tuples(st.integers(1, 12), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 4).map(float))
)


def candidate(number: int, **found: float) -> Candidate:
    branch = GraphBranch(hidden_size=number + 1)
    return Candidate(number, Architecture(graph=branch), found, cached=False, seconds=0.0, finished=0.0)


@given(values)
@settings(max_examples=100)
def test_the_front_is_what_nothing_dominates(rows: Floats) -> None:
    def beaten(n: int) -> bool:
        return any(all(other <= rows[n]) and (any(other < rows[n]) or m < n) for m, other in enumerate(rows))

    assert front_mask(rows).tolist() == [not beaten(n) for n in range(len(rows))]


@given(values)
@settings(max_examples=100)
def test_the_hypervolume_is_the_share_of_dominated_cells(rows: Floats) -> None:
    low, high = rows.min(0), rows.max(0)
    # Cells of the box along the objectives that change; unit cells, since all values are whole numbers.
    axes = [np.arange(a, b) if b > a else np.array([a]) for a, b in zip(low, high, strict=True)]
    cells = np.array(list(product(*axes)))
    expected = [(rows[: n + 1, None] <= cells[None]).all(2).any(0).mean() for n in range(len(rows))]
    found = hypervolume_history(rows)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert bool((np.diff(found) >= -1e-12).all())


def test_hypervolumes_in_closed_form() -> None:
    plane = np.array([[0.0, 8.0], [8.0, 0.0], [4.0, 4.0], [2.0, 6.0], [5.0, 5.0]])
    assert hypervolume_history(plane) == pytest.approx([0, 0, 1 / 4, 1 / 4 + 1 / 16, 5 / 16])
    solid = np.array([[1.0, 1.0, 1.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]])
    # The second and the third overlap in a cube of side a half.
    assert hypervolume_history(solid) == pytest.approx([0, 1 / 4, 3 / 8, 1])


@given(values)
@settings(max_examples=50)
def test_the_order_of_the_rows_does_not_change_the_last_hypervolume(rows: Floats) -> None:
    assert hypervolume_history(rows)[-1] == pytest.approx(hypervolume_history(rows[::-1])[-1])


def test_qualities_count_upwards_and_costs_downwards() -> None:
    found = [
        candidate(0, **{"ndcg@20": 0.3, "parameters": 5}),
        candidate(1, **{"ndcg@20": 0.2, "parameters": 4}),
    ]
    assert losses(found, ("ndcg@20", "parameters")).tolist() == [[-0.3, 5], [-0.2, 4]]
    assert losses([], ("ndcg@20", "parameters")).shape == (0, 2)


def test_the_front_comes_best_first_objective_first() -> None:
    found = [
        candidate(n, **{"ndcg@20": quality, "parameters": cost})
        for n, (quality, cost) in enumerate([(0.1, 1), (0.3, 9), (0.2, 5), (0.2, 6), (0.3, 9)])
    ]
    assert [c.number for c in front(found, ("ndcg@20", "parameters"))] == [1, 2, 0]
