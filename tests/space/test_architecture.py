import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nas.errors import UserError
from nas.graph.aggregators import AGGREGATORS
from nas.space import Architecture, GraphBranch, Layer
from nas.space.graph_space import _WORDS
from nas.yaml_file import validate

branches = st.builds(
    lambda layers, **words: GraphBranch(hidden_size=8, layers=tuple(layers), **words),
    layers=st.lists(
        st.builds(Layer, aggregator=st.sampled_from(list(AGGREGATORS)), heads=st.sampled_from([1, 2, 4])),
        max_size=3,
    ),
    **{name: st.sampled_from(_WORDS[name]) for name in ("skip", "readout", "activation", "score")},
)
architectures = st.builds(Architecture, graph=branches)


@given(architectures)
def test_canonical_is_idempotent_and_keeps_the_id(arch: Architecture) -> None:
    canonical = arch.canonical()
    assert canonical.canonical() == canonical
    assert canonical.id == arch.id
    assert hash(canonical.canonical()) == hash(canonical)


@given(architectures)
def test_json_gives_back_an_equal_architecture(arch: Architecture) -> None:
    text = json.dumps(arch.model_dump(mode="json"))
    assert Architecture.model_validate(json.loads(text)) == arch
    assert Architecture.model_validate(arch.values()) == arch


@given(st.lists(architectures.map(Architecture.canonical), unique=True, max_size=30))
def test_different_canonical_architectures_have_different_ids_and_texts(found: list[Architecture]) -> None:
    assert len({arch.id for arch in found}) == len(found)
    assert len({str(arch) for arch in found}) == len(found)


LIGHTGCN = Architecture(
    graph=GraphBranch(hidden_size=64, layers=(Layer(aggregator="lightgcn"),) * 3, readout="mean")
)
GAT = Architecture(
    graph=GraphBranch(hidden_size=64, layers=(Layer(aggregator="gat", heads=4),) * 2, activation="elu")
)


def test_ids_are_a_contract() -> None:
    # They name folders and reports of earlier versions: a change here has to be meant.
    assert (LIGHTGCN.id, GAT.id) == ("4f48d9f1c4", "2f88595813")


def test_texts_say_what_an_architecture_is() -> None:
    assert str(LIGHTGCN) == "lightgcn > lightgcn > lightgcn, 64 columns, skip none, readout mean, dot"
    assert str(GAT) == "gatx4 > gatx4, 64 columns, skip none, readout last, elu, dot"
    assert str(Architecture(graph=GraphBranch(hidden_size=8))) == "no layers, 8 columns, dot"


@pytest.mark.parametrize(
    ("layers", "readout", "activated"),
    [
        (["gcn", "gcn"], "last", [True, False]),
        (["gcn", "gcn"], "mean", [True, True]),
        (["lightgcn", "gat"], "concat", [False, True]),
        (["identity", "mean"], "mean", [False, False]),
    ],
)
def test_linear_layers_and_scored_last_layers_take_no_activation(
    layers: list[str], readout: str, activated: list[bool]
) -> None:
    branch = GraphBranch.model_validate(
        {"hidden_size": 4, "layers": [{"aggregator": name} for name in layers], "readout": readout}
    )
    assert [branch.activated(n) for n in range(2)] == activated


GOOD = {"hidden_size": 8, "layers": [{"aggregator": "gat", "heads": 2}]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hidden_size": 0}, "graph: hidden_size >= 1 must hold, but got 0"),
        (
            {"layers": [{"aggregator": "magic"}]},
            "graph.layers.0: unknown aggregator 'magic'; expected one of",
        ),
        (
            {"layers": [{"aggregator": "gat", "heads": 3}]},
            "graph: heads must divide hidden_size, but got heads=3",
        ),
        ({"layers": [{"aggregator": "gat", "heads": 0}]}, "graph.layers.0: heads >= 1 must hold, but got 0"),
        (
            {"layers": [{"aggregator": "gat", "head": 1}]},
            "graph.layers.0.head: unknown key; did you mean 'heads'?",
        ),
        ({"skip": "around"}, "graph.skip: expected 'none', 'residual', 'initial' or 'dense'"),
    ],
)
def test_a_faulty_architecture_is_named_with_its_place(change: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError) as raised:
        validate(Architecture, {"graph": GOOD | change}, "winner.json")
    assert str(raised.value).startswith(f"winner.json: {expected}")
    assert "\n" not in str(raised.value)


def test_architectures_are_values() -> None:
    twin = Architecture.model_validate(GAT.model_dump(mode="json"))
    assert {GAT, twin} == {twin}
    with pytest.raises(ValidationError, match="frozen"):
        GAT.graph.hidden_size = 8  # type: ignore[misc]
