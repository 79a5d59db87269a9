"""What a baseline is: something that is fitted on interactions, with a grid of settings, and scores users."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nas.data.interactions import Interactions
from nas.model.ranking import Scorer
from nas.space.closed_form import ClosedForm

Settings = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A recommender with a grid of settings.

    Attributes:
        fit: (interactions, settings) -> scorer of all items.
        grid: the settings that are tried on validation data.
        obstacle: (interactions) -> why it cannot be run on them, or None.
        branch: (interactions, settings) -> the branch of an architecture that is the same model on them, where there is one.
    """

    fit: Callable[[Interactions, Settings], Scorer]
    grid: tuple[Settings, ...] = ({},)
    obstacle: Callable[[Interactions], str | None] = lambda _interactions: None
    branch: Callable[[Interactions, Settings], ClosedForm] | None = None
