"""The experiment file: which data, which split, which space, and how much work."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
)

from nas.baselines import BASELINES, TRAINED
from nas.data import DataConfig, SplitConfig
from nas.errors import UserError
from nas.model.metrics import METRICS
from nas.paths import expanded
from nas.search.constraints import Constraint
from nas.search.objectives import MEASURED, direction, list_lengths
from nas.search.samplers import SAMPLERS
from nas.shipped import find
from nas.space.extending import extended
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace
from nas.yaml_file import parse_yaml, read_yaml, validate

DEFAULT_SPACE = "full"
"""Of an experiment that names none, unless the data is large."""

_SECTION = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _read_constraint(value: Any) -> Constraint:
    return value if isinstance(value, Constraint) else Constraint.parse(value)


ConstraintText = Annotated[Constraint, BeforeValidator(_read_constraint), PlainSerializer(str)]
"""A constraint, spelt as a text in an experiment file."""


class RecipeConfig(BaseModel):
    """How the recipe is chosen: trainings of the LightGCN preset, which is thereby tuned as a baseline, too."""

    model_config = _SECTION

    trials: int = Field(default=20, ge=1)
    """Recipes that are tried, by a Gaussian process; hopeless ones are stopped early."""


class SupernetConfig(BaseModel):
    """How the shared weights are trained."""

    model_config = _SECTION

    epochs: int = Field(default=30, ge=1)
    """Epochs; each passes over all training interactions once."""
    batches: int = Field(default=8, ge=1)
    """Steps an epoch, each of another architecture; the recipe's, where these are more."""
    learning_rate: float = Field(default=0.0015, gt=0)
    """Of the shared weights; the recipe's, where that is lower."""

    def recipe(self, recipe: Recipe) -> Recipe:
        """Return the recipe that shared weights are trained by: slowly, in many small steps.

        Tau on the two draws of 60 architectures of ML-100K that chose it, mean of four supernets: .74, after 10 epochs .63,
        after 60 .75; at .0005 .61, at .004 .73; .74 with 120 epochs of 2 steps, .68 with 12 of 2 at .007.
        """
        return recipe.model_copy(
            update={
                "learning_rate": min(recipe.learning_rate, self.learning_rate),
                "batches": max(recipe.batches, self.batches),
            }
        )


class SearchConfig(BaseModel):
    """How architectures are searched."""

    model_config = _SECTION

    sampler: str = "nsga2"
    """nsga2, nsga3, tpe or random."""
    trials: int = Field(default=300, ge=1)
    """Trials that the study holds in the end."""
    population: int = Field(default=40, ge=2)
    """Individuals a generation; random trials before TPE begins."""
    seed: int = Field(default=0, ge=0)
    """Seed of the search, the supernet, the recipe and the retraining."""
    objectives: tuple[str, ...] = ("ndcg@20", "refresh_macs")
    """Two or more; the first has to be a quality and decides among retrained candidates."""
    constraints: tuple[ConstraintText, ...] = ()
    """Bounds on objectives, such as `refresh_macs <= 2e8` or `coverage@20 >= 0.3`; costs are those in service."""
    patience: int | None = Field(default=None, ge=1)
    """Trials without a move of the hypervolume after which the search ends before its time; None: never."""
    storage: str | None = None
    """URL of the study's database; None is `study.db` in the run folder."""
    users: int = Field(default=4000, ge=1)
    """Validation users that trainings, candidates and baselines are judged on, at most."""

    @property
    def timed(self) -> bool:
        """Whether a time is an objective; it is taken with nothing else at work."""
        return not set(MEASURED).isdisjoint(self.objectives)

    @field_validator("sampler")
    @classmethod
    def _known_sampler(cls, sampler: str) -> str:
        if sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler {sampler!r}; expected one of {sorted(SAMPLERS)}")
        return sampler

    @field_validator("constraints", mode="before")
    @classmethod
    def _list_of_constraints(cls, constraints: Any) -> Any:
        if isinstance(constraints, str):
            raise ValueError(f"expected a list, such as [{constraints}], but got {constraints!r}")
        return constraints

    @field_validator("constraints")
    @classmethod
    def _one_bound_each(cls, constraints: tuple[Constraint, ...]) -> tuple[Constraint, ...]:
        names = [one.name for one in constraints]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"{name} has more than one bound; keep one of {[str(o) for o in constraints]}, but got both"
                )
        return constraints

    @field_validator("objectives")
    @classmethod
    def _known_objectives(cls, objectives: tuple[str, ...]) -> tuple[str, ...]:
        for name in objectives:
            direction(name)
        if len(set(objectives)) < max(2, len(objectives)):
            raise ValueError("give two or more different objectives")
        if objectives[0].partition("@")[0] not in METRICS:
            raise ValueError("the first objective must be a quality of the ranking, such as ndcg@20")
        return objectives


