from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nas.data import Interactions
from nas.model.timeline import ages_of, moments_of

DATA = Interactions(
    np.array([0, 0, 0, 1, 1, 3], np.int32),
    np.array([0, 1, 2, 0, 2, 1], np.int32),
    ("a", "b", "c", "d"),
    ("x", "y", "z"),
    timestamp=np.array([50, 10, 50, 7, 9, 1], np.int64),
)


def test_moments_are_places_in_each_users_time_line() -> None:
    assert moments_of(DATA).tolist() == [1, 0, 1, 0, 1, 0]


def test_ages_are_steps_to_its_end() -> None:
    assert ages_of(DATA).tolist() == [0, 1, 0, 1, 0, 0]


@given(st.lists(st.integers(0, 5), min_size=6, max_size=6))
def test_an_age_is_the_number_of_later_moments(times: list[int]) -> None:
    data = replace(DATA, timestamp=np.array(times, np.int64))
    for user, time, age in zip(data.user, times, ages_of(data), strict=True):
        own = [other for other, whose in zip(times, data.user, strict=True) if whose == user]
        assert age == len({other for other in own if other > time})
