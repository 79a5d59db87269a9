"""Paths as people write them."""

from pathlib import Path

from nas.errors import UserError


def expanded(path: str | Path) -> Path:
    """Return a path with a home folder in place of the `~` at its start. Raises `UserError` where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{path}: no home folder of that name; expected ~/ or a user of this machine"
        ) from None
