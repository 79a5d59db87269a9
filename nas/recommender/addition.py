"""A file that an artefact holds for other software: `recommender.py` checks its hash and does not read it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from numpy.typing import NDArray

from nas.errors import UserError
from nas.recommender.recommender import Recommender


@dataclass(frozen=True, slots=True)
class Addition:
    """One such file.

    Attributes:
        name: of the file, without folder.
        content: its bytes, the same for the same artefact.
        readme: a section for the artefact's README.md: what the file is and how to ask it.
    """

    name: str
    content: bytes
    readme: str


Addable = Callable[[Recommender, Mapping[str, NDArray[Any]]], Addition]
"""Makes the file from the recommender and the arrays as `weights.safetensors` holds them; UserError if it cannot."""


def library(name: str, option: str, packages: str) -> Any:
    """Return an optional module.

    Raises:
        UserError: it is not installed; the line names the `option` that needs it and the `packages` for pip.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"{option} needs {name.partition('.')[0]} ({error}): pip install {packages}"
        ) from None
