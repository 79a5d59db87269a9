"""What a baseline is: something that is fitted on interactions, with ranges of settings, and scores users."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nas.data.interactions import Interactions
from nas.model.ranking import Scorer
from nas.space.closed_form import ClosedForm

Settings = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A recommender with the ranges that its settings are tuned in.

    Attributes:
        fit: (interactions, settings) -> scorer of all items.
        ranges: the values of each setting, increasing; those that matter most come first.
        start: the settings that tuning begins with, each a value of its range.
        obstacle: (interactions) -> why it cannot be run on them, or None.
        too_long: (interactions, settings) -> whether a fit would take minutes; such settings are left out.
        branch: (interactions, settings) -> the branch of an architecture that is the same model on them, where there is one.
    """

    fit: Callable[[Interactions, Settings], Scorer]
    ranges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    start: Settings = field(default_factory=dict)
    obstacle: Callable[[Interactions], str | None] = lambda _interactions: None
    too_long: Callable[[Interactions, Settings], bool] = lambda _interactions, _settings: False
    branch: Callable[[Interactions, Settings], ClosedForm] | None = None
