"""`SearchSpace`: the architectures and recipes that a YAML file declares."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from optuna import Trial
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nas.shipped import find
from nas.space.architecture import Architecture, Fusion
from nas.space.closed_form import ClosedForm, name_of
from nas.space.closed_form_space import FusionSpace, ItemSpace, SpectralSpace, UserSpace
from nas.space.dimension import Dimension, Value
from nas.space.extending import extended
from nas.space.graph_space import GraphSpace
from nas.space.recipe import Recipe
from nas.yaml_file import read_yaml, validate

# A fusion has four digits after the point: a weight much smaller than another would round to 0, and its branch
# would be there and not there.
_MOST_APART = 1_000


class Branches(BaseModel):
    """The branches that an architecture may have; at least one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph: GraphSpace | None = None
    """Embeddings propagated over the user-item graph."""
    spectral: SpectralSpace | None = None
    """Low-pass filters of the history."""
    item: ItemSpace | None = None
    """Item-item weights."""
    user: UserSpace | None = None
    """What the users most like someone have had."""

    @model_validator(mode="after")
    def _any(self) -> "Branches":
        if not self.names:
            raise ValueError("give at least one branch: graph, spectral, item or user")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The branches that are declared."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def spaces(self) -> dict[str, "GraphSpace | SpectralSpace | ItemSpace | UserSpace"]:
        """The space of each declared branch."""
        return {name: getattr(self, name) for name in self.names}


