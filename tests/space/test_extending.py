from pathlib import Path
from typing import Any

import pytest

from nas.errors import UserError
from nas.space import SearchSpace

FULL = SearchSpace.load("full")


def parse(tmp_path: Path, **changes: Any) -> SearchSpace:
    return SearchSpace.parse({"extends": "full", **changes}, "mine.yaml", tmp_path)


def test_what_is_given_takes_the_place_of_a_range_and_the_rest_stays(tmp_path: Path) -> None:
    graph = {"layers": 2, "aggregator": ["gat", "mean"], "hidden_size": {"min": 3, "max": 5}}
    recipe = {"temperature": [0.1, 0.2], "rating": 0.5}
    space = parse(tmp_path, branches={"graph": graph}, recipe=recipe, fusion={"item": 1})
    given = FULL.model_dump()
    due = SearchSpace.parse({
        **given,
        "name": "full, changed",
        "description": "",
        "branches": given["branches"] | {"graph": given["branches"]["graph"] | {
            "layers": 2, "aggregator": ["gat", "mean"], "hidden_size": [3, 4, 5]}},
        "recipe": given["recipe"] | {"temperature": [0.1, 0.2], "rating": 0.5},
        "fusion": given["fusion"] | {"item": 1},
    }, "due")  # fmt: skip
    assert space == due


def test_null_takes_away_and_the_weight_of_a_branch_goes_with_it(tmp_path: Path) -> None:
    space = parse(tmp_path, branches={"user": None, "spectral": None}, recipe={"loss": None}, name="mine")
    assert space.branches.names == ("graph", "item")
    assert space.name == "mine"
    assert "loss" not in space.recipe
    assert space.fusion.user == SearchSpace.load("graph").fusion.user
    assert space.branches.item == FULL.branches.item


def test_a_file_may_extend_a_file_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "spaces"
    folder.mkdir()
    (folder / "one.yaml").write_text("extends: graph\nbranches: {graph: {layers: [1, 2]}}\nname: one\n")
    (folder / "two.yaml").write_text("extends: one.yaml\nbranches: {graph: {score: dot}}\n")
    space = SearchSpace.load("spaces/two.yaml", tmp_path)
    assert space.name == "one, changed"
    assert not space.description
    more = SearchSpace.parse({"extends": "spaces/two.yaml"}, "more", tmp_path)
    assert more.name == "one, changed"
    assert space.branches.graph is not None
    assert space.branches.graph.layers.choices == (1, 2)
    assert space.branches.graph.score.choices == ("dot",)
    assert space.recipe == SearchSpace.load("graph").recipe


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"extends": 3}, "extends: expected the name of a space or a YAML file, but got 3"),
        ({"extends": "ful"}, "mine.yaml: extends: ful: no such file, and no name in search_spaces"),
        ({"extends": "circle.yaml"}, "extends: circle.yaml extends itself"),
        ({"extend": "full"}, "mine.yaml: extend: unknown key; did you mean 'extends'"),
        ({"extends": "full", "branches": {"spectal": None}}, "branches: there is no 'spectal' to take away; .*'spectral'"),
        ({"extends": "full", "recipe": {"foo": None}}, "recipe: there is no 'foo' to take away"),
        ({"extends": "full", "fusion": None}, "fusion: expected settings.*but got None"),
        ({"extends": "full", "branches": 2}, "mine.yaml: branches: expected settings, such as `layers: 2`, but got 2"),
        ({"extends": "full", "branches": {"graph": [1]}}, r"branches.graph: expected settings.*but got \[1\]"),
        ({"extends": "full", "branches": {"graph": {"layer": 2}}}, "branches.graph.layer.*layers"),
        ({"extends": "full", "branches": {"graph": {"layers": 2.5}}}, "layers"),
        ({"extends": "full", "recipe": {"losses": "bpr"}}, "did you mean 'loss'"),
        ({"extends": "full", "branches": {"user": None}, "fusion": {"user": 2}}, "fusion.user: there is no such branch"),
    ],
)  # fmt: skip
def test_what_cannot_be_extended_is_told_in_one_line(
    value: dict[str, Any], says: str, tmp_path: Path
) -> None:
    (tmp_path / "circle.yaml").write_text("extends: other.yaml\n")
    (tmp_path / "other.yaml").write_text("extends: circle.yaml\n")
    with pytest.raises(UserError, match=says) as caught:
        SearchSpace.parse(value, "mine.yaml", tmp_path)
    assert "\n" not in str(caught.value)
