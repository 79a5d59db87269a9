"""A search space that is another one but for a few ranges: `extends: full`, and what differs."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nas.errors import UserError
from nas.shipped import find
from nas.yaml_file import read_yaml

_SECTIONS = ("branches", "fusion", "recipe")
_CHANGED = ", changed"


def extended(value: dict[str, Any], where: str, beside: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a decoded space with what it extends filled in; as it is, if it extends none.

    What it gives takes the place of what the other has, each range whole; `null` takes a branch, a weight or a setting of
    the recipe away, and a branch's weight goes with it. Without a name of its own it is called "full, changed".

    Args:
        value: a mapping as YAML holds it; `extends` names a shipped space or a file.
        where: the file, for messages.
        beside: the folder that a relative path starts at.
        seen: the files that led here.

    Raises:
        UserError: no such space, a section of it that is no mapping, something to take away that is not there, or spaces
            that extend each other in a circle.
    """
    if "extends" not in value:
        if misspelt := get_close_matches("extends", map(str, value), n=1):
            raise UserError(f"{where}: {misspelt[0]}: unknown key; did you mean 'extends'?")
        return value
    name, own = value["extends"], {key: part for key, part in value.items() if key != "extends"}
    if not isinstance(name, str):
        raise UserError(f"{where}: extends: expected the name of a space or a YAML file, but got {name!r}")
    try:
        path = find(name, "search_spaces", beside)
    except UserError as error:
        raise UserError(f"{where}: extends: {error}") from None
    if path.resolve() in seen:
        raise UserError(
            f"{where}: extends: {name} extends itself, perhaps by way of others; name another space"
        )
    base = extended(read_yaml(path), str(path), path.parent, (*seen, path.resolve()))
    whole = (
        base
        | {"name": f"{str(base.get('name', name)).removesuffix(_CHANGED)}{_CHANGED}", "description": ""}
        | own
    )
    for section in _SECTIONS:
        whole[section] = _merged(base.get(section, {}), own.get(section, {}), f"{where}: {section}")
    inherited = base.get("branches", {})
    for branch, settings in whole["branches"].items():
        whole["branches"][branch] = _merged(
            inherited.get(branch, {}), settings, f"{where}: branches.{branch}"
        )
    for branch in set(inherited) - set(whole["branches"]) - set(own.get("fusion", {})):
        whole["fusion"].pop(branch, None)
    return {key: part for key, part in whole.items() if part or key not in _SECTIONS}


def _merged(base: Any, own: Any, where: str) -> dict[str, Any]:
    for part in (base, own):
        if not isinstance(part, dict):
            raise UserError(f"{where}: expected settings, such as `layers: 2`, but got {part!r}")
    for key, part in own.items():
        if part is None and key not in base:
            raise UserError(f"{where}: there is no {key!r} to take away; expected one of {sorted(base)}")
    return {key: part for key, part in (base | own).items() if part is not None}
