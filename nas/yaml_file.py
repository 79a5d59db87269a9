"""YAML files as validated models, with one clear line where something is wrong."""

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from nas.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """The safe loader, but a key that stands twice is an error: YAML would silently keep the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool | None):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
        if key in found:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands twice; keep one", key_node.start_mark
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds; UserError if there is none or it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{path}: cannot be read ({reason}); expected a YAML file") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Return the mapping in `text`; UserError, naming `where` and the line, if it is none."""
    try:
        # A subclass of SafeLoader: it makes plain values only.
        value = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}:" if error.problem_mark else ""
        raise UserError(f"{where}:{line} not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if value is None:
        raise UserError(f"{where}: nothing is in it; expected a mapping of keys to values")
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a mapping of keys to values, got {type(value).__name__}")
    return value


def validate(model: type[Model], value: dict[str, Any], where: str) -> Model:
    """Return `value` as `model`; UserError with the first fault, naming `where` and the key."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        # A misspelt key often makes a required one missing too: name the misspelt one.
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        first = faults[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            names = _fields_at(model, first["loc"][:-1])
            close = difflib.get_close_matches(str(first["loc"][-1]), names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {sorted(names)}"
            raise UserError(f"{where}: {key}: unknown key; {hint}") from None
        message = " ".join(first["msg"].removeprefix("Value error, ").split())
        # pydantic's words: "Field required"; "Input should be a valid integer, unable to parse string as an integer".
        message = "this key is required" if first["type"] == "missing" else message
        message = message.replace("Input should be", "expected")
        # What a validator of ours says of it stands behind.
        message = re.sub(r", unable to parse string as (a|an) \w+", "", message)
        if first["type"] == "string_pattern_mismatch":
            message = f"expected text that matches {first['ctx']['pattern']}"
        if first["type"] in ("model_type", "dict_type"):
            message = "expected keys with values"
        if first["type"] == "path_type":
            message = "expected a path"
        given = first.get("input")
        shown = (
            ""
            if isinstance(given, dict | BaseModel) or first["type"] == "missing" or _tells(message, given)
            else f", but got {given!r}"
        )
        raise UserError(f"{where}: {key + ': ' if key else ''}{message}{shown}") from None


def _tells(message: str, given: Any) -> bool:
    """Whether a message says by itself what was given."""
    return "but got" in message or (isinstance(given, str) and bool(given) and given in message)


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    current: type[BaseModel] = model
    for part in location:
        field = current.model_fields.get(str(part))
        if field is None:
            continue
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if inner:
            current = inner[0]
    return list(current.model_fields)
