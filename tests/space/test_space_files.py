"""Spaces as YAML files: the shipped ones load, and what is wrong with a file is said in one line."""

from pathlib import Path
from typing import Any

import pytest

from nas.errors import UserError
from nas.shipped import shipped
from nas.space import SearchSpace

SHIPPED = sorted(
    str(path.relative_to(shipped("search_spaces")).with_suffix(""))
    for path in shipped("search_spaces").rglob("*.yaml")
)
START = "name: mine\nbranches:\n  graph:\n    aggregator: [gcn, gat]\n"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_spaces_load(name: str) -> None:
    space = SearchSpace.load(name)
    assert space.name == Path(name).name
    assert space.description
    assert (space.size() == 1) == name.startswith("presets/")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_space_survives_being_written_down(name: str) -> None:
    space = SearchSpace.load(name)
    assert SearchSpace.parse(space.model_dump(mode="json", exclude_none=True), "again") == space


def test_the_shipped_spaces_are_as_large_as_they_look() -> None:
    # 3 aggregators on each of L layers; `dense` is `none` on one layer. Times 4 widths and 2 scores.
    stacks = 1 + 3 * 3 * 4 + sum(3**layers * 4 * 4 for layers in (2, 3, 4))
    assert SearchSpace.load("lightgcn_like").size() == 4 * 2 * stacks
    # 13 layers that differ in kind or heads, of which 3 are linear; 5 activations where a layer is activated.
    heads, total = 4, 0
    for layers in range(1, 5):
        everything, linear = (7 + 2 * heads) ** layers, 3**layers
        # With the readout `last` the last layer is bare: only those before it can be activated.
        bare = 3 ** (layers - 1) * (7 + 2 * heads)
        seen = 3 * (linear + 5 * (everything - linear)) + bare + 5 * (everything - bare)
        total += seen * (3 if layers == 1 else 4)
    assert SearchSpace.load("graph").size() == 4 * 2 * (total + 1)


def load(folder: Path, text: str) -> SearchSpace:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return SearchSpace.load("mine.yaml", beside=folder)


