import os
from pathlib import Path

import pytest

from nas.graph import compiled


def test_a_kernel_works_where_nothing_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = compiled.numba.njit

    def refuse(function: object, *, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(function, **options)

    monkeypatch.setattr(compiled.numba, "njit", refuse)
    assert compiled.compiled(lambda x: x + 1)(1) == 2


def test_machine_code_older_than_any_source_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()
    files = {"kernels.py": 1, "loops.py": 5, "__pycache__/old.nbi": 4, "__pycache__/old.1.nbc": 4}
    files |= {"__pycache__/new.nbi": 6, "__pycache__/kernels.cpython-313.pyc": 1}
    for name, time in files.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    compiled.forget_stale(tmp_path)
    assert {path.name for path in (tmp_path / "__pycache__").iterdir()} == {
        "new.nbi",
        "kernels.cpython-313.pyc",
    }
