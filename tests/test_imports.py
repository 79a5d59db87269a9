"""Lower floors know nothing of higher ones, and the standalone recommender knows nothing of nas at all."""

import ast
import sys
from pathlib import Path

import pytest

import nas

PACKAGE = Path(nas.__file__).parent
FLOORS = ["data", "graph", "space", "model", "baselines", "search", "experiment", "cli"]


def imported(path: Path) -> set[str]:
    """Every module that a file imports anywhere, `from a import b` as `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_imports_none_above_it(floor: str) -> None:
    above = FLOORS[FLOORS.index(floor) + 1 :]
    files = [PACKAGE / f"{floor}.py"] if floor == "cli" else sorted((PACKAGE / floor).rglob("*.py"))
    assert files
    for path in files:
        for name in imported(path):
            root, _, rest = name.partition(".")
            assert root != "nas" or rest.split(".")[0] not in above, f"{path} imports {name}"


def test_the_recommender_imports_the_standard_library_numpy_and_safetensors_only() -> None:
    roots = {name.partition(".")[0] for name in imported(PACKAGE / "recommender" / "recommender.py")}
    assert roots <= {*sys.stdlib_module_names, "numpy", "safetensors"}
