"""`model.onnx`: the scores and lists of a recommender's users, for any ONNX runtime.

Inputs: user (B,) int64, places in users.json; history (B, I) float32, not 0 where the user has had the item of
items.json, all of them, those of the training too; k (1,) int64. Outputs: items (B, min(k, I)) int64, best first, equal
scores by place, without the history; scores (B, min(k, I)) float32; all_scores (B, I) float32, with the history. Where
fewer than k items are left, the places after them have the item -1 and the score -inf.

The scores are those of `Recommender.recommend`, computed in float32: by every branch for users with a history at
training, the popularity for others. An item had since the training counts 1 in the branches that score by the history, and
makes none of the others older; the embedding of the graph branch stays as trained, where `recommend(new=...)` moves it.
Somebody new has no place here.

No matrix of items squared is formed: sparse weights and those of A X' B X A are multiplied entry by entry, which takes
some 100 bytes an entry, and a user of A X' B X A can reach all N interactions.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import UserError
from nas.recommender.addition import Addition, library
from nas.recommender.contents import first_with_history
from nas.recommender.onnx_check import compare
from nas.recommender.onnx_graph import OPSET, OnnxGraph
from nas.recommender.recommender import ALIKE, Recommender

NAME, PACKAGES = "model.onnx", "onnx onnxruntime"
MOST_BYTES = 2**31 - 2**20  # protobuf's files end at 2 GB; the rest is for nodes
Arrays = Mapping[str, NDArray[Any]]


def onnx_addition(model: Recommender, arrays: Arrays) -> Addition:
    """Return the model file, once onnxruntime, where it is installed, has been found to answer as `model` does.

    Raises:
        UserError: `onnx` is not installed, or the file would be larger than the format allows.
        RuntimeError: onnxruntime answers otherwise.
    """
    content = onnx_model(model, arrays)
    compare(model, arrays, content)
    return Addition(NAME, content, _readme(model, arrays))


def onnx_model(model: Recommender, arrays: Arrays) -> bytes:
    """Return the file's bytes, equal for equal arrays; for UserError see `onnx_addition`."""
    fusion = model.manifest["fusion"]
    users, items = len(model.user_ids), len(model.item_ids)
    _check_size({name: one for name, one in arrays.items() if not name.startswith("graph_")})
    g = OnnxGraph(library("onnx", "--onnx", PACKAGES))
    # A negative place would count from the end; this one is refused by the runtime.
    negative = g.op("Less", "user", g.constant(np.int64(0)))
    user = g.op("Where", negative, g.constant(np.int64(users)), "user")
    had = g.op("Cast", "history", to=g.types.BOOL)
    history = g.op("Cast", had, to=g.types.FLOAT)
    parts = []
    for name, weight in fusion.items():
        if name == "graph":
            vectors = g.op("Gather", g.widened(arrays, "user_embeddings"), user)
            table = g.op("Transpose", g.widened(arrays, "item_embeddings"))
            scores = g.op("MatMul", vectors, table)
        else:
            branch = {key.removeprefix(f"{name}_"): key for key in arrays if key.startswith(f"{name}_")}
            scores = _history_scores(g, arrays, branch, user, history, items)
        parts.append(scores if [*fusion] == ["graph"] else _standardised(g, scores, weight))
    fused = parts[0]
    for one in parts[1:]:
        fused = g.op("Add", fused, one)
    begins = g.widened(arrays, "seen_indptr")
    ends = g.op("Gather", begins, g.op("Add", user, g.constant(np.int64(1))))
    untrained = g.op("Equal", g.op("Gather", begins, user), ends)
    untrained = g.op("Unsqueeze", untrained, g.constant(np.array([1])))
    g.op("Where", untrained, g.widened(arrays, "popularity"), fused, into="all_scores")
    none = g.constant(np.float32(-np.inf))
    left = g.op("Where", had, none, "all_scores")
    k = g.op("Min", "k", g.constant(np.array([items])))
    _, best = g.ops("TopK", left, k, into=("scores", ""), axis=1)
    g.op("Where", g.op("Equal", "scores", none), g.constant(np.int64(-1)), best, into="items")
    return g.serialised(
        {"user": ("int64", ["B"]), "history": ("float32", ["B", items]), "k": ("int64", [1])},
        {
            "items": ("int64", ["B", "K"]),
            "scores": ("float32", ["B", "K"]),
            "all_scores": ("float32", ["B", items]),
        },
        __doc__ or "",
    )


