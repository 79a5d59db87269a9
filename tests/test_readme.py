"""What the README shows of files that are shipped is what they hold."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def shown(key: str) -> dict[str, Any]:
    (one,) = [block for block in map(yaml.safe_load, BLOCKS) if key in block]
    return one


def shipped(name: str) -> dict[str, Any]:
    held = yaml.safe_load((ROOT / f"search_spaces/{name}.yaml").read_text(encoding="utf-8"))
    del held["description"]
    return held


def test_the_graph_space() -> None:
    assert shown("recipe") == shipped("graph")


@pytest.mark.parametrize("name", ["spectral", "item", "user"])
def test_the_other_branches(name: str) -> None:
    assert shown("fusion")["branches"][name] == shipped("full")["branches"][name]


def test_the_fusion_weights() -> None:
    assert shown("fusion")["fusion"] == shipped("full")["fusion"]
