from typing import Any

import numpy as np
import pytest

from nas.search.hypervolume import Hypervolume
from nas.search.loop import Candidate
from nas.search.plateau import LEAST_GAIN, Plateau
from nas.space import Architecture, GraphBranch

OBJECTIVES = ("ndcg@20", "refresh_macs")


def trial(quality: float, cost: float, feasible: bool = True) -> Candidate:
    values = {"ndcg@20": quality, "refresh_macs": cost}
    broken = {} if feasible else {"refresh_macs <= 1": cost}
    return Candidate(0, Architecture(graph=GraphBranch(hidden_size=8)), values, False, 0.0, 0.0, broken)


def ended_after(trials: list[Candidate], patience: int | None, first: int = 2) -> int | None:
    plateau = Plateau(OBJECTIVES, patience, first)
    return next((n for n, one in enumerate(trials, 1) if plateau.add(one)), None)


START = [trial(0.1, 0), trial(0.2, 10)]


def test_volumes_beyond_the_box_in_closed_form() -> None:
    measured = Hypervolume(np.zeros(2), np.array([2.0, 4.0]))
    assert measured.add(np.array([1.0, 2.0])) == pytest.approx(1 / 4)
    assert measured.add(np.array([3.0, -9.0])) == pytest.approx(1 / 4), "worse than the box is nothing"
    assert measured.add(np.array([-2.0, 2.0])) == pytest.approx(1.0), "better than the box is more than it"
    assert measured.add(np.array([-2.0, 2.0])) == pytest.approx(1.0)


def test_a_search_ends_when_nothing_moves_for_as_many_trials() -> None:
    same = [*START, *[trial(0.1, 5)] * 9]
    assert ended_after(same, 4) == 6
    assert ended_after(same, None) is None
    assert ended_after([*START, *[trial(0.1, 5)] * 3], 4) is None


def test_a_move_starts_the_wait_anew() -> None:
    assert ended_after([*START, *[trial(0.1, 5)] * 3, trial(0.3, 0), *[trial(0.1, 5)] * 9], 4) == 10


@pytest.mark.parametrize(("gain", "ended"), [(0.5 * LEAST_GAIN, 6), (2 * LEAST_GAIN, 9)])
def test_a_move_has_to_be_a_share_of_the_volume(gain: float, ended: int) -> None:
    # The two corners of the box have no volume; this one has all of it, and then so much more.
    start = [*START, trial(0.2, 0)]
    steps = [trial(0.2 + 0.1 * gain, 0), *[trial(0.1, 5)] * 9]
    assert ended_after([*start, trial(0.1, 5), trial(0.1, 5), *steps], 3) == ended


def test_infeasible_trials_are_waited_for_and_add_nothing() -> None:
    assert ended_after([*START, *[trial(0.9, 0, feasible=False)] * 9], 4) == 6
    assert ended_after([trial(0.9, 0, feasible=False)] * 20, 4) is None, "no box yet"


def test_what_comes_later_does_not_change_where_it_ended() -> None:
    rng = np.random.default_rng(0)
    trials = [trial(*rng.random(2)) for _ in range(200)]
    ended = ended_after(trials, 20, 10)
    assert ended is not None
    assert ended_after(trials[:ended], 20, 10) == ended
    # Far worse and far better ones to come would have moved a box of all trials.
    assert ended_after([*trials[:ended], trial(0, 1e9), trial(9, -1)], 20, 10) == ended


def test_the_search_as_it_is_measured_does_not_depend_on_units() -> None:
    rng = np.random.default_rng(1)
    rows: list[Any] = [rng.random(2) for _ in range(200)]
    assert ended_after([trial(*row) for row in rows], 15, 10) == ended_after(
        [trial(row[0], 1e9 * row[1]) for row in rows], 15, 10
    )