def _history_scores(
    g: OnnxGraph, arrays: Arrays, branch: Mapping[str, str], user: str, history: str, items: int
) -> str:
    """Return the scores (B, I) of a branch whose arrays are called `branch[key]`, key by key of BRANCH_LAYOUT."""
    had = history
    if "counts" in branch or "ages" in branch:
        places, of = g.places(g.widened(arrays, "seen_indptr"), user)
        at = g.at(of, g.op("Gather", g.widened(arrays, "seen_items"), places), items)
        history = g.op("Mul", history, g.scattered(user, items, 1.0, at, _counts(g, arrays, branch, places)))
    if "dense" in branch:
        scores = g.op("MatMul", history, g.widened(arrays, branch["dense"]))
    elif "indptr" in branch:
        indptr, columns, weights = (g.widened(arrays, branch[key]) for key in ("indptr", "items", "weights"))
        scaled = history
        if "weights_scale" in branch:
            scaled = g.op("Mul", history, g.widened(arrays, branch["weights_scale"]))
        scores = g.sparse_product(scaled, indptr, columns, items, weights)
    else:
        scores = _via_users(g, arrays, branch, had, history, items)
    if "left" in branch:
        left, right = (g.widened(arrays, branch[key]) for key in ("left", "right"))
        scores = g.op("Add", scores, g.op("MatMul", g.op("MatMul", history, left), right))
    return scores


def _counts(g: OnnxGraph, arrays: Arrays, branch: Mapping[str, str], places: str) -> str:
    """Return how much the interactions of these places (T,) count, (T,)."""
    found = [g.op("Gather", g.widened(arrays, branch["counts"]), places)] if "counts" in branch else []
    if "ages" in branch:
        ages = g.op("Cast", g.op("Gather", g.widened(arrays, branch["ages"]), places), to=g.types.FLOAT)
        steps = g.op("Mul", ages, g.widened(arrays, branch["fade"]))
        found.append(g.op("Reciprocal", g.op("Add", steps, g.constant(np.float32(1)))))
    return g.op("Mul", *found) if len(found) == 2 else found[0]


def _via_users(
    g: OnnxGraph, arrays: Arrays, branch: Mapping[str, str], had: str, history: str, items: int
) -> str:
    """Return h A X' B X A, or what `nearest` makes of it, (B, I); `had` (B, I) is 1 where `history` counts anything."""
    indptr, seen = arrays["seen_indptr"], arrays["seen_items"]
    of_item, of_user = (g.widened(arrays, branch[f"{kind}_shares"]) for kind in ("item", "user"))
    users = len(indptr) - 1
    owners = np.repeat(np.arange(users), np.diff(indptr))[np.argsort(seen, kind="stable")]
    begins = np.concatenate([[0], np.cumsum(np.bincount(seen, minlength=items))])
    held: Arrays = {"owners_indptr": begins.astype(np.int64), "owners": owners.astype(np.int32)}
    by_item = g.widened(held, "owners_indptr"), g.widened(held, "owners")
    by_user = g.widened(arrays, "seen_indptr"), g.widened(arrays, "seen_items")
    reached = g.op("Mul", g.sparse_product(g.op("Mul", history, of_item), *by_item, users), of_user)
    if "nearest" not in branch:
        return g.op("Mul", g.sparse_product(reached, *by_user, items), of_item)
    nothing_new = g.op(
        "GreaterOrEqual",
        g.sparse_product(had, *by_item, users),
        g.constant(np.diff(indptr).astype(np.float32), "sizes"),
    )
    return g.sparse_product(_shares(g, arrays[branch["nearest"]], reached, nothing_new), *by_user, items)


