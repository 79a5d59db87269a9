"""Settings walk to what no step betters."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.baselines import BASELINES, Settings
from nas.baselines.walk import walk

RANGES = {"a": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), "b": (0.0, 10.0, 20.0, 30.0), "c": (7.0,)}
START = {"a": 3.0, "b": 10.0, "c": 7.0}


@given(st.sampled_from(RANGES["a"]), st.sampled_from(RANGES["b"]), st.data())
def test_a_hill_is_climbed_from_anywhere(a: float, b: float, data: st.DataObject) -> None:
    start = {name: data.draw(st.sampled_from(choices)) for name, choices in RANGES.items()}
    asked: list[tuple[float, ...]] = []

    def judge(settings: Settings) -> float:
        asked.append(tuple(settings.values()))
        return -((settings["a"] - a) ** 2) - ((settings["b"] - b) / 10) ** 2

    assert walk(RANGES, start, judge) == {"a": a, "b": b, "c": 7.0}
    assert len(set(asked)) == len(asked)


def test_a_ridge_across_two_settings_is_followed() -> None:
    # Either alone leads down; only both together lead up.
    def judge(settings: Settings) -> float:
        along, across = settings["a"] + settings["b"] / 10, settings["a"] - settings["b"] / 10
        return along - 10 * across**2

    assert walk(RANGES, {"a": 1.0, "b": 10.0, "c": 7.0}, judge) == {"a": 3.0, "b": 30.0, "c": 7.0}


def test_what_is_out_of_question_is_not_walked_into() -> None:
    def judge(settings: Settings) -> float:
        return -math.inf if settings["a"] > 4 else settings["a"]

    assert walk(RANGES, START, judge)["a"] == 4


def test_what_is_level_stays_where_it_began() -> None:
    assert walk(RANGES, START, lambda _settings: 0.5) == START


def test_without_settings_it_is_judged_once() -> None:
    asked: list[Settings] = []

    def judge(settings: Settings) -> float:
        asked.append(settings)
        return 1.0

    assert walk({}, {}, judge) == {}
    assert asked == [{}]


@pytest.mark.parametrize("name", BASELINES)
def test_ranges_of_baselines_increase_and_hold_their_start(name: str) -> None:
    baseline = BASELINES[name]
    for setting, choices in baseline.ranges.items():
        assert sorted(set(choices)) == list(choices)
        assert baseline.start[setting] in choices
