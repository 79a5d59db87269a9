"""A small experiment, run once."""

from pathlib import Path

import pytest
from tiny_experiment import TINY

import nas


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> nas.Run:
    """Return the finished run of `TINY`; do not write into it."""
    folder: Path = tmp_path_factory.mktemp("finished") / "run"
    return nas.search(TINY, folder)
