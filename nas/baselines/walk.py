"""Tune a few settings by steps from value to value, so that ranges may be wide and what is best lies within them."""

from collections.abc import Callable, Mapping
from itertools import combinations, product

from nas.baselines.baseline import Settings


def walk(
    ranges: Mapping[str, tuple[float, ...]], start: Settings, judge: Callable[[Settings], float]
) -> dict[str, float]:
    """Return settings that no step to the next value of one of them, or of two at once, betters.

    The first step that is better is taken, those of one setting before those of two: a factorisation whose confidence
    and regularisation are both too small is worse with more of either alone.

    Args:
        ranges: the values of each setting, increasing; those that come first are stepped along first.
        start: where to begin, each a value of its range.
        judge: the quality of some settings, minus infinity where they are out of question; asked once for each.
    """
    steps: list[dict[str, int]] = [{name: step} for name in ranges for step in (-1, 1)]
    steps += [
        dict(zip(pair, signs, strict=True))
        for pair in combinations(ranges, 2)
        for signs in product((-1, 1), repeat=2)
    ]
    known: dict[tuple[int, ...], float] = {}

    def settings_at(places: tuple[int, ...]) -> dict[str, float]:
        return {name: ranges[name][place] for name, place in zip(ranges, places, strict=True)}

    def value(places: tuple[int, ...]) -> float:
        if places not in known:
            known[places] = judge(settings_at(places))
        return known[places]

    def after(places: tuple[int, ...], step: dict[str, int]) -> tuple[int, ...] | None:
        moved = tuple(place + step.get(name, 0) for name, place in zip(ranges, places, strict=True))
        inside = all(0 <= place < len(ranges[name]) for name, place in zip(ranges, moved, strict=True))
        return moved if inside else None

    def better(places: tuple[int, ...]) -> tuple[int, ...] | None:
        reached = (after(places, step) for step in steps)
        return next((one for one in reached if one is not None and value(one) > value(places)), None)

    here = tuple(ranges[name].index(start[name]) for name in ranges)
    # Judged even where there is nothing to choose.
    value(here)
    while (found := better(here)) is not None:
        here = found
    return settings_at(here)