def _shares(g: OnnxGraph, nearest: NDArray[np.float32], reached: str, nothing_new: str) -> str:
    """Return what each user counts who is `reached` (B, U) so far, as `HistoryBranch._shares` of the recommender."""
    zero, count = g.constant(np.float32(0)), g.constant(np.array([int(nearest[0])]))
    reached = g.op("Where", nothing_new, zero, g.op("Max", reached, zero))
    users = g.op("Shape", reached, start=1, end=2)
    largest, _ = g.ops("TopK", reached, g.op("Min", count, users), into=("", ""), axis=1)
    axis = g.constant(np.array([1]))
    bound = g.op("Mul", g.op("ReduceMin", largest, axis), g.constant(np.float32(ALIKE)))
    near = g.op("And", g.op("Greater", reached, zero), g.op("GreaterOrEqual", reached, bound))
    first = g.op("ReduceMax", largest, axis)
    first = g.op("Where", g.op("Greater", first, zero), first, g.constant(np.float32(1)))
    shares = g.op("Pow", g.op("Div", reached, first), g.constant(np.float32(nearest[1])))
    return g.op("Where", near, shares, zero)


def _standardised(g: OnnxGraph, scores: str, weight: float) -> str:
    """Return weight * scores (B, I) over their standard deviation, 0 where a user's are all alike."""
    axis, one = g.constant(np.array([1])), g.constant(np.float64(1))
    # In float32, onnxruntime's sum over 40,000 items is off by 6e-5.
    wide = g.op("Cast", scores, to=g.types.DOUBLE)
    mean = g.op("ReduceMean", wide, axis)
    centred = g.op("Sub", wide, mean)
    deviation = g.op("Sqrt", g.op("ReduceMean", g.op("Mul", centred, centred), axis))
    # As in `_scale` of the recommender.
    alike = g.op("LessOrEqual", deviation, g.op("Mul", g.op("Abs", mean), g.constant(np.float64(1e-6))))
    shares = g.op("Div", g.constant(np.float64(weight)), g.op("Where", alike, one, deviation))
    scale = g.op("Where", alike, g.constant(np.float64(0)), shares)
    return g.op("Mul", scores, g.op("Cast", scale, to=g.types.FLOAT))


def _check_size(arrays: Arrays) -> None:
    size, largest = (
        sum(one.nbytes for one in arrays.values()),
        max(arrays, key=lambda name: arrays[name].nbytes),
    )
    if size > MOST_BYTES:
        raise UserError(
            f"--onnx: model.onnx would hold {size:,} bytes, {arrays[largest].nbytes:,} of them {largest} "
            f"{arrays[largest].shape}, but the format allows {MOST_BYTES:,}; --precision float16 or int8 needs fewer"
        )


def _readme(model: Recommender, arrays: Arrays) -> str:
    user_id = model.user_ids[first_with_history(arrays["seen_indptr"])]
    return f"""
## From other runtimes

`model.onnx` gives the same scores and lists to any ONNX runtime (opset {OPSET}; here `pip install onnxruntime`):

```python
import json
from pathlib import Path

import numpy as np
import onnxruntime
import safetensors.numpy

users, items = (json.loads(Path(f"{{name}}.json").read_text("utf-8")) for name in ("users", "items"))
arrays = safetensors.numpy.load_file("weights.safetensors")
user = users.index({user_id!r})
begin, end = arrays["seen_indptr"][[user, user + 1]]
history = np.zeros((1, len(items)), np.float32)
history[0, arrays["seen_items"][begin:end]] = 1  # and what the user has had since

session = onnxruntime.InferenceSession("model.onnx")
asked = {{"user": np.array([user]), "history": history, "k": np.array([3])}}
best, scores, all_scores = session.run(["items", "scores", "all_scores"], asked)
for item, score in zip(best[0], scores[0]):
    print(items[item], score)
```

| | type | what it is |
|---|---|---|
| `user` | int64 (B,) | places in `users.json` |
| `history` | float32 (B, {len(model.item_ids)}) | not 0 where the user has had the item of `items.json`, the history of the training included |
| `k` | int64 (1,) | how many to list |
| `items` | int64 (B, k) | places in `items.json`, best first, none of the history; -1 where too few are left |
| `scores` | float32 (B, k) | theirs; -inf where too few are left |
| `all_scores` | float32 (B, {len(model.item_ids)}) | of every item, those of the history too |

Computed in float32, scores are equal to some 1e-6 of the largest. It knows the users of the training; somebody new, and how new items
move a graph embedding, is for `recommender.py`. {_later(arrays)}A user without a history at
the training gets what is popular, whatever `history` holds.
"""


def _later(arrays: Arrays) -> str:
    if not any(name.endswith("_ages") for name in arrays):
        return ""
    return (
        "Items that a user has had since\nall count in full here and make none of the others older; "
        "`recommender.py` counts the latest most.\n"
    )
