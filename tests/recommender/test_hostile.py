"""Ten thousand damaged artefacts: each is refused with one line, or answered as its own numbers say.

Most are signed anew after the damage, as whoever means harm would; hashes alone find the others.
"""

import copy
import hashlib
import itertools
import json
import os
import struct
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array, random_array

from nas.recommender import ArtefactError, Recommender, recommender
from nas.recommender.contents import ArtefactContents
from nas.recommender.recommender import Ranking, manifest_sha256
from nas.recommender.writer import write_artefact

Files = dict[str, bytes]
Floats = NDArray[np.float64]
Make = Callable[..., ArtefactContents]
USERS, ITEMS, RANK, K = 7, 11, 2, 5
DEEP = {
    "hidden_size": 4,
    "layers": [{"aggregator": "lightgcn", "heads": 1}, {"aggregator": "gat", "heads": 2}],
    "skip": "residual",
    "readout": "mean",
    "activation": "tanh",
    "score": "dot",
}
DAMAGED_AT_RANDOM = 9_200
EXTREMES = [0, -1, 1, 127, 2**15, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]
JUNK = [None, True, 0, -1, 1e308, 10**30, "", "i1", "\ud800", "../x", [], [[]], {}, {"a": []}, [["t", ["g"]]]]


def all_contents(make: Make) -> list[ArtefactContents]:
    plain = make(users=USERS, items=ITEMS, columns=4)
    rng = np.random.default_rng(2)
    sparse = csr_array(random_array((ITEMS, ITEMS), density=0.4, rng=rng))
    item = {
        "indptr": sparse.indptr.astype(np.int64),
        "items": sparse.indices.astype(np.int32),
        "weights": sparse.data.astype(np.float32),
        "counts": rng.random(len(plain.seen_items), dtype=np.float32) + np.float32(0.5),
        "ages": rng.integers(0, 9, len(plain.seen_items), dtype=np.int32),
        "fade": np.array([0.3], dtype=np.float32),
    }
    low = {
        "left": rng.standard_normal((ITEMS, RANK), dtype=np.float32),
        "right": rng.standard_normal((RANK, ITEMS), dtype=np.float32),
    }
    shares = {
        "item_shares": rng.random(ITEMS, dtype=np.float32),
        "user_shares": rng.random(USERS, dtype=np.float32),
    }
    dense = {"dense": rng.standard_normal((ITEMS, ITEMS), dtype=np.float32)}
    fused = replace(
        plain,
        fusion={"graph": 1.0, "spectral": 0.5, "item": 0.7},
        branches={"spectral": dense | low, "item": item},
    )
    nearest = shares | {"nearest": np.array([2, 3], dtype=np.float32)}
    via = replace(
        plain,
        fusion={"spectral": 1.0, "user": 0.4},
        branches={"spectral": shares | low, "user": nearest},
    )
    deep = replace(
        plain,
        architecture={"graph": DEEP},
        branches={
            "graph": {
                "initial": rng.standard_normal((USERS, 4), dtype=np.float32),
                "0_items": rng.standard_normal((ITEMS, 4), dtype=np.float32),
                "1_items": rng.standard_normal((ITEMS, 4), dtype=np.float32),
                "1_weight": rng.standard_normal((4, 4), dtype=np.float32),
                **{
                    f"1_{name}": rng.standard_normal(4, dtype=np.float32)
                    for name in ("attention_source", "attention_target", "bias")
                },
            }
        },
    )
    both = replace(
        deep,
        fusion={"graph": 1.0, "item": 0.7},
        branches=dict(deep.branches) | {"item": item},
        precision="int8",
    )
    narrow = [replace(plain, precision="float16"), replace(fused, precision="int8")]
    return [plain, fused, via, *narrow, deep, both]


@pytest.fixture(scope="module")
def wholes(make: Make) -> Iterator[list[tuple[Path, Files]]]:
    # To replace a file on a disk ten thousand times takes longer than all else.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as parent:
        found = []
        for n, contents in enumerate(all_contents(make)):
            folder = Path(parent) / str(n)
            write_artefact(folder, contents)
            found.append((folder, {path.name: path.read_bytes() for path in folder.iterdir()}))
        yield found


def signed(files: Files, manifest: dict[str, Any]) -> Files:
    """The files with a manifest whose hashes are theirs."""
    manifest = copy.deepcopy(manifest)
    if isinstance(manifest.get("files"), dict):
        for name in manifest["files"].keys() & files.keys():
            data = files[name]
            manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["sha256"] = manifest_sha256(manifest)
    return files | {"manifest.json": json.dumps(manifest).encode()}


