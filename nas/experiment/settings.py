"""Every setting of an experiment file, with its default and its meaning, as the sections themselves say them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nas.experiment.config import DEFAULT_SPACE, Experiment
from nas.space.search_space import SearchSpace


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of an experiment file.

    Attributes:
        key: with its section, such as `search.trials`, as `--set` takes it.
        default: as YAML; empty where there is none.
        meaning: one sentence or two.
    """

    key: str
    default: str
    meaning: str


def all_settings() -> list[Setting]:
    """Return every setting, in the order of an experiment file."""
    return list(_settings_of(Experiment, ""))


def _settings_of(model: type[BaseModel], section: str) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        inner = _section(field)
        if inner is None:
            yield Setting(section + name, _shown(field), _meaning(field))
        else:
            yield from _settings_of(inner, f"{section}{name}.")


def _meaning(field: FieldInfo) -> str:
    choices = [
        str(choice)
        for kind in (field.annotation, *get_args(field.annotation))
        if get_origin(kind) is Literal
        for choice in get_args(kind)
    ]
    told = " ".join((field.description or "").split())
    return f"{told} One of {', '.join(choices)}." if choices else told


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a section; a search space is a file of its own."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not SearchSpace:
            return kind
    return None


def _shown(field: FieldInfo) -> str:
    if field.annotation is SearchSpace:
        return DEFAULT_SPACE
    default = None if field.is_required() else field.default
    if default is None:
        return ""
    plain = list(default) if isinstance(default, tuple) else default
    text: str = yaml.safe_dump(plain, default_flow_style=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
