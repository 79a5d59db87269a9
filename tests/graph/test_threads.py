import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.graph import threads
from nas.graph.threads import in_threads, on_cores, ranges_of


@pytest.fixture(params=["torch's", "own"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of torch's OpenMP runtime, and those that stand in for them elsewhere."""
    if request.param == "own":
        monkeypatch.setattr(threads, "_team", None)
    elif threads._team is None:
        pytest.skip("this torch has no GNU OpenMP runtime")


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 9))
def test_ranges_cover_every_row_once_and_share_the_work(entries: list[int], parts: int) -> None:
    pointer = np.concatenate([[0], np.cumsum(entries)]).astype(np.int32)
    ranges = ranges_of(pointer, parts)
    assert [row for begin, end in ranges for row in range(begin, end)] == list(range(len(entries)))
    assert len(ranges) <= parts
    work = [int(pointer[end] - pointer[begin]) + end - begin for begin, end in ranges]
    fair = (sum(entries) + len(entries)) / parts
    assert all(w <= fair + max(entries) + 1 for w in work)


@pytest.mark.usefixtures("kind")
def test_each_range_is_worked_on_once_and_results_come_in_order() -> None:
    seen = []

    def kernel(factor: int, begin: int, end: int) -> int:
        seen.append((begin, end))
        return factor * begin

    assert in_threads(kernel, [(0, 2), (2, 5), (5, 6)], 10) == [0, 20, 50]
    assert sorted(seen) == [(0, 2), (2, 5), (5, 6)]
    assert in_threads(kernel, [], 10) == []


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("broken", [0, 1])
def test_a_fault_in_a_thread_is_raised(broken: int) -> None:
    def kernel(begin: int, _end: int) -> None:
        if begin == broken:
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        in_threads(kernel, [(0, 1), (1, 2)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    # In a process of its own, which has no threads but ours: forking pytest's would be a hazard by itself.
    script = """
import os, warnings
from nas.graph.threads import in_threads
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


@pytest.mark.usefixtures("kind")
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


def test_work_within_work_is_done_whole() -> None:
    def outer(begin: int, end: int) -> list[int]:
        return [
            n
            for part in in_threads(lambda a, b: list(range(a, b)), [(begin, begin + 1), (begin + 1, end)])
            for n in part
        ]

    assert in_threads(outer, [(0, 5), (5, 9)]) == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]
