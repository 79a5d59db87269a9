"""The benchmarks measure equal work: on a tiny graph each row is whole, finite, and both sides agree."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import evaluation
import fold_in
import generation
import numpy as np
import propagation
import pytest
import serving
import torch
import training
from generated import SHAPES, Shape, datasets, generate
from lightgcn_steps import batch_of
from side_by_side import Row, Value, interleaved, largest, largest_difference, report

from nas.data import Interactions

TINY = Shape(users=60, items=40, interactions=500)
KEYS = ["operator", "data", "threads", "ours_ms", "theirs_ms", "ratio", "max_abs_difference"]


@pytest.fixture(scope="module")
def interactions() -> Interactions:
    return generate(TINY)


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def assert_fair(values: dict[str, Value], operator: str) -> None:
    """The row has every key, its numbers are finite, and whatever was timed gave equal results."""
    assert list(values)[: len(KEYS)] == KEYS
    assert (values["operator"], values["data"], values["threads"]) == (
        operator,
        "tiny",
        torch.get_num_threads(),
    )
    numbers = {key: value for key, value in values.items() if isinstance(value, float)}
    assert all(math.isfinite(value) for value in numbers.values())
    assert all(value > 0 for key, value in numbers.items() if key.endswith("_ms"))
    differences = [value for key, value in numbers.items() if key.startswith("max_abs_difference")]
    assert differences
    assert max(differences) < 1e-4
    assert numbers["ratio"] == pytest.approx(numbers["theirs_ms"] / numbers["ours_ms"], rel=2e-3)


@pytest.mark.parametrize("operator", propagation.OPERATORS)
def test_an_aggregator_and_pygs_layer_agree_in_every_way_that_is_timed(
    operator: str, interactions: Interactions
) -> None:
    only = {operator: propagation.OPERATORS[operator]}
    (row,) = propagation.rows("tiny", interactions, 1, only)
    values = row.values()
    assert_fair(values, operator)
    assert (values["theirs_cached_ms"] is not None) == (operator in ("lightgcn", "gcn"))
    assert (values["theirs_sparse_ms"] is None) == operator.startswith("gat")


# With 7 negatives the catalogue is sampled, once or for ten users at a time, with the default it is taken whole.
@pytest.mark.parametrize(("negatives", "chunk"), [(7, 2**19), (7, 70), (4096, 2**19)])
def test_three_steps_of_training_agree(
    negatives: int, chunk: int, interactions: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.model.losses._CHUNK", chunk)
    recipes = {
        name: recipe.model_copy(update={"negatives": negatives}) for name, recipe in training.RECIPES.items()
    }
    monkeypatch.setattr(training, "RECIPES", recipes)
    monkeypatch.setattr(training, "PAIRS", 100)
    rows = list(training.step_rows("tiny", interactions, 1))
    assert [row.operator for row in rows] == ["lightgcn-step-bpr", "lightgcn-step-softmax"]
    for row in rows:
        assert_fair(row.values(), row.operator)


def test_a_batch_holds_distinct_interactions(interactions: Interactions) -> None:
    batch = batch_of(interactions, 100, np.random.default_rng(0))
    known = set(zip(interactions.user.tolist(), interactions.item.tolist(), strict=True))
    pairs = list(zip(batch.users[batch.owner].tolist(), batch.items.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs) == 100
    assert set(pairs) <= known
    assert bool((batch.owner.diff() >= 0).all())


def test_whole_epochs_are_measured_in_a_process_of_their_own(interactions: Interactions) -> None:
    values = training.process_row("lightgcn-epoch", "tiny", TINY, 3, 1, 1).values()
    assert list(values)[: len(KEYS)] == KEYS
    assert [values[key] for key in ("theirs_ms", "ratio", "max_abs_difference")] == [None, None, None]
    speed, seconds = values["interactions_per_second"], values["ours_ms"] / 1000
    assert speed == pytest.approx(len(interactions) / seconds, rel=2e-3)
    assert 0.05 < values["peak_rss_gb"] < 5


def test_the_rankings_agree(interactions: Interactions) -> None:
    pytest.importorskip("implicit")
    (row,) = evaluation.rows("tiny", interactions, 1)
    values = row.values()
    assert_fair(values, "full-ranking")
    assert values["torch_ms"] > 0
    assert values["share_of_equal_lists"] > 0.9


def test_a_generation_agrees_with_its_candidates_one_by_one(interactions: Interactions) -> None:
    states, ranked = generation.rows("tiny", interactions, 1)
    for row, operator in ((states, "generation-50-states"), (ranked, "generation-50")):
        assert_fair(row.values(), operator)
        assert row.max_abs_difference == 0


def test_lists_that_differ_show(interactions: Interactions) -> None:
    users, items = evaluation.final_states(interactions)
    lists = evaluation.plain_torch(users, items, interactions)()
    other = lists.copy()
    other[3, 0] = next(item for item in range(TINY.items) if item not in lists[3])
    one, two = (evaluation.scores_of(found, users, items) for found in (lists, other))
    assert np.abs(one - two).max() > 1e-4


def test_folding_in_is_measured_against_training(interactions: Interactions) -> None:
    rest, some, more, held = fold_in.parts(interactions)
    apart = [
        set(zip(part.user.tolist(), part.item.tolist(), strict=True)) for part in (rest, some, more, held)
    ]
    assert sum(map(len, apart)) == len(set().union(*apart)) == len(interactions)
    assert not set(rest.user) & set(held.user)
    assert set(some.user) == set(more.user) == set(held.user)
    # Rounded down for each user: the last fifth is never the larger one.
    assert 0.7 < (len(some) + len(more)) / (len(some) + len(more) + len(held)) < 0.9
    network = {"aggregator": "lightgcn", "layers": 1, "columns": 8}
    values = fold_in.row("tiny", "generated", interactions, network, 2)
    assert (values["data"], values["users"], values["epochs"]) == ("generated", len(set(held.user)), 2)
    assert values["ratio"] == pytest.approx(values["ndcg"] / values["reference"], rel=2e-3)
    assert all(0 <= values[key] <= 1 for key in ("ndcg", "reference", "overlap", "stale", "new"))


def test_json_is_all_that_standard_output_gets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small-town" / "train.txt"
    file.parent.mkdir()
    file.write_text("0 5 6 7\n1 5\n2 6 8\n")
    out = tmp_path / "deep" / "rows.json"
    propagation.main(data=[file], threads=1, repetitions=1, as_json=True, out=out)
    printed = json.loads(capsys.readouterr().out)
    assert [row["operator"] for row in printed] == list(propagation.OPERATORS)
    assert {row["data"] for row in printed} == {"small-town"}
    assert {row["threads"] for row in printed} == {1}
    assert json.loads(out.read_text()) == printed


def test_the_table_shows_every_value(capsys: pytest.CaptureFixture[str]) -> None:
    report(
        [Row("op", "data", 2.0, 5.0, 0.0, {"way": "x"}, 7), Row("op2", "data", 2.0, None, None)], False, None
    )
    table = capsys.readouterr().out
    assert all(word in table for word in ("op2", "2.5", "way", "7"))


def test_a_result_that_is_not_a_number_does_not_pass_for_agreement() -> None:
    broken = torch.tensor([0.0, torch.nan])
    assert math.isnan(largest([0.0, largest_difference([torch.zeros(2)] * 2, [torch.zeros(2), broken])]))
    with pytest.raises(ValueError, match="JSON"):
        report([Row("op", "data", 2.0, 5.0, math.nan)], True, None)


def test_ways_are_called_in_turn() -> None:
    calls: list[str] = []
    times = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, warm_up=1)
    assert calls == ["a", "b"] + ["a", "a", "b", "b"] * 3
    assert set(times) == {"a", "b"}
    calls.clear()
    interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, warm_up=0, calls=3)
    assert calls == [*"aaaabbbb"] * 2


@pytest.mark.parametrize("shape", [TINY, Shape(30, 2000, 5000), Shape(4, 5, 20), Shape(9, 3, 9)])
def test_generated_interactions_have_the_shape_asked_for(shape: Shape) -> None:
    made = generate(shape)
    assert (made.n_users, made.n_items, len(made)) == (shape.users, shape.items, shape.interactions)
    keys = made.user.astype(np.int64) * shape.items + made.item
    assert bool((np.diff(keys) > 0).all())
    assert len(np.unique(made.user)) == shape.users
    assert made.fingerprint() == generate(shape).fingerprint()
    if shape.interactions < shape.users * shape.items:
        assert made.fingerprint() != generate(shape, seed=1).fingerprint()


def test_generated_popularity_is_skewed_on_both_sides() -> None:
    made = generate(Shape(2000, 3000, 40_000))
    for column, size in ((made.user, made.n_users), (made.item, made.n_items)):
        counts = np.sort(np.bincount(column, minlength=size))[::-1]
        # Uniform draws give the busiest hundredth about 2 % of the interactions.
        assert 0.1 < counts[: size // 100].sum() / len(made) < 0.3


def test_what_cannot_be_generated_is_said() -> None:
    with pytest.raises(ValueError, match="must hold"):
        generate(Shape(10, 10, 101))


def test_the_generated_data_are_of_the_named_shapes() -> None:
    for name, made in datasets(None):
        shape = SHAPES[name]
        assert (made.n_users, made.n_items, len(made)) == (shape.users, shape.items, shape.interactions)


def test_serving_agrees_with_implicit(interactions: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "ASKED", 3)
    pytest.importorskip("faiss", exc_type=ImportError)
    found = {row.operator: row.values() for row in serving.rows("tiny", interactions, 1, 1)}
    assert list(found) == ["one user", "all users", "load", "process"]
    for operator in ("one user", "all users"):
        assert_fair(found[operator], operator)