FAULTS = {
    "misspelt section": ("nam: mine\n", "nam: unknown key; did you mean 'name'?"),
    "misspelt branch": (
        "name: x\nbranches: {grph: {aggregator: gcn}}\n",
        "branches.grph: unknown key; did you mean 'graph'?",
    ),
    "misspelt dimension": (
        START + "    redout: mean\n",
        "branches.graph.redout: unknown key; did you mean 'readout'?",
    ),
    "key like no other": (START + "    zzz: mean\n", "branches.graph.zzz: unknown key; expected one of"),
    "misspelt key of a dimension": (
        START + "    skip: {choises: [none]}\n",
        "branches.graph.skip.choises: unknown key; did you mean 'choices'?",
    ),
    "misspelt setting": (
        START + "recipe: {los: bpr}\n",
        "recipe: unknown setting 'los'; did you mean 'loss'?",
    ),
    "missing aggregator": (
        "name: x\nbranches: {graph: {layers: 1}}\n",
        "branches.graph.aggregator: this key is required",
    ),
    "unknown aggregator": (
        "name: x\nbranches: {graph: {aggregator: [gcn, magic]}}\n",
        "branches.graph.aggregator: unknown aggregator 'magic'; expected one of ['gat', 'gatv2', 'gcn',",
    ),
    "unknown skip": (
        START + "    skip: around\n",
        "branches.graph.skip: unknown skip 'around'; expected one of ['dense', 'initial', 'none', 'residual']",
    ),
    "negative layers": (
        START + "    layers: -1\n",
        "branches.graph.layers: expected whole numbers from 0 to",
    ),
    "too many layers": (START + "    layers: 17\n", "from 0 to 16, but got 17"),
    "half a layer": (START + "    layers: 1.5\n", "from 0 to 16, but got 1.5"),
    "layers as a word": (START + "    layers: two\n", "from 0 to 16, but got 'two'"),
    "layers as a truth": (
        START + "    layers: yes\n",
        "branches.graph.layers: choices must be words or numbers",
    ),
    "no value": (START + "    layers:\n", "branches.graph.layers: choices must be words or numbers"),
    "no choices": (START + "    layers: []\n", "branches.graph.layers: give at least one choice"),
    "range the wrong way round": (
        START + "    layers: {min: 3, max: 1}\n",
        "branches.graph.layers: min <= max must hold, but got min=3, max=1",
    ),
    "range without an end": (
        START + "    layers: {min: 0}\n",
        "branches.graph.layers: give at least one choice",
    ),
    "endless range": (START + "    layers: {min: 0, max: 1000000000}\n", "holds at most 10,000"),
    "range and choices": (
        START + "    layers: {choices: [1], min: 0, max: 2}\n",
        "branches.graph.layers: give choices, or min and max, not both",
    ),
    "range of words": (START + "    skip: {min: 0.5, max: 1.0}\n", "branches.graph.skip: unknown skip"),
    "width 0": (START + "    hidden_size: 0\n", "branches.graph.hidden_size: expected whole numbers from 1"),
    "the same twice": (
        START + "    hidden_size: [16, 16]\n",
        "hidden_size: choices must differ, but got [16, 16]",
    ),
    "heads that divide nothing": (
        START + "    hidden_size: [12, 16]\n    heads: [3]\n",
        "branches.graph: heads must divide hidden_size, but none of [3] divides 16",
    ),
    "per what": (
        START + "    heads: {choices: [1], per: node}\n",
        "heads.per: expected 'layer' or 'tied'",
    ),
    "layers of each layer": (
        START + "    layers: {choices: [1, 2], per: tied}\n",
        "branches.graph.layers: only aggregator and heads have choices of each layer; leave out per: tied",
    ),
    "unknown loss": (
        START + "recipe: {loss: hinge}\n",
        "loss: expected 'softmax' or 'bpr', but got 'hinge'",
    ),
    "dropout of everything": (
        START + "recipe: {dropout: [0.1, 1.0]}\n",
        "dropout: expected less than 1",
    ),
    "learning rate 0": (
        START + "recipe: {learning_rate: 0}\n",
        "learning_rate: expected greater than 0",
    ),
    "learning rate infinite": (
        START + "recipe: {learning_rate: .inf}\n",
        "learning_rate: expected a finite",
    ),
    "logarithm of 0": (
        START + "recipe: {weight_decay: {min: 0.0, max: 1.0, log: true}}\n",
        "recipe.weight_decay: min > 0 must hold on a log scale, but got min=0.0",
    ),
    "range that is not a number": (
        START + "recipe: {temperature: {min: .nan, max: 1.0}}\n",
        "recipe.temperature: min <= max must hold",
    ),
    "real range of whole numbers": (
        START + "recipe: {batches: {min: 1.0, max: 4.0}}\n",
        "recipe.batches: give choices; a range of real numbers does not fit it",
    ),
    "key twice": (
        START + "    aggregator: mean\n",
        "line 5: not valid YAML: the key 'aggregator' stands twice",
    ),
    "a list": ("- 1\n", "expected a mapping of keys to values, got list"),
    "empty": ("", "nothing is in it; expected a mapping of keys to values"),
    "no YAML": ("name: [1\n", "line 2: not valid YAML"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_in_one_line_with_file_and_key(fault: str, tmp_path: Path) -> None:
    text, expected = FAULTS[fault]
    with pytest.raises(UserError) as raised:
        load(tmp_path, text)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'mine.yaml'}:")
    assert expected in message
    assert "\n" not in message
    assert message.count("but got") <= 1


def test_the_start_of_the_faulty_files_is_itself_right(tmp_path: Path) -> None:
    # Three layers of one of two kinds each, one spelling of everything else.
    assert load(tmp_path, START).size() == 8


def test_a_space_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file.*'graph'.*'presets/gat'"):
        SearchSpace.load("grph", beside=tmp_path)
    with pytest.raises(UserError, match="no such file"):
        SearchSpace.load("../../pyproject")
    with pytest.raises(UserError, match=r"~nosuch/x\.yaml: no home folder of that name"):
        SearchSpace.load("~nosuch/x.yaml", beside=tmp_path)


@pytest.mark.parametrize(
    ("spelling", "choices"),
    [
        (3, (3,)),
        ([1, 3], (1, 3)),
        ({"choices": [1, 3], "per": "layer"}, (1, 3)),
        ({"min": 1, "max": 3}, (1, 2, 3)),
        ({"min": 2, "max": 2}, (2,)),
    ],
)
def test_a_dimension_has_several_spellings(spelling: Any, choices: tuple[int, ...]) -> None:
    branch = {"aggregator": "gcn", "layers": spelling}
    space = SearchSpace.parse({"name": "x", "branches": {"graph": branch}}, "x")
    assert space.genes()["layers"] == choices
