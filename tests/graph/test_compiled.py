import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.graph import compiled
from nas.graph.compiled import in_threads, ranges_of


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 9))
def test_ranges_cover_every_row_once_and_share_the_work(entries: list[int], parts: int) -> None:
    pointer = np.concatenate([[0], np.cumsum(entries)]).astype(np.int32)
    ranges = ranges_of(pointer, parts)
    assert [row for begin, end in ranges for row in range(begin, end)] == list(range(len(entries)))
    assert len(ranges) <= parts
    work = [int(pointer[end] - pointer[begin]) + end - begin for begin, end in ranges]
    fair = (sum(entries) + len(entries)) / parts
    assert all(w <= fair + max(entries) + 1 for w in work)


def test_each_range_is_worked_on_once_and_results_come_in_order() -> None:
    seen = []

    def kernel(factor: int, begin: int, end: int) -> int:
        seen.append((begin, end))
        return factor * begin

    assert in_threads(kernel, [(0, 2), (2, 5), (5, 6)], 10) == [0, 20, 50]
    assert sorted(seen) == [(0, 2), (2, 5), (5, 6)]
    assert in_threads(kernel, [], 10) == []


def test_a_fault_in_a_thread_is_raised() -> None:
    def kernel(begin: int, _end: int) -> None:
        if begin == 0:
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        in_threads(kernel, [(0, 1), (1, 2)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    in_threads(lambda *_range: None, [(0, 1), (1, 2)])
    assert compiled._pool is not None
    compiled._forget_pool()
    assert in_threads(lambda begin, _end: begin, [(0, 1), (1, 2)]) == [0, 1]


def test_a_kernel_works_where_nothing_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = compiled.numba.njit

    def refuse(function: object, *, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(function, **options)

    monkeypatch.setattr(compiled.numba, "njit", refuse)
    assert compiled.compiled(lambda x: x + 1)(1) == 2