class RetrainConfig(BaseModel):
    """How the best of the search are trained from scratch."""

    model_config = _SECTION

    top: int = Field(default=5, ge=1)
    """Graph branches of the search: those that are worth most by themselves."""
    recipes: int = Field(default=8, ge=1)
    """Recipes that each of the best `tuned` is then tuned with; LightGCN gets `recipe.trials`."""
    tuned: int = Field(default=2, ge=0)
    """Candidates that are tuned."""
    seeds: int = Field(default=1, ge=1)
    """Trainings of each candidate; their mean decides."""
    repeats: int = Field(default=3, ge=1)
    """Trainings of the winner that are tested, each with a seed of its own; the first is exported."""
    epochs: int = Field(default=300, ge=1)
    """At most; the best epoch on validation data counts."""
    every: int = Field(default=2, ge=1)
    """Epochs between two looks at the validation data."""
    looks: int = Field(default=10, ge=1)
    """Looks without a better value, and no longer rising, before training stops; twice as many in all, at least."""


class BaselinesConfig(BaseModel):
    """What the winner is compared with, besides LightGCN."""

    model_config = _SECTION

    names: tuple[str, ...] = (*BASELINES, *TRAINED)
    """Names of `BASELINES` and `TRAINED`."""
    recipes: int = Field(default=8, ge=1)
    """Recipes that each trained baseline is tuned with."""

    @field_validator("names")
    @classmethod
    def _known_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in BASELINES and name not in TRAINED:
                raise ValueError(
                    f"unknown baseline {name!r}; expected one of {sorted([*BASELINES, *TRAINED])}"
                )
        return names


