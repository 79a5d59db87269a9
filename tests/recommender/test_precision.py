"""Artefacts of fewer bits: their arrays, sizes and answers against those of float32."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.sparse import csr_array, random_array

from nas.errors import UserError
from nas.recommender import ArtefactError, Recommender
from nas.recommender.contents import ArtefactContents
from nas.recommender.precision import PRECISIONS, narrowed
from nas.recommender.recommender import BRANCH_LAYOUT, LAYOUT, _graph_layout, _widened
from nas.recommender.writer import assembled, write_artefact

Make = Callable[..., ArtefactContents]
NUMBERS = st.floats(-100, 100, width=32)


def fused(make: Make, precision: str = "float32", users: int = 150, items: int = 120) -> ArtefactContents:
    contents = make(users=users, items=items, columns=16)
    rng = np.random.default_rng(3)
    sparse = csr_array(random_array((items, items), density=0.3, rng=rng))
    spectral = {
        "indptr": sparse.indptr.astype(np.int64),
        "items": sparse.indices.astype(np.int32),
        "weights": sparse.data.astype(np.float32),
        "left": rng.standard_normal((items, 8), dtype=np.float32),
        "right": rng.standard_normal((8, items), dtype=np.float32),
    }
    counts = rng.random(len(contents.seen_items), dtype=np.float32) + np.float32(0.5)
    ages = rng.integers(0, 300, len(counts), dtype=np.int32)
    item = {"dense": rng.standard_normal((items, items), dtype=np.float32), "counts": counts}
    item |= {"ages": ages, "fade": np.array([0.1], dtype=np.float32)}
    fusion = {"graph": 1.0, "spectral": 0.5, "item": 1.0}
    return replace(
        contents, fusion=fusion, branches={"spectral": spectral, "item": item}, precision=precision
    )


@example(one=np.array([[9.295e-42]], dtype=np.float32))
@given(one=arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=NUMBERS))
def test_int8_is_off_by_half_a_step_at_most(one: NDArray[np.float32]) -> None:
    found = narrowed({"dense": one}, "int8")
    assert (found["dense"].dtype, found["dense_scale"].dtype) == (np.int8, np.float32)
    step = np.abs(one).max(axis=1, keepdims=True).astype(np.float64) / 127
    assert (np.abs(_widened(found)["dense"] - one.astype(np.float64)) <= 0.50001 * step + 1e-30).all()
    # Symmetric, and what is exact stays so.
    np.testing.assert_array_equal(
        _widened(narrowed({"dense": -one}, "int8"))["dense"], -_widened(found)["dense"]
    )


@given(data=st.data(), sizes=st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_sparse_rows_have_a_scale_each(data: st.DataObject, sizes: list[int]) -> None:
    weights = data.draw(arrays(np.float32, sum(sizes), elements=NUMBERS))
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    found = _widened(narrowed({"item_indptr": indptr, "item_weights": weights}, "int8"))
    assert found.keys() == {"item_indptr", "item_weights"}
    for a, b in itertools.pairwise(indptr):
        row = weights[a:b]
        if len(row):
            expected = _widened(narrowed({"dense": row[None]}, "int8"))["dense"][0]
            np.testing.assert_array_equal(found["item_weights"][a:b], expected)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_artefact_of_any_precision_answers_nearly_alike(
    make: Make, precision: str, tmp_path: Path
) -> None:
    size = write_artefact(tmp_path / "out", fused(make, precision))
    assert write_artefact(tmp_path / "again", fused(make, precision)) == size
    for path in (tmp_path / "out").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["precision"] == precision
    model, exact = Recommender.load(tmp_path / "out"), None
    write_artefact(tmp_path / "exact", fused(make))
    exact = Recommender.load(tmp_path / "exact")
    shared = [
        len({one.item for one in ours} & {one.item for one in theirs}) / len(theirs)
        for ours, theirs in zip(
            model.recommend_many(model.user_ids, 20), exact.recommend_many(model.user_ids, 20), strict=True
        )
    ]
    assert np.mean(shared) >= {"float32": 1, "float16": 0.995, "int8": 0.95}[precision]
    assert model.fold_in(["i1", "i2"])
    assert model.explain("u1", "i2").contributions


def deep(make: Make, precision: str = "float32", users: int = 150, items: int = 120) -> ArtefactContents:
    """Contents with a layer of LightGCN and one of GATv2."""
    branch = {
        "hidden_size": 16,
        "skip": "residual",
        "readout": "mean",
        "activation": "elu",
        "score": "cosine",
    }
    branch["layers"] = [{"aggregator": "lightgcn", "heads": 1}, {"aggregator": "gatv2", "heads": 2}]
    sizes, rng = {"U": users, "I": items, "d": 16}, np.random.default_rng(4)
    arrays = {
        key: rng.standard_normal([sizes[one] for one in shape], dtype=np.float32)
        for key, shape in _graph_layout(branch).items()
    }
    contents = make(users=users, items=items, columns=16)
    return replace(contents, architecture={"graph": branch}, branches={"graph": arrays}, precision=precision)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_tables_of_layers_have_fewer_bits_and_fold_in_nearly_alike(make: Make, precision: str) -> None:
    model, exact = assembled(deep(make, precision)), assembled(deep(make))
    kinds = {
        name: one["dtype"] for name, one in model.manifest["arrays"].items() if name.startswith("graph_")
    }
    tables = {"graph_initial", "graph_0_items", "graph_1_items"}
    assert {name for name, kind in kinds.items() if kind == precision} == tables
    assert {kind for name, kind in kinds.items() if name not in tables} == {"float32"}
    shared = []
    for n, user in enumerate(model.user_ids):
        new = [f"i{n % 120}", "i2"]
        for ours, theirs in (
            (model.recommend(user, 20, new=new), exact.recommend(user, 20, new=new)),
            (model.fold_in(new, 20), exact.fold_in(new, 20)),
        ):
            shared.append(len({one.item for one in ours} & {one.item for one in theirs}) / len(theirs))
    assert np.mean(shared) >= {"float16": 0.995, "int8": 0.95}[precision]


def test_dtypes_are_those_that_the_docstring_lists(make: Make, tmp_path: Path) -> None:
    layout = LAYOUT | {f"{b}_{key}": one for b in ("spectral", "item") for key, one in BRANCH_LAYOUT.items()}
    may = {"float32": {"float32", "float16", "int8"}, "int32": {"int32", "uint16"}, "int64": {"int64"}}
    used = set()
    for precision in PRECISIONS:
        write_artefact(tmp_path / precision, fused(make, precision))
        content = (tmp_path / precision / "weights.safetensors").read_bytes()
        for name, one in safetensors.numpy.load(content).items():
            if name.endswith("_scale"):
                assert (one.dtype, precision) == (np.float32, "int8")
            else:
                assert str(one.dtype) in may[layout[name][0]]
                used.add(str(one.dtype))
    assert used == {"float32", "float16", "int8", "int32", "uint16", "int64"}


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_the_number_of_nearest_users_is_exact(make: Make, precision: str) -> None:
    contents = make()
    branch: dict[str, Any] = {
        "item_shares": np.ones(len(contents.item_ids), np.float32),
        "user_shares": np.ones(len(contents.user_ids), np.float32),
        "nearest": np.array([3001, 2.7], np.float32),
    }
    contents = replace(contents, fusion={"user": 1.0}, branches={"user": branch}, precision=precision)
    (_, found), *_ = assembled(contents)._branches
    assert (found._nearest, found._power) == (3001, float(np.float32(2.7)))


def test_sizes(make: Make, tmp_path: Path) -> None:
    sizes = {}
    for precision in PRECISIONS:
        sizes[precision] = write_artefact(tmp_path / precision, fused(make, precision, 800, 900))
    arrays = safetensors.numpy.load((tmp_path / "float32" / "weights.safetensors").read_bytes())
    assert sizes["float32"] <= 1.15 * sum(one.nbytes for one in arrays.values())
    assert sizes["float16"] < 0.6 * sizes["float32"]
    assert sizes["int8"] < 0.4 * sizes["float32"]


def test_what_float16_cannot_hold_stays(make: Make) -> None:
    large = np.array([[1e5]], dtype=np.float32)
    assert narrowed({"dense": large}, "float16")["dense"].dtype == np.float32
    many = np.array([70_000], dtype=np.int32)
    assert narrowed({"seen_items": many}, "int8")["seen_items"].dtype == np.int32
    with pytest.raises(UserError, match="unknown precision 'int4'; expected one of float32, float16, int8"):
        write_artefact(Path("out"), replace(make(), precision="int4"))


def damaged(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    whole = {"dense": np.ones((2, 3), np.float32), "item_weights": np.ones(3, np.float32)}
    found = narrowed(whole | {"item_indptr": np.array([0, 2, 3])}, "int8")
    change(found)
    return found


DAMAGE: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda a: a.pop("dense_scale"), "dense of int8 must have rows, and dense_scale"),
    (lambda a: a.update(dense_scale=np.ones(3, np.float32)), r"dense_scale must be float32 \(2,\)"),
    (lambda a: a.update(dense_scale=np.ones(2)), r"dense_scale must be float32 \(2,\)"),
    (lambda a: a.update(dense=np.ones((1, 2, 3), np.int8)), "dense of int8 must have rows"),
    (lambda a: a.update(dense=np.array(3, np.int8)), "dense of int8 must have rows"),
    (lambda a: a.pop("item_indptr"), "the indptr of item_weights must be int64"),
    (lambda a: a.update(item_indptr=np.array([0, 2, 4])), "must rise from 0 to 3"),
    (lambda a: a.update(item_indptr=np.array([0, 4, 3])), "must rise from 0 to 3"),
    (lambda a: a.update(item_indptr=np.zeros(0, np.int64)), "must rise from 0 to 3"),
    (lambda a: a.update(item_weights_scale=np.ones(1, np.float32)), r"must be float32 \(2,\)"),
]


@pytest.mark.parametrize("case", range(len(DAMAGE)))
def test_damaged_scales_are_refused(case: int) -> None:
    change, match = DAMAGE[case]
    with pytest.raises(ArtefactError, match=match):
        _widened(damaged(change))
