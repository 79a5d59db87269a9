import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.graph import compiled
from nas.graph.compiled import in_threads, on_cores, ranges_of


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
    # In a process of its own, which has no threads but ours: forking pytest's would be a hazard by itself.
    script = """
import os, warnings
from nas.graph.compiled import in_threads
work = lambda begin, end: end
ranges = [(0, 1), (1, 2)]
assert in_threads(work, ranges) == [1, 2]
warnings.simplefilter("ignore", DeprecationWarning)
child = os.fork()
if child == 0:
    os._exit(in_threads(work, ranges) != [1, 2])
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_work_on_cores_comes_back_in_order_and_leaves_torchs_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        inside: list[int] = []

        def work(begin: int, end: int) -> list[int]:
            inside.append(torch.get_num_threads())
            return list(range(begin, end))

        assert [n for part in on_cores(work, 10) for n in part] == list(range(10))
        assert on_cores(work, 0) == []
        assert inside == [1, 1, 1]
        assert torch.get_num_threads() == 3
        with pytest.raises(ValueError, match="broken"):
            on_cores(lambda _begin, _end: fail(), 10)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def fail() -> None:
    raise ValueError("broken")


def test_a_kernel_works_where_nothing_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = compiled.numba.njit

    def refuse(function: object, *, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(function, **options)

    monkeypatch.setattr(compiled.numba, "njit", refuse)
    assert compiled.compiled(lambda x: x + 1)(1) == 2