class Experiment(BaseModel):
    """One experiment, everything in its place."""

    model_config = _SECTION

    name: str = Field(default="experiment", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Letters, digits and `._-`; the run folder is `results/NAME` unless another is given."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of each process; None divides the cores among them. The same number, the same results."""
    data: DataConfig
    """Where the interactions come from."""
    split: SplitConfig = Field(default=SplitConfig(), validate_default=True)
    """How they are divided."""
    search_space: SearchSpace = Field(default_factory=lambda: SearchSpace.load(DEFAULT_SPACE))
    """The name of a shipped space, a YAML file, or the space itself, which may be another but for some ranges (`extends: full`)."""
    recipe: RecipeConfig = RecipeConfig()
    """How the recipe is chosen."""
    supernet: SupernetConfig = SupernetConfig()
    """How the shared weights are trained."""
    search: SearchConfig = SearchConfig()
    """How architectures are searched."""
    retrain: RetrainConfig = RetrainConfig()
    """How the best are trained from scratch."""
    baselines: BaselinesConfig = BaselinesConfig()
    """What the winner is compared with."""

    @field_validator("split")
    @classmethod
    def _with_strategy(cls, split: SplitConfig, info: ValidationInfo) -> SplitConfig:
        """Say how the data is split where nobody has: as it comes, or at random. It does not count as set."""
        if split.strategy is not None or "data" not in info.data:
            return split
        strategy = "fixed" if info.data["data"].train else "random"
        return SplitConfig.model_construct(
            split.model_fields_set, **split.model_dump() | {"strategy": strategy}
        )

    @field_validator("search_space")
    @classmethod
    def _learned(cls, space: SearchSpace) -> SearchSpace:
        if space.branches.graph is None:
            raise ValueError(
                "branches.graph: a search needs a graph branch; weights in `fusion` may still leave it out"
            )
        return space

    @property
    def data_name(self) -> str:
        """What to call the data."""
        return self.data.source or (self.data.path or self.data.train or Path("data")).name

    @property
    def metric(self) -> str:
        """The quality that decides."""
        return self.search.objectives[0]

    @property
    def ks(self) -> tuple[int, ...]:
        """Every list length that is measured; 10 and 20 always."""
        names = [*self.search.objectives, *(one.name for one in self.search.constraints)]
        return tuple(sorted({10, 20} | list_lengths(names)))

    def given(self) -> dict[str, Any]:
        """Return what was set, without what was left to defaults, as plain values that `parse` reads."""
        return self.model_dump(mode="json", exclude_none=True, exclude_unset=True)

    def resolved(self) -> dict[str, Any]:
        """Return the experiment as plain values that YAML holds and `parse` reads."""
        return self.model_dump(mode="json", exclude_none=True)

    @classmethod
    def load(cls, name: str | Path, overrides: tuple[str, ...] = ()) -> "Experiment":
        """Read a YAML file or a shipped experiment's name, with `section.key=value` overrides.

        Raises:
            UserError: no such file, a key or a value that is wrong; one line says where.
        """
        path = find(str(name), "experiments", Path())
        return cls.parse(read_yaml(path), str(path), path.parent, overrides)

    @classmethod
    def parse(
        cls, value: dict[str, Any], where: str, folder: Path, overrides: tuple[str, ...] = ()
    ) -> "Experiment":
        """Read a decoded mapping; relative paths in it start at `folder`. Raises UserError as `load` does."""
        for override in overrides:
            value = _with(value, override)
        space = value.get("search_space")
        if isinstance(space, str):
            loaded = SearchSpace.load(space, folder)
            value = value | {"search_space": loaded.model_dump(mode="json", exclude_none=True)}
        elif isinstance(space, dict):
            value = value | {"search_space": extended(space, f"{where}: search_space", folder)}
        if isinstance(value.get("data"), dict):
            value = value | {"data": _absolute(value["data"], folder)}
        return validate(cls, value, where)


def _absolute(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    paths = {key: data[key] for key in ("path", "train", "valid", "test", "items") if key in data}
    return data | {
        key: str((folder / expanded(path)).resolve())
        for key, path in paths.items()
        if isinstance(path, str) and path
    }


def _with(value: dict[str, Any], override: str) -> dict[str, Any]:
    """Return a copy of `value` with `a.b=c` set; c is read as YAML. What is set of a space that is named extends it."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UserError(f"--set {override}: expected section.key=value, such as search.trials=50")
    # As a separator is meant, which YAML takes for the beginning of a block.
    plain = text.strip() in ("|", ">")
    setting = text.strip() if plain else parse_yaml(f"value: {text}", f"--set {override}")["value"]
    changed = current = dict(value)
    if parts[0] == "search_space" and len(parts) > 1 and parts[1] != "extends":
        space = value.get("search_space")
        if space is None:
            raise UserError(
                f"--set {override}: of which space? Name it first, such as --set search_space={DEFAULT_SPACE}"
            )
        if isinstance(space, str):
            changed["search_space"] = {"extends": space}
    for part in parts[:-1]:
        inner = current.get(part, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {override}: {part!r} holds a value, not keys")
        current[part] = dict(inner)
        current = current[part]
    current[parts[-1]] = setting
    return changed
