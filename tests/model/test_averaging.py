import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.model.averaging import Average
from nas.model.weights import Weights


def of(*values: float) -> Weights:
    return Weights({"users": torch.tensor([values], dtype=torch.float64)})


def averaged(values: list[float]) -> float:
    average = Average(of(7.0))
    for value in values:
        average.add(of(value))
    return float(average.weights.tensors["users"].detach())


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30))
def test_an_epoch_counts_by_the_polynomial(values: list[float]) -> None:
    # t (t + 1) / 2, which is what the recursion comes to for p = 2: C(t + p - 1, p).
    counts = [math.comb(t + 1, 2) for t in range(1, len(values) + 1)]
    expected = sum(c * v for c, v in zip(counts, values, strict=True)) / sum(counts)
    assert averaged(values) == pytest.approx(expected, abs=1e-9)


def test_what_was_before_the_first_epoch_is_forgotten() -> None:
    assert averaged([]) == 7.0
    assert averaged([2.0]) == 2.0


def test_the_weights_it_is_given_are_left_alone() -> None:
    first, second = of(1.0, 2.0), of(3.0, 4.0)
    average = Average(first)
    average.add(second)
    average.add(first)
    assert first.tensors["users"].tolist() == [[1.0, 2.0]]
    assert second.tensors["users"].tolist() == [[3.0, 4.0]]


def test_it_goes_on_from_its_state() -> None:
    whole, part = Average(of(0.0)), Average(of(0.0))
    for value in (1.0, 5.0):
        whole.add(of(value))
        part.add(of(value))
    other = Average(of(9.0))
    other.load(part.weights.state(), 2)
    for value in (2.0, 8.0):
        whole.add(of(value))
        other.add(of(value))
    assert torch.equal(whole.weights.tensors["users"], other.weights.tensors["users"])