def stated(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    return {name: {"dtype": str(one.dtype), "shape": list(one.shape)} for name, one in arrays.items()}


def widened(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What the docstring says of fewer bits, in plain loops."""
    found = {}
    for name, one in arrays.items():
        if name.endswith("_scale"):
            continue
        wide = one.astype(np.float32) if one.dtype in (np.int8, np.float16) else one
        if one.dtype == np.int8:
            scale = arrays[f"{name}_scale"]
            if one.ndim == 1:
                scale = np.repeat(scale, np.diff(arrays[name.replace("weights", "indptr")]))
            wide = (wide.T * scale).T
        found[name] = wide.astype(np.float64) if wide.dtype == np.float32 else wide.astype(np.int64)
    return found


class Due:
    """What the bytes of an artefact say, by dense formulas."""

    def __init__(self, files: Files) -> None:
        manifest = json.loads(files["manifest.json"])
        arrays = safetensors.numpy.load(files["weights.safetensors"])
        self.arrays, self.fusion = widened(arrays), manifest.get("fusion", {"graph": 1.0})
        self.deep = "graph_initial" in self.arrays
        self.indptr, seen = self.arrays["seen_indptr"], self.arrays["seen_items"]
        self.histories = [seen[x:y] for x, y in itertools.pairwise(self.indptr)]
        self.had = np.zeros((len(self.histories), len(self.arrays["item_embeddings"])))
        for user, history in enumerate(self.histories):
            self.had[user, history] = 1

    def of_user(self, user: int) -> Floats:
        if not len(self.histories[user]):
            return self.arrays["popularity"]
        return self.scores(self.arrays["user_embeddings"][user], self.counted(user))

    def counted(self, user: int, new: int = 0) -> dict[str, Floats]:
        """How much each item counts in each branch, (I,), where so many are new."""
        part, found = slice(self.indptr[user], self.indptr[user + 1]), {}
        for name in self.fusion:
            found[name] = self.had[user].copy()
            if f"{name}_counts" in self.arrays:
                found[name][self.histories[user]] = self.arrays[f"{name}_counts"][part]
            if f"{name}_ages" in self.arrays:
                found[name][self.histories[user]] *= self.fading(
                    name, self.arrays[f"{name}_ages"][part] + new
                )
        return found

    def fading(self, name: str, ages: NDArray[np.int64]) -> Floats:
        return np.asarray(1 / (1 + ages * self.arrays.get(f"{name}_fade", np.zeros(1))))

    def later(self, user: int | None, new: list[int]) -> tuple[Floats, Floats]:
        """The embedding and the scores of a user, None for someone unknown, who has had new items, the latest last."""
        had = np.zeros(0, dtype=np.int64) if user is None else self.histories[user]
        history = np.union1d(had, new).astype(np.int64)
        fresh = np.array([item for item in new if item not in had], dtype=np.int64)
        counts = (
            {name: np.zeros(self.had.shape[1]) for name in self.fusion}
            if user is None
            else self.counted(user, len(fresh))
        )
        for name, own in counts.items():
            own[fresh] = self.fading(name, np.arange(len(fresh))[::-1])
        initial = self.estimate(history)
        if user is not None and len(had):
            known = self.arrays["graph_initial" if self.deep else "user_embeddings"][user]
            initial = known + initial - self.estimate(had)
        vector = self.final(initial, history) if self.deep else initial
        return vector, self.scores(vector, counts)

    def estimate(self, history: NDArray[np.int64]) -> Floats:
        return np.asarray(self.arrays["item_embeddings"][history].mean(axis=0) @ self.arrays["fold_in"])

    def final(self, own: Floats, history: NDArray[np.int64]) -> Floats:
        """What DEEP makes of an initial embedding: one layer of LightGCN, one of GAT."""
        a = self.arrays
        degree = np.maximum(a["popularity"][history], 1)
        first = sum(
            a["graph_0_items"][h] / np.sqrt(d * len(history)) for h, d in zip(history, degree, strict=True)
        )
        first, heads = (first + own) / 2, []
        for columns in (slice(0, 2), slice(2, 4)):
            source, target = (a[f"graph_1_attention_{end}"][columns] for end in ("source", "target"))
            own_value = first @ a["graph_1_weight"][:, columns]
            values = [*(a["graph_1_items"][history] @ a["graph_1_weight"][:, columns]), own_value]
            logits = np.array([value @ source + own_value @ target for value in values])
            logits = np.where(logits > 0, logits, 0.2 * logits)
            shares = np.exp(logits - logits.max())
            heads.append((shares[:, None] * values).sum(axis=0) / shares.sum())
        second = (np.tanh(np.concatenate(heads) + a["graph_1_bias"]) + first) / 2
        return np.asarray((own + first + second) / 3)

    def nearest(self, users: Floats, row: Floats, count: float, power: float) -> Floats:
        """What the users count of whom the nearest are asked, from what each would count."""
        users = np.where((self.had > row).any(axis=1), np.maximum(users, 0), 0)
        least = -np.sort(-users)[min(len(users), int(count)) - 1]
        kept = np.where(users >= least * (1 - 1e-5), users, 0)
        return np.asarray((kept / max(kept.max(), 1e-30)) ** power)

    def scores(self, vector: Floats, counts: dict[str, Floats]) -> Floats:
        """The scores of all items for an embedding and what counts in each branch, (I,)."""
        a, items = self.arrays, self.had.shape[1]
        total = np.zeros(items)
        for name, weight in self.fusion.items():
            if name == "graph":
                scores = a["item_embeddings"] @ vector
            else:
                row = counts[name]
                if f"{name}_dense" in a:
                    scores = row @ a[f"{name}_dense"]
                elif f"{name}_item_shares" in a:
                    share = a[f"{name}_item_shares"]
                    users = ((row * share) @ self.had.T) * a[f"{name}_user_shares"]
                    if f"{name}_nearest" in a:
                        scores = self.nearest(users, row, *a[f"{name}_nearest"]) @ self.had
                    else:
                        scores = (users @ self.had) * share
                else:
                    rows = np.repeat(np.arange(items), np.diff(a[f"{name}_indptr"]))
                    matrix = np.zeros((items, items))
                    np.add.at(matrix, (rows, a[f"{name}_items"]), a[f"{name}_weights"])
                    scores = row @ matrix
                if f"{name}_left" in a:
                    scores = scores + (row @ a[f"{name}_left"]) @ a[f"{name}_right"]
            if self.fusion.keys() != {"graph"}:
                deviation = scores.std()
                scores = scores * (weight / deviation if deviation > 1e-6 * abs(scores.mean()) else 0)
            total = total + scores
        return total


def agrees(model: Recommender, ranking: Ranking, due: Floats, left_out: NDArray[np.int64]) -> None:
    places = [model.item_ids.index(one.item) for one in ranking]
    assert len(set(places)) == len(places) == min(K, len(model.item_ids) - len(left_out))
    assert not set(places) & set(left_out.tolist())
    best = -np.sort(-np.delete(due, left_out))[:K]
    # Cancellation is judged by the largest number there is.
    close = 1e-4 * max(1.0, float(np.abs(due).max()))
    np.testing.assert_allclose([one.score for one in ranking], best, rtol=1e-4, atol=close)
    np.testing.assert_allclose(due[places], best, rtol=1e-4, atol=close)


def outcome(folder: Path, files: Files) -> str:
    """Load and ask; "refused" with one line, or "answered" rightly; anything else is a failure of the test."""
    message = ""
    try:
        model = Recommender.load(folder)
    except ArtefactError as error:
        message = str(error)
    if message:
        assert message.isprintable()
        return "refused"
    users, due = json.loads(files["users.json"]), Due(files)
    with np.errstate(all="ignore"):
        scores = [due.of_user(user) for user in range(len(users))]
    for found, ranking, history in zip(scores, model.recommend_many(users, K), due.histories, strict=True):
        agrees(model, ranking, found, history)
    # The later of the two is that of the lower place.
    new = [len(model.item_ids) - 1, 0][: len(model.item_ids)]
    ids = [model.item_ids[item] for item in new]
    for user in (None, len(users) - 1):
        had = np.array(new) if user is None else np.union1d(due.histories[user], new)
        if user is not None and len(had) == len(due.histories[user]):
            continue
        with np.errstate(all="ignore"):
            vector, found = due.later(user, new)
        try:
            ranking = model.fold_in(ids, K) if user is None else model.recommend(users[user], K, new=ids)
        except ArtefactError:
            assert not np.abs(vector).max() < 0.999 * recommender.LARGEST
            return "refused"
        agrees(model, ranking, found, np.unique(had))
    return "answered"


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        changed[int(rng.integers(len(changed)))] ^= int(rng.integers(1, 256))
    return bytes(changed)


def cut_or_grown(data: bytes, rng: np.random.Generator) -> bytes:
    return (
        data[: int(rng.integers(len(data)))]
        if rng.random() < 0.7
        else data + rng.bytes(int(rng.integers(1, 99)))
    )


def other_array(one: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    changed = one.copy()
    ways: list[Callable[[], NDArray[Any]]] = [
        lambda: one.astype(rng.choice(["f2", "f4", "f8", "i1", "u2", "i4", "i8", "?"])),
        lambda: one[:-1],
        lambda: one[None],
        lambda: one.reshape(-1),
        lambda: one.T,
        lambda: np.concatenate([one, one]),
        lambda: one[::-1],
        lambda: rng.permuted(changed),
        lambda: np.zeros((0, *one.shape[1:]), one.dtype),
        lambda: np.zeros((), one.dtype),
    ]
    if rng.random() < 0.4 and one.size:
        extremes = [np.nan, np.inf, -np.inf, 1e9, -1e9, 3e38, 1e-40] if one.dtype.kind == "f" else EXTREMES
        with np.errstate(over="ignore"):
            value = np.array(extremes[int(rng.integers(len(extremes)))]).astype(one.dtype, casting="unsafe")
        changed.flat[int(rng.integers(one.size))] = value
        return changed
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(ways[int(rng.integers(len(ways)))]())


def other_header(weights: bytes, rng: np.random.Generator) -> bytes:
    """Change what the file of arrays says of one of them, or of its own length."""
    (length,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8 : 8 + length])
    name = str(rng.choice(sorted(header)))
    one = header[name]
    ways: list[Callable[[], object]] = [
        lambda: one.update(
            dtype=str(rng.choice(["F16", "BF16", "F64", "I8", "U8", "BOOL", "I32", "F8_E4M3", "X"]))
        ),
        lambda: one.update(shape=[2**40, 2**40]),
        lambda: one.update(shape=[int(rng.integers(-2, 99))]),
        lambda: one.update(shape=one["shape"][::-1]),
        lambda: one.update(data_offsets=[0, 2**62]),
        lambda: one.update(data_offsets=[int(x) for x in rng.integers(-9, 999, 2)]),
        lambda: header.update({name: JUNK[int(rng.integers(len(JUNK)))]}),
        lambda: header.update({f"{name}2": header.pop(name)}),
        lambda: header.update({"a\nb\x1b": header.pop(name)}),
        lambda: header.pop(name),
    ]
    ways[int(rng.integers(len(ways)))]()
    text = json.dumps(header).encode()
    size = [len(text)] * 7 + [2**63, len(text) + 1, 0]
    return struct.pack("<Q", size[int(rng.integers(len(size)))]) + text + weights[8 + length :]


def other_json(value: Any, rng: np.random.Generator) -> Any:
    """Change one place of a JSON value."""
    junk = copy.deepcopy(JUNK[int(rng.integers(len(JUNK)))])
    if rng.random() < 0.3 or not isinstance(value, dict | list) or not value:
        return junk
    value = copy.copy(value)
    key = int(rng.integers(len(value))) if isinstance(value, list) else str(rng.choice(sorted(value)))
    if (chance := rng.random()) < 0.2:
        del value[key]
    elif isinstance(value, list) and chance < 0.4:
        value.append(value[key])
    else:
        value[key] = other_json(value[key], rng)
    return value


def damaged(whole: Files, rng: np.random.Generator) -> Files:
    files, manifest = dict(whole), json.loads(whole["manifest.json"])
    chance, name = rng.random(), str(rng.choice(sorted(whole)))
    if chance < 0.1:
        return files | {name: (flipped if rng.random() < 0.5 else cut_or_grown)(whole[name], rng)}
    weights = whole["weights.safetensors"]
    if chance < 0.2:
        changed = json.loads(whole["manifest.json"])
        for _ in range(int(rng.integers(1, 3))):
            changed = other_json(changed, rng)
        return (
            signed(files, changed)
            if isinstance(changed, dict)
            else files | {"manifest.json": json.dumps(changed).encode()}
        )
    if chance < 0.4:
        name = str(rng.choice(["users.json", "items.json", "titles.json"]))
        files[name] = json.dumps(other_json(json.loads(whole[name]), rng)).encode()
    elif chance < 0.5:
        name = str(rng.choice(sorted(whole.keys() - {"manifest.json"})))
        files[name] = (flipped if rng.random() < 0.5 else cut_or_grown)(whole[name], rng)
    elif chance < 0.6:
        files["weights.safetensors"] = other_header(weights, rng)
    elif chance < 0.75:
        (length,) = struct.unpack("<Q", weights[:8])
        files["weights.safetensors"] = weights[: 8 + length] + flipped(weights[8 + length :], rng)
    else:
        arrays = safetensors.numpy.load(weights)
        one, other = (str(name) for name in rng.choice(sorted(arrays), 2))
        if rng.random() < 0.1:
            arrays[one], arrays[other] = arrays[other], arrays[one]
        else:
            arrays[one] = other_array(arrays[one], rng)
        files["weights.safetensors"] = safetensors.numpy.save(arrays)
        manifest["arrays"] = stated(arrays)
    return signed(files, manifest)


def written(folder: Path, whole: Files, files: Files) -> None:
    """Put the files in the place of those that differ."""
    for name, data in files.items():
        if data != whole[name]:
            (folder / name).write_bytes(data)


@pytest.mark.parametrize("part", range(4))
def test_damage_at_random_is_refused_or_answered_rightly(wholes: list[tuple[Path, Files]], part: int) -> None:
    rng, outcomes = np.random.default_rng(part), list[str]()
    for n in range(DAMAGED_AT_RANDOM // 4):
        folder, whole = wholes[n % len(wholes)]
        files = damaged(whole, rng)
        written(folder, whole, files)
        outcomes.append(outcome(folder, files))
        written(folder, files, whole)
    # Both happen often, or the damage is not the one that is meant.
    assert min(outcomes.count("refused"), outcomes.count("answered")) > len(outcomes) / 10


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=400)
@given(
    key=st.sampled_from(["files", "fusion", "arrays", "metrics", "data", "precision", "format_version"]),
    value=json_values,
)
def test_any_value_in_the_manifest_is_refused_or_says_nothing(
    wholes: list[tuple[Path, Files]], key: str, value: Any
) -> None:
    folder, whole = wholes[1]
    files = signed(whole, json.loads(whole["manifest.json"]) | {key: value})
    written(folder, whole, files)
    try:
        assert outcome(folder, files) == "refused" or key in ("metrics", "data", "precision", "fusion")
    finally:
        written(folder, files, whole)


@settings(max_examples=400)
@given(name=st.sampled_from(["users.json", "items.json", "titles.json"]), value=json_values)
def test_any_value_in_a_list_is_refused(wholes: list[tuple[Path, Files]], name: str, value: Any) -> None:
    folder, whole = wholes[0]
    files = signed(whole | {name: json.dumps(value).encode()}, json.loads(whole["manifest.json"]))
    written(folder, whole, files)
    try:
        assert outcome(folder, files) == "refused" or (name, value) == ("titles.json", None)
    finally:
        written(folder, files, whole)


@pytest.mark.parametrize("name", ["users.json", "items.json", "titles.json"])
@pytest.mark.parametrize(
    "text", ["[" * 200_000, "[" * 900 + "]" * 900, '{"a":' * 50_000, "1" * 50_000, "\xff"]
)
def test_deep_and_broken_json_is_refused(wholes: list[tuple[Path, Files]], name: str, text: str) -> None:
    folder, whole = wholes[0]
    files = signed(whole | {name: text.encode("latin-1")}, json.loads(whole["manifest.json"]))
    written(folder, whole, files)
    try:
        assert outcome(folder, files) == "refused"
    finally:
        written(folder, files, whole)


def test_no_code_of_a_folder_is_run_by_loading_it(wholes: list[tuple[Path, Files]], tmp_path: Path) -> None:
    folder, whole = wholes[0]
    files = signed(
        whole | {"recommender.py": f"open({str(tmp_path / 'ran')!r}, 'w')".encode()},
        json.loads(whole["manifest.json"]),
    )
    written(folder, whole, files)
    try:
        assert outcome(folder, files) == "answered"
    finally:
        written(folder, files, whole)
    assert not list(tmp_path.iterdir())


def greedy(whole: Files) -> Iterator[Files]:
    """Folders whose parts grow the most when they are read."""
    manifest, size = json.loads(whole["manifest.json"]), 20_000
    for text in ("[],", "{},", '"",', "1.5,", '["",[]],', '["t",["g"]],', '["😀",[]],'):
        data = f"[{text * size}{text[:-1]}]".encode()
        for name in ("users.json", "titles.json"):
            yield signed(whole | {name: data}, manifest)
    for count in (size, 3 * size):
        ids = json.dumps([f"{n:x}" for n in range(count)], separators=(",", ":")).encode()
        yield signed(whole | {"users.json": ids}, manifest)
        arrays = safetensors.numpy.load(whole["weights.safetensors"])
        arrays["item_embeddings"] = np.ones((count, 1), np.int8)
        arrays["item_embeddings_scale"] = np.ones(count, np.float32)
        arrays["user_embeddings"] = np.ones((USERS, 1), np.float32)
        arrays["fold_in"], arrays["popularity"] = np.ones((1, 1), np.float32), np.ones(count, np.float16)
        weights = safetensors.numpy.save(arrays)
        titles = json.dumps([["t", []]] * count).encode()
        yield signed(
            whole | {"items.json": ids, "weights.safetensors": weights, "titles.json": titles},
            manifest | {"arrays": stated(arrays)},
        )
    for padding in (b" ", b'"', b"\0"):
        header = b"{" + padding * (1 << 20)
        yield signed(whole | {"weights.safetensors": struct.pack("<Q", len(header)) + header}, manifest)
        yield signed(whole | {"weights.safetensors": struct.pack("<Q", 2**50) + header}, manifest)


def greedy_layers(whole: Files) -> Iterator[Files]:
    """Folders whose graph networks grow the most when they are asked."""
    manifest, size = json.loads(whole["manifest.json"]), 4
    several = [[{"aggregator": name, "heads": size}] for name in ("gat", "gatv2")]
    for layers, count in itertools.product(
        [*several, [{"aggregator": "identity", "heads": 1}] * 16], (500, 4_000)
    ):
        arrays = safetensors.numpy.load(whole["weights.safetensors"])
        kept = ("user_embeddings", "fold_in")
        arrays = {name: one for name, one in arrays.items() if name in kept}
        layout = recommender._graph_layout(DEEP | {"layers": layers})
        sizes = {"U": USERS, "I": count, "d": size}
        for name, shape in {
            **{f"graph_{key}": one for key, one in layout.items()},
            "item_embeddings": "Id",
        }.items():
            arrays[name] = np.ones([sizes[one] for one in shape], np.int8 if shape[0] == "I" else np.float32)
            if shape[0] == "I":
                arrays[f"{name}_scale"] = np.ones(count, np.float32)
        arrays["popularity"] = np.ones(count, np.float16)
        # Each but the last user has half of the items.
        arrays["seen_items"] = np.tile(np.arange(0, count, 2, dtype=np.uint16), USERS - 1)
        arrays["seen_indptr"] = np.minimum(np.arange(USERS + 1), USERS - 1) * ((count + 1) // 2)
        ids = json.dumps([f"{n:x}" for n in range(count)], separators=(",", ":")).encode()
        made = whole | {
            "items.json": ids,
            "weights.safetensors": safetensors.numpy.save(arrays),
            "titles.json": b"null",
        }
        graph = {"graph": DEEP | {"layers": layers}}
        yield signed(made, manifest | {"arrays": stated(arrays), "architecture": graph})


def test_memory_of_layers_is_bounded_too(wholes: list[tuple[Path, Files]]) -> None:
    folder, whole = wholes[5]
    for files in greedy_layers(whole):
        written(folder, whole, files)
        try:
            for ask in (
                lambda model: model.recommend(model.user_ids[0], 3, new=model.item_ids[:2]),
                lambda model: model.fold_in(model.item_ids, 3),
                lambda model: model.explain(model.user_ids[0], model.item_ids[0]),
            ):
                tracemalloc.start()
                ask(Recommender.load(folder))
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert peak <= 64 * sum(map(len, files.values())) + 16 * 2**20
        finally:
            tracemalloc.stop()
            written(folder, files, whole)


def test_memory_is_bounded_by_the_size_of_the_folder(wholes: list[tuple[Path, Files]]) -> None:
    folder, whole = wholes[0]
    answered = 0
    for files in greedy(whole):
        written(folder, whole, files)
        tracemalloc.start()
        try:
            model = Recommender.load(folder)
            model.recommend_many(model.user_ids[:1], 3)
            answered += 1
        except ArtefactError:
            pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            written(folder, files, whole)
        assert peak <= 64 * sum(map(len, files.values())) + 16 * 2**20
    assert answered == 2
