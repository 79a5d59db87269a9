"""Networks by hand that are points of the search space: presets, trained with recipes of their own."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.space.architecture import Architecture
from nas.space.search_space import SearchSpace


@dataclass(frozen=True, slots=True)
class Trained:
    """A preset.

    Attributes:
        preset: its name in `search_spaces/presets`.
        recipe: settings of the recipe that are part of what it is; the others are tuned.
    """

    preset: str
    recipe: Mapping[str, str] = field(default_factory=dict)

    def architecture(self) -> Architecture:
        """Return the preset's one architecture."""
        return SearchSpace.load(f"presets/{self.preset}").decode({})


TRAINED: dict[str, Trained] = {
    "mf-bpr": Trained("mf", {"loss": "bpr"}),
    "ngcf": Trained("ngcf"),
    "gat": Trained("gat"),
    "graphsage": Trained("graphsage"),
}
"""LightGCN, tuned when the recipe is chosen, is not among them."""