class SearchSpace(BaseModel):
    """Everything a search may choose from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """A short name for reports."""
    description: str = ""
    """One line."""
    branches: Branches
    """What an architecture is made of."""
    fusion: FusionSpace = FusionSpace()
    """How much each branch may count."""
    recipe: dict[str, Dimension] = Field(default_factory=dict)
    """The fields of `Recipe` that differ from its defaults or are to be chosen on validation data."""

    @field_validator("recipe")
    @classmethod
    def _known_settings(cls, recipe: dict[str, Dimension]) -> dict[str, Dimension]:
        for name, dimension in recipe.items():
            if name not in Recipe.model_fields:
                close = get_close_matches(name, Recipe.model_fields, n=1)
                hint = (
                    f"did you mean {close[0]!r}?"
                    if close
                    else f"expected one of {sorted(Recipe.model_fields)}"
                )
                raise ValueError(f"unknown setting {name!r}; {hint}")
            for value in dimension.choices or (dimension.min, dimension.max):
                try:
                    Recipe.model_validate({name: value})
                except ValidationError as error:
                    raise ValueError(f"{name}: {error.errors()[0]['msg']}, but got {value!r}") from None
        return recipe

    @model_validator(mode="after")
    def _whole_ranges(self) -> "SearchSpace":
        for name, dimension in self.recipe.items():
            if not dimension.choices and Recipe.model_fields[name].annotation is not float:
                raise ValueError(f"recipe.{name}: give choices; a range of real numbers does not fit it")
        return self

    @model_validator(mode="after")
    def _fused_branches(self) -> "SearchSpace":
        names, plain = self.branches.names, FusionSpace()
        for name in type(plain).model_fields:
            # A resolved experiment names them all, at the weight that changes nothing.
            if name not in names and getattr(self.fusion, name) != getattr(plain, name):
                raise ValueError(f"fusion.{name}: there is no such branch; expected weights of {list(names)}")
        if len(names) > 1 and not any(map(self.allows, names)):
            raise ValueError("fusion: at least one branch must have a weight above 0")
        weights = [float(c) for choices in self.fusion.genes(names).values() for c in choices if c]
        if weights and max(weights) > _MOST_APART * min(weights):
            raise ValueError(
                f"fusion: weights above 0 may differ by a factor of {_MOST_APART:,} at most, "
                f"but got {min(weights):g} and {max(weights):g}"
            )
        return self

    @model_validator(mode="after")
    def _shared_by_layers(self) -> "SearchSpace":
        sections = {f"branches.{name}": dict(space) for name, space in self.branches.spaces.items()}
        for section, dimensions in (sections | {"fusion": dict(self.fusion), "recipe": self.recipe}).items():
            for name, dimension in dimensions.items():
                layered = section == "branches.graph" and name in ("aggregator", "heads")
                if dimension.per != "layer" and not layered:
                    raise ValueError(
                        f"{section}.{name}: only aggregator and heads have choices of each layer; "
                        f"leave out per: {dimension.per}"
                    )
        return self

    def allows(self, name: str) -> bool:
        """Whether an architecture of the space may give a declared branch any weight."""
        return len(self.branches.names) == 1 or any(getattr(self.fusion, name).choices)

    @property
    def fixed_weights(self) -> dict[str, float]:
        """The weight of each branch where the space gives them, and there is nothing to find; else empty."""
        return self.fusion.fixed(self.branches.names)

    @classmethod
    def load(cls, name: str, beside: Path = Path()) -> "SearchSpace":
        """Read a shipped space (`graph`, `presets/gat`) or a YAML file (relative to `beside`).

        Raises:
            UserError: no such file, not YAML, or not a search space; one line says where.
        """
        path = find(name, "search_spaces", beside)
        return cls.parse(read_yaml(path), str(path), path.parent)

    @classmethod
    def parse(cls, value: dict[str, Any], where: str, beside: Path = Path()) -> "SearchSpace":
        """Read a decoded YAML mapping, and what it extends (relative to `beside`).

        Raises:
            UserError: it is no search space, or extends none; the line names `where` and the key.
        """
        return validate(cls, extended(value, where, beside), where)

    def genes(self) -> dict[str, tuple[Value, ...]]:
        """Return the fixed-length genome: gene names and their choices.

        Genes of the graph branch have plain names, others that of their branch before them: `item.kind`.
        """
        found = {
            f"fusion.{name}": choices for name, choices in self.fusion.genes(self.branches.names).items()
        }
        for branch, space in self.branches.spaces.items():
            found |= {_gene(branch, name): choices for name, choices in space.genes().items()}
        return found

    def free_genes(self) -> dict[str, tuple[Value, ...]]:
        """Return the genes with more than one choice."""
        return {name: choices for name, choices in self.genes().items() if len(choices) > 1}

    def weights(self, genome: Mapping[str, Value]) -> dict[str, float]:
        """Return the weight of each branch that the architecture of a genome has."""
        return self.fusion.decode(_genes_of("fusion", genome), self.branches.names)

    def decode(self, genome: Mapping[str, Value]) -> Architecture:
        """Return the canonical architecture of a genome; missing genes take their first choice."""
        weights = self.weights(genome)
        branches = {name: self.branches.spaces[name].decode(_genes_of(name, genome)) for name in weights}
        fusion = Fusion.of(weights) if len(weights) > 1 else None
        return Architecture.model_validate({**branches, "fusion": fusion})

    def encode(self, architecture: Architecture) -> dict[str, Value]:
        """Return a genome that decodes to `architecture`, if the space contains it."""
        found = {name: choices[0] for name, choices in self.genes().items()}
        names = self.branches.names
        weights = Fusion.of(
            {name: w for name, w in architecture.weights.items() if name in names}
            or {self.fusion.fallback(names): 1.0}
        )
        found |= {f"fusion.{name}": w for name, w in self.fusion.spellings(names).get(weights, {}).items()}
        for name, branch in architecture.branches.items():
            if name in names:
                genome = self.branches.spaces[name].encode(branch)  # type: ignore[arg-type]
                found |= {_gene(name, gene): value for gene, value in genome.items()}
        return found

    def contains(self, architecture: Architecture) -> bool:
        """Whether some genome decodes to this architecture."""
        canonical = architecture.canonical()
        genome, genes = self.encode(canonical), self.genes()
        inside = all(name in genes and value in genes[name] for name, value in genome.items())
        return inside and self.decode(genome) == canonical

    def size(self) -> int:
        """Return the exact number of different architectures, recipes not counted."""
        sizes, names = (
            {name: space.size() for name, space in self.branches.spaces.items()},
            self.branches.names,
        )
        if len(names) == 1:
            return sizes[names[0]]
        fusions = self.fusion.spellings(names)
        return sum(prod(sizes[name] for name in names if getattr(fusion, name)) for fusion in fusions)

    def only(self, *names: str) -> "SearchSpace":
        """Return the space with these of its branches alone, none of them absent."""
        kept = {name: space for name, space in self.branches.spaces.items() if name in names}
        return self.model_copy(update={"branches": Branches.model_validate(kept), "fusion": FusionSpace()})

    def without(self, name: str) -> "SearchSpace":
        """Return the space without one of its branches."""
        return self.model_copy(update={"branches": self.branches.model_copy(update={name: None})})

    def settled(self, branch: ClosedForm) -> "SearchSpace":
        """Return the space with the settings of a closed-form branch fixed to those of `branch`."""
        name = name_of(branch)
        space = getattr(self.branches, name).settled(branch)
        return self.model_copy(update={"branches": self.branches.model_copy(update={name: space})})

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw every gene uniformly."""
        return self.decode(
            {name: choices[int(rng.integers(len(choices)))] for name, choices in self.genes().items()}
        )

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yield the architectures that differ from this one in one gene, each once."""
        genome, seen = self.encode(architecture), {architecture.canonical()}
        for name, choices in self.genes().items():
            for choice in choices:
                other = self.decode({**genome, name: choice})
                if other not in seen:
                    seen.add(other)
                    yield other

    def recipe_defaults(self) -> Recipe:
        """Return the recipe with the first choice (or the middle of the range) of every setting."""
        chosen: dict[str, Value] = {}
        for name, dimension in self.recipe.items():
            if dimension.choices:
                chosen[name] = dimension.choices[0]
            else:
                assert dimension.min is not None
                assert dimension.max is not None
                ends = np.array([dimension.min, dimension.max])
                chosen[name] = float(np.exp(np.log(ends).mean()) if dimension.log else ends.mean())
        return Recipe.model_validate(chosen)

    def with_recipe(self, fixed: Mapping[str, Value]) -> "SearchSpace":
        """Return the space with these settings of the recipe fixed."""
        dimensions = {name: Dimension(choices=(value,)) for name, value in fixed.items()}
        return self.model_copy(update={"recipe": self.recipe | dimensions})

    def suggest_recipe(self, trial: Trial) -> Recipe:
        """Let an Optuna trial choose every recipe setting that is free."""
        chosen: dict[str, Value | None] = {}
        for name, dimension in self.recipe.items():
            if dimension.fixed:
                chosen[name] = dimension.choices[0] if dimension.choices else dimension.min
            elif dimension.choices:
                chosen[name] = trial.suggest_categorical(name, dimension.choices)
            else:
                assert dimension.min is not None
                assert dimension.max is not None
                chosen[name] = trial.suggest_float(name, dimension.min, dimension.max, log=dimension.log)
        return Recipe.model_validate(chosen)

    def free_recipe(self) -> dict[str, Dimension]:
        """Return the recipe settings that are not fixed."""
        return {name: dimension for name, dimension in self.recipe.items() if not dimension.fixed}


def _gene(branch: str, name: str) -> str:
    return name if branch == "graph" else f"{branch}.{name}"


def _genes_of(branch: str, genome: Mapping[str, Value]) -> dict[str, Value]:
    """Return the part of a genome that belongs to a branch, under the branch's own names."""
    if branch == "graph":
        return {name: value for name, value in genome.items() if "." not in name}
    return {name.removeprefix(f"{branch}."): v for name, v in genome.items() if name.startswith(f"{branch}.")}
