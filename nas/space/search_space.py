"""`SearchSpace`: the architectures and recipes that a YAML file declares."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from optuna import Trial
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nas.shipped import find
from nas.space.architecture import Architecture
from nas.space.dimension import Dimension, Value
from nas.space.graph_space import GraphSpace
from nas.space.recipe import Recipe
from nas.yaml_file import read_yaml, validate


class Branches(BaseModel):
    """The branches of an architecture; today the learned graph branch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph: GraphSpace
    """Embeddings propagated over the user-item graph."""


class SearchSpace(BaseModel):
    """Everything a search may choose from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """A short name for reports."""
    description: str = ""
    """One line."""
    branches: Branches
    """What an architecture is made of."""
    recipe: dict[str, Dimension] = Field(default_factory=dict)
    """The fields of `Recipe` that differ from its defaults or are to be chosen on validation data."""

    @field_validator("recipe")
    @classmethod
    def _known_settings(cls, recipe: dict[str, Dimension]) -> dict[str, Dimension]:
        for name, dimension in recipe.items():
            if name not in Recipe.model_fields:
                raise ValueError(
                    f"unknown recipe setting {name!r}; expected one of {sorted(Recipe.model_fields)}"
                )
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

    @classmethod
    def load(cls, name: str, beside: Path = Path()) -> "SearchSpace":
        """Read a shipped space (`graph`, `presets/gat`) or a YAML file (relative to `beside`).

        Raises:
            UserError: no such file, not YAML, or not a search space; one line says where.
        """
        path = find(name, "search_spaces", beside)
        return cls.parse(read_yaml(path), str(path))

    @classmethod
    def parse(cls, value: dict[str, Any], where: str) -> "SearchSpace":
        """Read a decoded YAML mapping; UserError, naming `where` and the key, if it is no search space."""
        return validate(cls, value, where)

    def genes(self) -> dict[str, tuple[Value, ...]]:
        """Return the fixed-length genome: gene names and their choices."""
        return self.branches.graph.genes()

    def free_genes(self) -> dict[str, tuple[Value, ...]]:
        """Return the genes with more than one choice."""
        return {name: choices for name, choices in self.genes().items() if len(choices) > 1}

    def decode(self, genome: Mapping[str, Value]) -> Architecture:
        """Return the canonical architecture of a genome; missing genes take their first choice."""
        return Architecture(graph=self.branches.graph.decode(genome))

    def encode(self, architecture: Architecture) -> dict[str, Value]:
        """Return a genome that decodes to `architecture`."""
        return self.branches.graph.encode(architecture.graph)

    def contains(self, architecture: Architecture) -> bool:
        """Whether the space holds this architecture."""
        return self.branches.graph.contains(architecture.graph)

    def size(self) -> int:
        """Return the exact number of different architectures, recipes not counted."""
        return self.branches.graph.size()

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
