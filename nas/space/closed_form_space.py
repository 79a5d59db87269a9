"""The spaces of the closed-form branches, and of the weights with which branches are fused."""

from collections.abc import Collection, Mapping
from functools import cache
from itertools import product
from math import prod
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from nas.space.architecture import Fusion
from nas.space.closed_form import ItemBranch, SpectralBranch, UserBranch
from nas.space.dimension import Dimension, Value

B = TypeVar("B", SpectralBranch, ItemBranch, UserBranch)

# Sums of far larger ones would be infinite, and only how weights stand to one another counts.
_LARGEST_WEIGHT = 1_000_000


class _ClosedFormSpace(BaseModel, Generic[B]):
    """Choices for each setting of a branch; a setting that is not named keeps its default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The setting that says which of the others matter, if there is one.
    _SWITCH: ClassVar[str] = ""

    @classmethod
    def _branch(cls) -> type[B]:
        raise TypeError("a space names its branch")

    @model_validator(mode="after")
    def _known_values(self) -> "_ClosedFormSpace[B]":
        for name in type(self).model_fields:
            choices = getattr(self, name).choices
            if not choices:
                raise ValueError(f"{name}: give choices; a range of real numbers does not fit it")
            for choice in choices:
                try:
                    self._branch().model_validate({name: choice})
                except ValidationError as error:
                    raise ValueError(f"{name}: {error.errors()[0]['msg']}, but got {choice!r}") from None
        return self

    def genes(self) -> dict[str, tuple[Value, ...]]:
        """Return every setting's choices, in the branch's own types, so that 1 and 1.0 are one choice."""
        fields, found = self._branch().model_fields, {}
        for name in type(self).model_fields:
            choices = getattr(self, name).choices
            found[name] = tuple(float(c) for c in choices) if fields[name].annotation is float else choices
        return found

    def decode(self, genome: Mapping[str, Value]) -> B:
        """Return the canonical branch of a genome; settings that are missing take their first choice."""
        chosen = {name: genome.get(name, choices[0]) for name, choices in self.genes().items()}
        return self._branch().model_validate(chosen).canonical()

    def encode(self, branch: B) -> dict[str, Value]:
        """Return a genome that decodes to `branch`, if the space contains it."""
        genes = self.genes()
        held = {name: getattr(branch, name) for name in genes}
        return {name: held[name] if held[name] in choices else choices[0] for name, choices in genes.items()}

    def varied(self, names: Collection[str]) -> list[B]:
        """Return the different branches that some settings make, the others being the first choices."""
        genes = {name: choices for name, choices in self.genes().items() if name in names}
        combinations = product(*genes.values())
        return list(
            dict.fromkeys(self.decode(dict(zip(genes, chosen, strict=True))) for chosen in combinations)
        )

    def size(self) -> int:
        """Return the number of different branches."""
        genes = self.genes()
        others = [name for name in genes if name != self._SWITCH]

        def different(name: str, switch: dict[str, Value]) -> int:
            return len({getattr(self.decode(switch | {name: choice}), name) for choice in genes[name]})

        switches = [{self._SWITCH: value} for value in dict.fromkeys(genes.get(self._SWITCH, ()))] or [{}]
        return sum(prod(different(name, switch) for name in others) for switch in switches)

    def settled(self, branch: B) -> "_ClosedFormSpace[B]":
        """Return the space that holds this branch alone."""
        return type(self).model_validate(branch.model_dump(mode="json"))


class SpectralSpace(_ClosedFormSpace[SpectralBranch]):
    """Choices for the spectral branch; see `SpectralBranch`."""

    _SWITCH = "low_pass"

    rank: Dimension = Dimension(choices=(256,))
    low_pass: Dimension = Dimension(choices=(0.3,))
    neighbours: Dimension = Dimension(choices=(0,))
    recency: Dimension = Dimension(choices=(0.0,))

    @classmethod
    def _branch(cls) -> type[SpectralBranch]:
        return SpectralBranch


class ItemSpace(_ClosedFormSpace[ItemBranch]):
    """Choices for the item branch; see `ItemBranch`."""

    _SWITCH = "kind"

    kind: Dimension = Dimension(choices=("ease",))
    regularisation: Dimension = Dimension(choices=(500.0,))
    l1: Dimension = Dimension(choices=(1.0,))
    dropout: Dimension = Dimension(choices=(0.0,))
    user_norm: Dimension = Dimension(choices=(0.0,))
    proximity: Dimension = Dimension(choices=(0.0,))
    rating: Dimension = Dimension(choices=(0.0,))
    recency: Dimension = Dimension(choices=(0.0,))
    debias: Dimension = Dimension(choices=(0.0,))
    # Settled after the settings above: where what comes next is asked for, features that were chosen before them
    # took the place of age and of `debias`, and the climb ended on a lower summit.
    features: Dimension = Dimension(choices=(0.0,))
    neighbours: Dimension = Dimension(choices=(0,))

    @classmethod
    def _branch(cls) -> type[ItemBranch]:
        return ItemBranch


class UserSpace(_ClosedFormSpace[UserBranch]):
    """Choices for the user branch; see `UserBranch`."""

    neighbours: Dimension = Dimension(choices=(50,))
    power: Dimension = Dimension(choices=(3.0,))
    rarity: Dimension = Dimension(choices=(0.5,))
    recency: Dimension = Dimension(choices=(0.0,))

    @classmethod
    def _branch(cls) -> type[UserBranch]:
        return UserBranch


class FusionSpace(BaseModel):
    """Choices for the weight of each branch; with 0 among them, the branch may be absent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph: Dimension = Dimension(choices=(1,))
    spectral: Dimension = Dimension(choices=(1,))
    item: Dimension = Dimension(choices=(1,))
    user: Dimension = Dimension(choices=(1,))

    @model_validator(mode="after")
    def _weights(self) -> "FusionSpace":
        for name in type(self).model_fields:
            choices = getattr(self, name).choices
            if not choices or any(isinstance(c, str) or not 0 <= c <= _LARGEST_WEIGHT for c in choices):
                raise ValueError(
                    f"{name}: expected a list of weights of at least 0 and at most {_LARGEST_WEIGHT:,}, "
                    f"but got {getattr(self, name)}"
                )
        return self

    def genes(self, names: tuple[str, ...]) -> dict[str, tuple[Value, ...]]:
        """Return the choices for the branches `names`; none where there is only one, whose weight changes nothing."""
        if len(names) < 2:
            return {}
        return {name: tuple(float(weight) for weight in getattr(self, name).choices) for name in names}

    def decode(self, genome: Mapping[str, Value], names: tuple[str, ...]) -> dict[str, float]:
        """Return the weight of each branch that is present; where all are 0, that of `fallback`."""
        genes = self.genes(names)
        chosen = {name: float(genome.get(name, choices[0])) for name, choices in genes.items()}
        return {name: weight for name, weight in chosen.items() if weight} or {self.fallback(names): 1.0}

    def fallback(self, names: tuple[str, ...]) -> str:
        """Return the branch that is alone where all weights are 0: the first that may have one above 0."""
        return next((name for name, choices in self.genes(names).items() if any(choices)), names[0])

    def fixed(self, names: tuple[str, ...]) -> dict[str, float]:
        """Return the weights of the branches `names` where these are given, one above 0 for each; else nothing.

        Weights that are all alike give nothing: so are those that are left out.
        """
        genes = self.genes(names)
        weights = {
            name: float(choices[0]) for name, choices in genes.items() if len(choices) == 1 and choices[0]
        }
        return weights if len(weights) == len(genes) and len(set(weights.values())) > 1 else {}

    def spellings(self, names: tuple[str, ...]) -> dict[Fusion, dict[str, Value]]:
        """Return the different fusions, each with the first genome that decodes to it."""
        return _spellings(self, names)


@cache
def _spellings(space: FusionSpace, names: tuple[str, ...]) -> dict[Fusion, dict[str, Value]]:
    genes, found = space.genes(names), dict[Fusion, dict[str, Value]]()
    for chosen in product(*genes.values()):
        genome: dict[str, Any] = dict(zip(genes, chosen, strict=True))
        found.setdefault(Fusion.of(space.decode(genome, names)), genome)
    return found
