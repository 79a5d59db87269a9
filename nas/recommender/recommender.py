"""A recommender that runs by itself: this file, numpy, safetensors and the folder of an artefact.

`python recommender.py --help` lists its commands. Each prints JSON lines; the exit code is 0, or 2 after one line on
standard error if the input is wrong. The folder, format version 4:

    manifest.json        format version, architecture, recipe, metrics, data, fusion, sha256 and size of each other
                         file, dtype and shape of each array, and `sha256`, of the manifest itself
    weights.safetensors  the arrays of LAYOUT below, for a graph branch with layers those of `_graph_layout`, and for each
                         other branch of the fusion those of BRANCH_LAYOUT
    users.json           ids as text; the position is the index
    items.json           likewise
    titles.json          optional: [title, [genre, ...]] of each item, "" where unknown
    recommender.py, README.md

A score is the sum over the branches of the fusion: the branch's weight, times its score, over the standard deviation of
its scores of this user. "graph" scores by embeddings; "spectral" and "item" score a history h by h W + (h L) R. W is kept
whole, as sparse rows, or as A X' B X A, with diagonal A and B, and X the histories of all users (1 where a user had an
item). Where "graph" is the only branch, its scores are taken as they are.

Whoever is new, or has had new items since the training, gets the embedding that the graph network itself computes from
the items had: see `GraphNetwork`.
"""

import argparse
import hashlib
import json
import operator
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

FORMAT_VERSION = 4
LAYOUT = {  # U users, I items, D columns, N interactions, d hidden size (D, where there is no graph branch)
    "user_embeddings": ("float32", ("U", "D")),
    "item_embeddings": ("float32", ("I", "D")),  # a user's row times an item's row is the score
    "seen_indptr": ("int64", ("U+1",)),
    "seen_items": ("int32", ("N",)),  # [indptr[u]:indptr[u + 1]] is the history of u, increasing
    "popularity": ("float32", ("I",)),  # interactions of each item; ranks for users without history
    "fold_in": ("float32", ("D", "d")),  # mean of a history's item embeddings -> initial user embedding
}
BRANCH_LAYOUT = {  # W as compressed sparse rows, or whole, or the diagonals of A and B; E entries, r rank
    "dense": ("float32", ("I", "I")),
    "indptr": ("int64", ("I+1",)),
    "items": ("int32", ("E",)),
    "weights": ("float32", ("E",)),
    "item_shares": ("float32", ("I",)),  # A
    "user_shares": ("float32", ("U",)),  # B
    "left": ("float32", ("I", "r")),  # L
    "right": ("float32", ("r", "I")),  # R
    "counts": ("float32", ("N",)),  # how much each item of `seen_items` counts; without it, 1
}
LARGEST = 1e9  # so that the product of two embeddings stays within float32
REQUIRED = {"weights.safetensors", "users.json", "items.json"}
COMMANDS = {
    "recommend": (["user"], "the best items for a user"),
    "similar-items": (["item"], "the items most like an item"),
    "similar-users": (["user"], "the users most like a user"),
    "fold-in": (["history"], "the best items for someone new: ID,ID,... or a JSON list; may be repeated"),
    "explain": (["user", "item"], "what each item of the user's history adds to an item's score"),
}
SCORES_PER_BLOCK, ROWS_PER_BLOCK = 1 << 24, 1 << 16


class ArtefactError(ValueError):
    """The artefact is damaged, incomplete or of another format; one line says what is wrong."""


class InputError(ValueError):
    """An argument is wrong (`k` below 1, one text where a list of ids is due); one line says what."""


class UnknownId(KeyError):
    """The artefact knows no such user or item; one line names all the unknown ids and, for one, its nearest."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the quoted repr


class Recommendation(NamedTuple):
    """An item of a ranking; with `fallback` "popularity", the score is its number of interactions."""

    item: str
    title: str | None  # None where unknown
    genres: tuple[str, ...]
    score: float
    fallback: str | None = None


class SimilarUser(NamedTuple):
    """A user, and the cosine of the two users' embeddings."""

    user: str
    score: float


class Contribution(NamedTuple):
    """What one item of the history adds to a score."""

    item: str
    title: str | None
    contribution: float


class Explanation(NamedTuple):
    """Why an item has its score: the sum of all `contributions` (largest first), plus `personal`, is `score`."""

    user: str
    item: str
    title: str | None
    score: float
    personal: float  # what the user's initial embedding holds beyond the history; without one, the item's popularity
    seen: bool  # the item is itself in the history
    contributions: tuple[Contribution, ...]
    fallback: str | None = None


Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]
Tensors = dict[str, Floats]
Ranking = list[Recommendation]
Counted = tuple[NDArray[np.int32], Sequence[Floats]]  # a history, and how much its items count in each branch


class HistoryBranch:
    """A branch that scores by the history alone."""

    def __init__(self, name: str, arrays: Arrays, items: int) -> None:
        """Take the arrays of BRANCH_LAYOUT whose names begin with that of the branch, and the histories."""
        none = np.zeros(0, dtype=np.float32)
        self._of_item, self._of_user = (arrays.get(f"{name}_{key}_shares", none) for key in ("item", "user"))
        self._had = arrays["seen_indptr"], arrays["seen_items"]
        self.counts, self._dense = arrays.get(f"{name}_counts"), arrays.get(f"{name}_dense")
        sparse = [arrays.get(f"{name}_{key}", none) for key in ("indptr", "items", "weights")]
        self._indptr, self._items, self._weights = sparse
        self._left = arrays.get(f"{name}_left", np.zeros((items, 0)))
        self._right = arrays.get(f"{name}_right", np.zeros((0, items)))

    def scores(self, history: NDArray[np.int32], counts: Floats) -> Floats:
        """Return the score of every item, (I,), for the items of a history that count so much."""
        scores = (counts @ self._left[history]) @ self._right.astype(np.float64)
        if self._dense is not None:
            return np.asarray(scores + counts @ self._dense[history].astype(np.float64))
        if len(self._of_item):
            return scores + self._via_users(history, counts)
        entries, sizes = self._entries(history)
        values = self._weights[entries] * np.repeat(counts, sizes)
        return np.asarray(scores + np.bincount(self._items[entries], values, minlength=len(scores)))

    def parts(self, history: NDArray[np.int32], counts: Floats, item: int) -> Floats:
        """Return what each item of the history adds to the score of one item, (H,)."""
        parts = self._left[history] @ self._right[:, item].astype(np.float64)
        if self._dense is not None:
            return np.asarray(counts * (parts + self._dense[history, item]))
        if len(self._of_item):
            return np.asarray(counts * (parts + self._parts_via_users(history, item)))
        entries, sizes = self._entries(history)
        own = np.where(self._items[entries] == item, self._weights[entries], 0.0)
        return np.asarray(
            counts
            * (parts + np.bincount(np.repeat(np.arange(len(history)), sizes), own, minlength=len(history)))
        )

    def _via_users(self, history: NDArray[np.int32], counts: Floats) -> Floats:
        """Return h A X' B X A for the items of a history that count so much."""
        begins, users = self._owners
        places, sizes = _places(begins, history)
        given = np.repeat(counts * self._of_item[history], sizes)
        reached = np.bincount(users[places], given, len(self._of_user)) * self._of_user
        active = np.flatnonzero(reached)
        indptr, items = self._had
        places, sizes = _places(indptr, active)
        found = np.bincount(items[places], np.repeat(reached[active], sizes), len(self._of_item))
        return np.asarray(found * self._of_item)

    def _parts_via_users(self, history: NDArray[np.int32], item: int) -> Floats:
        """Return the entries of A X' B X A in the rows of a history and the column of one item."""
        begins, users = self._owners
        owners = users[begins[item] : begins[item + 1]]
        shared = np.zeros(len(self._of_user))
        shared[owners] = self._of_user[owners]
        places, sizes = _places(begins, history)
        found = np.bincount(np.repeat(np.arange(len(history)), sizes), shared[users[places]], len(history))
        return np.asarray(found * self._of_item[history] * float(self._of_item[item]))

    @cached_property
    def _owners(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The users of each item: (I + 1,) where they begin, and (N,) who they are."""
        indptr, items = self._had
        owners = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        counts = np.bincount(items, minlength=len(self._left))
        return np.concatenate([[0], np.cumsum(counts)]), owners[np.argsort(items, kind="stable")]

    def _entries(self, history: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places of all entries in the rows of a history, and how many each row has."""
        return _places(self._indptr, history)


class Near(NamedTuple):
    """The items of a history, as one layer sees them, for B versions of their user."""

    states: Floats  # (H, d), what goes into the layer, as at training
    degree: Floats  # (H, 1), how many users had the item at training
    kept: Floats  # (B, H), 0 where a version goes without what an item says; the item counts as had even so

    @property
    def symmetric(self) -> Floats:
        """Their sum, each over the roots of both degrees, (B, d)."""
        shares = 1 / np.sqrt(np.maximum(self.degree, 1) * len(self.states))
        return np.asarray(self.kept @ (self.states * shares))

    @property
    def mean(self) -> Floats:
        """(B, d)."""
        return np.asarray(self.kept @ self.states / len(self.states))

    def attended(self, values: Floats, own: Floats, logits: Floats) -> Floats:
        """Sum values (H, h, c) and own ones (B, h, c) by the softmax of logits (B, H + 1, h), the own last: (B, d)."""
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        of_items = (shares[:, :-1] * self.kept[..., None]).transpose(2, 0, 1)
        given = (of_items @ values.transpose(1, 0, 2)).transpose(1, 0, 2)
        return np.asarray(given + shares[:, -1, :, None] * own).reshape(len(own), -1)


def _gcn(x: Floats, near: Near, t: Tensors, _heads: int) -> Floats:
    root = np.sqrt(len(near.states) + 1)
    summed = near.kept @ (near.states / np.sqrt(near.degree + 1)) + x / root
    return np.asarray(summed / root @ t["weight"] + t["bias"])


def _sage(x: Floats, near: Near, t: Tensors, _heads: int) -> Floats:
    return near.mean @ t["weight"] + x @ t["weight_self"] + t["bias"]


def _gin(x: Floats, near: Near, t: Tensors, _heads: int) -> Floats:
    hidden = (near.kept @ near.states + (1 + t["eps"]) * x) @ t["weight_in"] + t["bias_in"]
    return np.maximum(hidden, 0) @ t["weight_out"] + t["bias_out"]


def _ngcf(x: Floats, near: Near, t: Tensors, _heads: int) -> Floats:
    neighbours = near.symmetric
    return (neighbours + x) @ t["weight_sum"] + (neighbours * x) @ t["weight_product"]


def _gat(x: Floats, near: Near, t: Tensors, heads: int) -> Floats:
    values, own = (_by_head(states @ t["weight"], heads) for states in (near.states, x))
    source, target = (t[f"attention_{end}"].reshape(heads, -1) for end in ("source", "target"))
    given = np.broadcast_to((values * source).sum(2), (len(x), len(values), heads))
    logits = np.concatenate([given, (own * source).sum(2)[:, None]], axis=1)
    return near.attended(values, own, _leaky(logits + (own * target).sum(2)[:, None])) + t["bias"]


def _gatv2(x: Floats, near: Near, t: Tensors, heads: int) -> Floats:
    values, own = (
        _by_head(states @ t["weight_source"] + t["bias_source"], heads) for states in (near.states, x)
    )
    targets = _by_head(x @ t["weight_target"] + t["bias_target"], heads)
    attention = t["attention"].reshape(heads, -1)
    # One version at a time: a number for each version, item and column would not stay in the cache.
    logits = [
        np.einsum("nhc,hc->nh", _leaky(np.concatenate([values, one[None]]) + target), attention)
        for one, target in zip(own, targets, strict=True)
    ]
    return near.attended(values, own, np.stack(logits)) + t["bias"]


def _by_head(x: Floats, heads: int) -> Floats:
    return x.reshape(len(x), heads, -1)


def _leaky(x: Floats) -> Floats:
    return np.maximum(x, 0.2 * x)


AGGREGATORS: dict[str, tuple[Callable[[Floats, Near, Tensors, int], Floats], dict[str, str]]] = {
    # What a layer makes of its user (B, d) and the history; the shapes of its tensors, d the hidden size.
    "identity": (lambda x, _near, _tensors, _heads: x, {}),
    "lightgcn": (lambda _x, near, _tensors, _heads: near.symmetric, {}),
    "mean": (lambda _x, near, _tensors, _heads: near.mean, {}),
    "gcn": (_gcn, {"weight": "dd", "bias": "d"}),
    "sage": (_sage, {"weight": "dd", "weight_self": "dd", "bias": "d"}),
    # `weight_in` has the constant in it that the network divides by.
    "gin": (_gin, {"eps": "1", "weight_in": "dd", "bias_in": "d", "weight_out": "dd", "bias_out": "d"}),
    "ngcf": (_ngcf, {"weight_sum": "dd", "weight_product": "dd"}),
    "gat": (_gat, {"weight": "dd", "attention_source": "d", "attention_target": "d", "bias": "d"}),
    "gatv2": (
        _gatv2,
        {"weight_source": "dd", "bias_source": "d", "weight_target": "dd", "bias_target": "d"}
        | {"attention": "d", "bias": "d"},
    ),
}
LINEAR = ("identity", "lightgcn", "mean")  # take no activation
ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": _leaky,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "tanh": np.tanh,
}
CHOICES: dict[str, tuple[str, ...]] = {
    "skip": ("none", "residual", "initial", "dense"),
    "readout": ("last", "mean", "learned", "concat"),
    "activation": tuple(ACTIVATIONS),
    "score": ("dot", "cosine"),
}
# Embeddings as they are; 0 stands for their number of columns.
NO_GRAPH = {"hidden_size": 0, "layers": [], **{key: choices[0] for key, choices in CHOICES.items()}}


class GraphNetwork:
    """The user's side of the graph branch: from an initial embedding and a history to the final embedding.

    The items' states and degrees stay as they were at training: what a user has had changes that user alone. So a
    trained user with the own history gets the own final embedding again, and someone new what the network would compute
    for one more node whose neighbours do not notice.

    What someone new lacks is an initial embedding. The mean of the history's final item embeddings times `fold_in`, a
    ridge regression on the trained users, stands for it: on MovieLens 1M all aggregators but NGCF (7 % less) rank within
    2 % of the same users trained, half of them better, so no steps of the training's loss are taken. New events of
    someone known move the initial embedding by as much as they move this estimate: without layers nothing else could
    follow them (.99 of the NDCG@20 of training anew, .93 with the embedding as it was), and two layers of LightGCN rank
    better too (1.00 and .98).
    """

    def __init__(self, branch: dict[str, Any], arrays: Arrays) -> None:
        """Take a branch that `_graph_branch` has checked, and the arrays of LAYOUT and `_graph_layout`."""
        self._branch, self._items, self._fold_in = branch, arrays["item_embeddings"], arrays["fold_in"]
        self._initial = arrays.get("graph_initial", arrays["user_embeddings"])
        self._readout, self._popularity = arrays.get("graph_readout"), arrays["popularity"]
        self._layers = []
        for n, layer in enumerate(branch["layers"]):
            function, shapes = AGGREGATORS[layer["aggregator"]]
            tensors = {key: arrays[f"graph_{n}_{key}"].astype(np.float64) for key in shapes}
            last = n == len(branch["layers"]) - 1 and branch["readout"] == "last"
            activation = "none" if last or layer["aggregator"] in LINEAR else branch["activation"]
            states = arrays.get(f"graph_{n}_items", self._items)  # those of `identity` are not looked at
            self._layers.append((function, states, tensors, layer["heads"], ACTIVATIONS[activation]))

    def of_new(self, history: NDArray[np.int32]) -> Floats:
        """Return the final embedding of someone new who had these items, (D,)."""
        return self._unit(self._final(self._estimates(history).sum(0)[None], history)[0])

    def of_known(self, user: int, had: NDArray[np.int32], history: NDArray[np.int32]) -> Floats:
        """Return the final embedding of someone who had `had` at training and has had `history` by now, (D,)."""
        moved = self._estimates(history).sum(0) - self._estimates(had).sum(0)
        return self._unit(self._final((self._initial[user] + moved)[None], history)[0])

    def parts(self, user: int, history: NDArray[np.int32], target: Floats) -> Floats:
        """Return what each item of the own history adds to the product of the final embedding with `target`, (H,).

        It is what is lost where neither the layers nor the estimate of the initial embedding hear of the item. With
        linear aggregators these parts, and that of the rest of the initial embedding, add up to the product.
        """
        own = self._initial[user].astype(np.float64)
        lost, size = self._estimates(history), len(history)
        whole = self._final(own[None], history)[0]
        norm = np.linalg.norm(whole) if self._branch["score"] == "cosine" else 1.0
        found = np.empty(size)
        rows = max(1, SCORES_PER_BLOCK // (size * own.size))
        for block in (np.arange(start, min(start + rows, size)) for start in range(0, size, rows)):
            kept = (np.arange(size) != block[:, None]).astype(np.float64)
            found[block] = (whole - self._final(own - lost[block], history, kept)) @ target
        return found / max(float(norm), 1e-12)

    def _estimates(self, history: NDArray[np.int32]) -> Floats:
        """Return what each item adds to the estimate of an initial embedding, (H, d)."""
        return self._items[history].astype(np.float64) @ self._fold_in / len(history)

    def _final(self, own: Floats, history: NDArray[np.int32], kept: Floats | None = None) -> Floats:
        """Return the final states of initial embeddings, (B, d) -> (B, D), for `kept` see `Near`."""
        kept = np.ones((len(own), len(history))) if kept is None else kept
        states, skip, degree = [own], self._branch["skip"], self._popularity[history, None].astype(np.float64)
        with np.errstate(all="ignore"):  # what it would warn of is refused below
            for function, items, tensors, heads, activation in self._layers:
                x = np.asarray(sum(states) / len(states)) if skip == "dense" else states[-1]
                near = Near(items[history].astype(np.float64), degree, kept)
                out = activation(function(x, near, tensors, heads))
                if skip == "residual":
                    out = (out + x) / 2
                elif skip == "initial":
                    out = 0.9 * out + 0.1 * own  # APPNP's teleport probability
                states.append(out)
            final = self._read_out(states)
        if not np.abs(final).max() <= LARGEST:
            raise ArtefactError(f"the graph branch makes values that are not finite or beyond {LARGEST:g}")
        return final

    def _read_out(self, states: list[Floats]) -> Floats:
        readout = self._branch["readout"]
        if readout in ("last", "concat"):
            return states[-1] if readout == "last" else np.concatenate(states, axis=1)
        shares = np.ones(len(states)) if self._readout is None else self._readout.astype(np.float64)
        return np.asarray(np.tensordot(shares, states, 1) / len(states))

    def _unit(self, final: Floats) -> Floats:
        """Scale to length 1 where the score is a cosine."""
        return (
            final / max(float(np.linalg.norm(final)), 1e-12) if self._branch["score"] == "cosine" else final
        )


def _places(indptr: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of what lies between indptr[row] and indptr[row + 1] for all rows, and how many each has."""
    begin = indptr[rows].astype(np.int64)
    sizes = indptr[rows + 1] - begin
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(begin, sizes) + within, sizes


class Recommender:
    """Answers from one artefact; `load` makes it. Equal scores are ordered by the item's index.

    Ids may be any objects: they are matched by `str(id)`. Where fewer than `k` items (or users) are left, fewer
    are returned. Every method raises UnknownId for ids that the artefact does not know and InputError for `k` < 1.
    Scores are computed in float64 and rounded to float32, so that an answer depends neither on the machine's
    matrix routines nor on how many users are asked at once.

    Attributes:
        manifest: what `manifest.json` holds (architecture, recipe, metrics, data).
        user_ids: the user of each index.
        item_ids: the item of each index.
    """

    def __init__(self, manifest: dict[str, Any], users: Any, items: Any, titles: Any, arrays: Arrays) -> None:
        """Hold the parts that the module's docstring describes; raise ArtefactError if one is wrong."""
        self._index = {"user": _index("users", users), "item": _index("items", items)}
        self._titles = _check_titles(titles, len(items))
        fusion, branch = _fusion(manifest), _graph_branch(manifest)
        _check_arrays(arrays, len(users), len(items), [name for name in fusion if name != "graph"], branch)
        self._weight, self._plain = fusion.pop("graph", 0.0), not fusion.keys() - {"graph"}
        self._branches = [
            (weight, HistoryBranch(name, arrays, len(items))) for name, weight in fusion.items()
        ]
        self.manifest, self.user_ids, self.item_ids = manifest, list(users), list(items)
        self._network = GraphNetwork(branch, arrays)
        self._users, self._items, self._indptr, self._seen, self._popularity, _ = (
            arrays[name] for name in LAYOUT
        )

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Recommender":
        """Read an artefact, no file before its size and sha256 are found right; raise ArtefactError if not."""
        try:
            manifest = _read(Path(folder), "manifest.json")
            _check_manifest(manifest)
            files = {name: _read(Path(folder), name, entry) for name, entry in manifest["files"].items()}
            users, items, arrays = files["users.json"], files["items.json"], files["weights.safetensors"]
            return cls(manifest, users, items, files.get("titles.json"), arrays)
        except (ArtefactError, RecursionError) as error:
            raise ArtefactError(f"artefact {str(folder)!r}: {error}") from None

    def recommend(
        self, user: object, k: int = 10, *, exclude_seen: bool = True, new: Iterable[object] = ()
    ) -> Ranking:
        """Return the `k` best items; without a history the most popular, with `fallback="popularity"`.

        `new` are items that the user has had since the training. They count at once, as items of the history do: see
        `GraphNetwork`. Without any that is not in the history, the answer is that of the training.
        """
        (row,), added = self._indices("user", [user]), self._indices("item", new)
        had, trained = self._counted(row)
        history = np.union1d(had, np.array(added, dtype=np.int32))
        if len(history) == len(had):
            return self.recommend_many([user], k, exclude_seen=exclude_seen)[0]
        counts = [np.ones(len(history)) for _ in self._branches]
        for own, one in zip(counts, trained, strict=True):
            own[np.searchsorted(history, had)] = one
        # The embedding of a user without a history was never trained.
        vector = self._network.of_known(row, had, history) if len(had) else self._network.of_new(history)
        return self._ranked(vector, (history, counts), k, exclude_seen=exclude_seen)

    def recommend_many(
        self, users: Iterable[object], k: int = 10, *, exclude_seen: bool = True
    ) -> list[Ranking]:
        """Return what `recommend` says of each user, in the order given, but much faster."""
        chosen = np.array(self._indices("user", users), dtype=np.int64)
        k, size = _checked(k), max(1, SCORES_PER_BLOCK // len(self.item_ids))
        rankings: list[Ranking] = []
        for block in (chosen[start : start + size] for start in range(0, len(chosen), size)):
            counts = self._indptr[block + 1] - self._indptr[block]
            scores = self._fused(self._users[block], [self._counted(user) for user in block])
            scores[counts == 0] = self._popularity
            if exclude_seen:
                seen = np.concatenate([self._history(user) for user in block])
                scores[np.repeat(np.arange(len(block)), counts), seen] = -np.inf
            rankings += self._rankings(scores, k, [None if count else "popularity" for count in counts])
        return rankings

    def similar_items(self, item: object, k: int = 10) -> Ranking:
        """Return the `k` items whose embeddings have the largest cosine with that of `item`, itself left out."""
        (index,) = self._indices("item", [item])
        scores = _scores(self._items[[index]], self._items, cosine=True)
        scores[0, index] = -np.inf
        return self._rankings(scores, k)[0]

    def similar_users(self, user: object, k: int = 10) -> list[SimilarUser]:
        """Return the `k` users whose embeddings have the largest cosine with that of `user`, itself left out.

        The embedding of a user without history says nothing: none is listed, and the list for one is empty.
        """
        (index,) = self._indices("user", [user])
        scores = _scores(self._users[[index]], self._users, cosine=True)
        untrained = np.diff(self._indptr) == 0
        scores[0, untrained | untrained[index]] = -np.inf
        scores[0, index] = -np.inf
        best = top_k(scores, k)[0]
        return [SimilarUser(self.user_ids[u], float(scores[0, u])) for u in best if scores[0, u] > -np.inf]

    def fold_in(self, history: Iterable[object], k: int = 10) -> Ranking:
        """Return the `k` best items for someone unknown to the training, from the items in their `history`.

        Items that occur twice count once, and those of the history are left out. An empty history gets the most
        popular items. The graph branch folds in by its own network: see `GraphNetwork`.
        """
        seen = np.array(sorted(set(self._indices("item", history))), dtype=np.int32)
        if not len(seen):
            return self._rankings(self._popularity[None], k, ["popularity"])[0]
        return self._ranked(self._network.of_new(seen), (seen, [np.ones(len(seen))] * len(self._branches)), k)

    def explain(self, user: object, item: object) -> Explanation:
        """Return what each h of the user's history carries to an item's score.

        By the graph branch, that is what `GraphNetwork.parts` says; by a branch that scores by the history, exactly what
        h adds.
        """
        (row,), (column,) = self._indices("user", [user]), self._indices("item", [item])
        head, history = (self.user_ids[row], self.item_ids[column]), self._history(row)
        title = self._titles[column][0]
        if not len(history):
            count = float(self._popularity[column])
            return Explanation(*head, title, count, count, False, (), "popularity")
        target = self._items[column].astype(np.float64)
        counted, seen = self._counted(row), bool((history == column).any())
        score = self._fused(self._users[[row]], [counted])[0, column]
        learned, *scales = self._scales(self._users[row], counted)
        parts = learned * self._network.parts(row, history, target)
        for scale, (_, branch), counts in zip(scales, self._branches, counted[1], strict=True):
            parts = parts + scale * branch.parts(history, counts, column)
        order = np.argsort(-parts, kind="stable")
        ordered = zip(history[order].tolist(), parts[order].tolist(), strict=True)
        contributions = tuple(Contribution(self.item_ids[h], self._titles[h][0], part) for h, part in ordered)
        return Explanation(*head, title, float(score), float(score - parts.sum()), seen, contributions)

    def _ranked(self, vector: Floats, counted: Counted, k: int, *, exclude_seen: bool = True) -> Ranking:
        """Return the best items for one user of this embedding, (D,), and history."""
        scores = self._fused(vector[None], [counted])
        if exclude_seen:
            scores[0, counted[0]] = -np.inf
        return self._rankings(scores, k)[0]

    def _fused(self, vectors: NDArray[Any], histories: Sequence[Counted]) -> NDArray[np.float32]:
        """Return the scores of users with these embeddings and histories, (B, D) -> (B, I)."""
        scores = _scores(vectors, self._items)
        if self._plain:
            return scores
        for n, (history, counts) in enumerate(histories):
            total = self._weight * _standardised(scores[n].astype(np.float64)) if self._weight else 0.0
            for (weight, branch), own in zip(self._branches, counts, strict=True):
                total = total + weight * _standardised(branch.scores(history, own))
            scores[n] = total
        return scores

    def _scales(self, vector: NDArray[Any], counted: Counted) -> list[float]:
        """Return what a score of the embeddings, then of each other branch, is multiplied with for one user."""
        if self._plain:
            return [1.0]
        history, counts = counted
        raw = [_scores(vector[None], self._items)[0].astype(np.float64)]
        raw += [branch.scores(history, own) for (_, branch), own in zip(self._branches, counts, strict=True)]
        weights = [self._weight, *(weight for weight, _ in self._branches)]
        return [weight * _scale(scores) for weight, scores in zip(weights, raw, strict=True)]

    def _counted(self, user: int) -> Counted:
        """Return a user's history, and for each branch how much its items count."""
        part, history = slice(self._indptr[user], self._indptr[user + 1]), self._history(user)
        ones = np.ones(len(history))
        return history, [
            ones if branch.counts is None else branch.counts[part].astype(np.float64)
            for _, branch in self._branches
        ]

    def _history(self, user: int) -> NDArray[np.int32]:
        return self._seen[self._indptr[user] : self._indptr[user + 1]]

    def _indices(self, kind: str, ids: Iterable[object]) -> list[int]:
        if isinstance(ids, str | bytes):
            raise InputError(f"expected a list of {kind} ids, but got the text {ids!r}")
        index, texts = self._index[kind], [str(one) for one in ids]
        if unknown := list(dict.fromkeys(text for text in texts if text not in index)):
            import difflib  # needed here alone

            close = difflib.get_close_matches(unknown[0], list(index)[:50_000]) if len(unknown) == 1 else []
            hint = f"; close ids: {', '.join(map(repr, close))}" if close else ""
            hint = hint or ("; someone new: fold in a history" if kind == "user" else "")
            hint = hint or ("; ids that hold commas: give a JSON list" if len(unknown) > 1 else "")
            raise UnknownId(f"unknown {kind}: {', '.join(map(repr, unknown))}{hint}")
        return [index[text] for text in texts]

    def _rankings(
        self, scores: NDArray[np.float32], k: int, fallbacks: Iterable[str | None] = (None,)
    ) -> list[Ranking]:
        return [
            [
                Recommendation(self.item_ids[item], *self._titles[item], float(row[item]), fallback)
                for item in map(int, best[row[best] > -np.inf])  # -inf marks what is left out
            ]
            for row, best, fallback in zip(scores, top_k(scores, k), fallbacks, strict=True)
        ]


def top_k(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the columns of the k largest scores of each row, (B, I) -> (B, min(k, I)), ties by column."""
    k = min(_checked(k), scores.shape[1])
    bound = np.partition(scores, -k, axis=1)[:, -k]
    chosen = scores >= bound[:, None]
    for row in np.flatnonzero(chosen.sum(axis=1) > k):
        # More columns tie at the bound than there are places left: the first ones get them.
        places = k - int((scores[row] > bound[row]).sum())
        chosen[row, np.flatnonzero(scores[row] == bound[row])[places:]] = False
    columns: NDArray[np.int64] = np.nonzero(chosen)[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def _checked(k: int) -> int:
    if operator.index(k) < 1:
        raise InputError(f"k must be at least 1, but got {k}")
    return operator.index(k)


def _scores(vectors: NDArray[Any], table: NDArray[Any], *, cosine: bool = False) -> NDArray[np.float32]:
    """Return the products of all rows, (B, D), (N, D) -> (B, N), or cosines, where a row of zeros gives 0."""

    def prepare(rows: NDArray[Any]) -> NDArray[np.float64]:
        rows = rows.astype(np.float64)
        if not cosine:
            return rows
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.where(norms > 0, norms, 1))

    scores, left = np.empty((len(vectors), len(table)), dtype=np.float32), prepare(vectors)
    for start in range(0, len(table), ROWS_PER_BLOCK):
        part = slice(start, start + ROWS_PER_BLOCK)
        scores[:, part] = left @ prepare(table[part]).T
    return scores


def _scale(scores: Floats) -> float:
    """Return 1 over the standard deviation of a user's scores, 0 where they are all alike."""
    deviation = float(scores.std())
    return 1 / deviation if deviation > 1e-6 * float(np.abs(scores).max()) else 0.0


def _standardised(scores: Floats) -> Floats:
    return scores * _scale(scores)


def manifest_sha256(manifest: dict[str, Any]) -> str:
    """Return the sha256 (hex) that `manifest` must state of itself: over all its keys but `sha256`."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _check_manifest(manifest: Any) -> None:
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ArtefactError('manifest.json must hold an object, and in it the object "files"')
    due = {"project": "nas-recsys", "format_version": FORMAT_VERSION, "score": "dot"}
    for key, value in {**due, "sha256": manifest_sha256(manifest)}.items():
        if manifest.get(key) != value:
            raise ArtefactError(f"manifest.json: {key} must be {value!r}, but is {manifest.get(key)!r}")
    if missing := REQUIRED - manifest["files"].keys():
        raise ArtefactError(f"manifest.json lists no {', '.join(sorted(missing))}")


def _read(folder: Path, name: str, stated: object = None) -> Any:
    """Return the content of one file, parsed if it is JSON or safetensors, once it is what `stated` says."""
    path = folder / name
    try:
        # A plain name cannot lead out of the folder, on any operating system; a link could.
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or path.is_symlink() or not path.is_file():
            raise ValueError("it is missing, or not a plain file in the folder")
        content = path.read_bytes()
        found = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if name != "manifest.json" and found != stated:
            raise ValueError("its size or sha256 is not the one in manifest.json")
        if path.suffix == ".json":
            return json.loads(content)
        return safetensors.numpy.load(content) if path.suffix == ".safetensors" else content
    except Exception as error:  # hostile content makes the parsers raise errors of many kinds
        raise ArtefactError(f"cannot use {name!r}: {error}") from None


def _index(name: str, ids: Any) -> dict[str, int]:
    if not isinstance(ids, list) or not ids or not all(isinstance(one, str) for one in ids):
        raise ArtefactError(f"{name} must be a list of ids, each a text")
    index = {one: place for place, one in enumerate(ids)}
    if twice := [one for place, one in enumerate(ids) if index[one] != place]:
        raise ArtefactError(f"{name} hold the id {twice[0]!r} twice")
    return index


def _check_titles(titles: Any, items: int) -> list[tuple[str | None, tuple[str, ...]]]:
    try:
        pairs = [("", ())] * items if titles is None else titles
        checked = [(str(title) or None, tuple(map(str, genres))) for title, genres in pairs]
    except (TypeError, ValueError):
        checked = []
    if len(checked) != items:
        raise ArtefactError(f"titles must be {items} pairs [title, [genre, ...]]")
    return checked


def _fusion(manifest: dict[str, Any]) -> dict[str, float]:
    fusion = manifest.get("fusion", {"graph": 1.0})
    if not isinstance(fusion, dict) or not fusion or not fusion.keys() <= {"graph", "spectral", "item"}:
        raise ArtefactError('manifest.json: fusion must give weights of "graph", "spectral" or "item"')
    for name, weight in fusion.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1e6:
            raise ArtefactError(
                f"manifest.json: the weight of {name!r} must be above 0 and at most 1e6, but is {weight!r}"
            )
    return {name: float(weight) for name, weight in fusion.items()}


def _graph_branch(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the checked graph branch of the architecture; where there is none, embeddings scored as they are."""
    architecture = manifest.get("architecture", {})
    branch = architecture.get("graph", NO_GRAPH) if isinstance(architecture, dict) else None
    if not isinstance(branch, dict):
        raise ArtefactError("manifest.json: the architecture, and its graph branch, must be objects")

    def check(key: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ArtefactError(
                f"manifest.json: the graph branch's {key} must be {rule}, but is {branch.get(key)!r}"
            )

    size: Any = branch.get("hidden_size")
    layers = branch.get("layers")
    check("hidden_size", branch is NO_GRAPH or (type(size) is int and size > 0), "a number of at least 1")
    rule = f"a list of aggregators ({', '.join(AGGREGATORS)}) with heads that divide {size}"
    check("layers", isinstance(layers, list), rule)
    for layer in layers or ():
        known = isinstance(layer, dict) and layer.get("aggregator") in list(AGGREGATORS)
        heads = layer.get("heads") if known else None
        check("layers", type(heads) is int and heads > 0 and size % heads == 0, rule)
    for key, choices in CHOICES.items():
        check(key, branch.get(key) in choices, f"one of {', '.join(choices)}")
    return branch


def _graph_layout(branch: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the shape of each float32 array that a graph branch needs beside LAYOUT, by name after "graph_".

    `initial` are the users' embeddings before the first layer, `0_items`, `1_items`, ... what the items send into each
    layer, the rest what the layers learned.
    """
    layout: dict[str, tuple[str, ...]] = {}
    if branch["layers"] or branch["readout"] == "learned":  # else the final ones serve
        layout["initial"] = ("U", "d")
    for n, layer in enumerate(branch["layers"]):
        if layer["aggregator"] != "identity":
            layout[f"{n}_items"] = ("I", "d")
        layout |= {f"{n}_{key}": tuple(shape) for key, shape in AGGREGATORS[layer["aggregator"]][1].items()}
    return layout | ({"readout": ("S",)} if branch["readout"] == "learned" else {})


def _check_branch(arrays: Arrays, name: str, users: int, items: int, interactions: int) -> None:
    held = {key: arrays[f"{name}_{key}"] for key in BRANCH_LAYOUT if f"{name}_{key}" in arrays}
    forms = [{"dense"}, {"indptr", "items", "weights"}, {"item_shares", "user_shares"}]
    sparse, low = forms[1] & held.keys(), {"left", "right"} & held.keys()
    if [form & held.keys() for form in forms if form & held.keys()] not in [[form] for form in forms]:
        raise ArtefactError(f"branch {name!r} must have weights in one form: dense, sparse, or shares")
    if len(low) == 1:
        raise ArtefactError(f"branch {name!r} must have both or neither of left and right")
    rank = held["right"].shape[0] if "right" in held and held["right"].ndim == 2 else 0
    entries = held["items"].size if "items" in held else 0
    sizes = {"U": users, "I": items, "I+1": items + 1, "E": entries, "r": rank, "N": interactions}
    for key, one in held.items():
        dtype, letters = BRANCH_LAYOUT[key]
        _check_array(f"{name}_{key}", one, dtype, tuple(sizes[letter] for letter in letters))
    if sparse:
        indptr, columns = held["indptr"], held["items"]
        if indptr[0] != 0 or indptr[-1] != entries or (indptr[1:] < indptr[:-1]).any():
            raise ArtefactError(f"{name}_indptr must rise from 0 to {entries}")
        if ((columns < 0) | (columns >= items)).any():
            raise ArtefactError(f"{name}_items must lie in 0..{items - 1}")


def _check_array(name: str, one: NDArray[Any], dtype: str, shape: tuple[int, ...]) -> None:
    if (str(one.dtype), one.shape) != (dtype, shape):
        raise ArtefactError(f"{name} must be {dtype} {shape}, but is {one.dtype} {one.shape}")
    if dtype == "float32" and one.size and not np.abs(one).max() <= LARGEST:  # so written, NaN fails too
        raise ArtefactError(f"{name} holds values that are not finite or beyond {LARGEST:g}")


def _check_arrays(
    arrays: Arrays, users: int, items: int, branches: Iterable[str], graph: dict[str, Any]
) -> None:
    if not arrays.keys() >= LAYOUT.keys():
        raise ArtefactError(f"weights must hold {', '.join(LAYOUT)}, but hold {', '.join(arrays)}")
    indptr, seen = arrays["seen_indptr"], arrays["seen_items"]
    states = len(graph["layers"]) + 1
    hidden = graph["hidden_size"] or max((1, *arrays["fold_in"].shape))
    columns = hidden * (states if graph["readout"] == "concat" else 1)
    sizes = {"U": users, "I": items, "D": columns, "d": hidden, "U+1": users + 1, "N": seen.size}
    for name, (dtype, letters) in LAYOUT.items():
        _check_array(name, arrays[name], dtype, tuple(sizes[letter] for letter in letters))
    layout = {f"graph_{key}": shape for key, shape in _graph_layout(graph).items()}
    if missing := layout.keys() ^ {name for name in arrays if name.startswith("graph_")}:
        raise ArtefactError(
            f"of the architecture's arrays, {', '.join(sorted(missing))} are missing or too many"
        )
    for name, shape in layout.items():
        _check_array(
            name, arrays[name], "float32", tuple((sizes | {"S": states, "1": 1})[one] for one in shape)
        )
    for branch in branches:
        _check_branch(arrays, branch, users, items, sizes["N"])
    if indptr[0] != 0 or indptr[-1] != len(seen) or (indptr[1:] < indptr[:-1]).any():
        raise ArtefactError(f"seen_indptr must rise from 0 to {len(seen)}")
    cells = np.repeat(np.arange(users) * items, np.diff(indptr)) + seen
    if ((seen < 0) | (seen >= items)).any() or (np.diff(cells) <= 0).any():
        raise ArtefactError(f"seen_items must lie in 0..{items - 1} and increase within each user")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    common = _Parser(add_help=False)
    common.add_argument("--folder", default=argparse.SUPPRESS, help="the artefact, if not where this file is")
    parser = _Parser(description="Ask a recommender; JSON lines on standard output.", parents=[common])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (options, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        command.add_argument("-k", type=int, default=10, help="at most so many lines (default 10)")
        for option in options:
            action = "append" if option == "history" else "store"
            command.add_argument(f"--{option}", required=True, metavar="ID", action=action)
        if name == "recommend":
            text = "items had since the training, as for fold-in"
            command.add_argument("--new", default=[], metavar="ID", action="append", help=text)
    return parser.parse_args(arguments)


def _history_ids(texts: list[str], known: Iterable[str]) -> Iterator[str]:
    """Read each `--history` or `--new`: one known id as a whole, a JSON list, or ids between commas."""
    for text in texts:
        if text in known:
            yield text
        elif text.startswith("["):
            try:
                yield from map(str, json.loads(text))
            except (ValueError, RecursionError):
                raise InputError(f"{text!r} is not a JSON list") from None
        else:
            yield from filter(None, map(str.strip, text.split(",")))


def _answers(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    model = Recommender.load(getattr(asked, "folder", Path(__file__).parent))
    values = [getattr(asked, option) for option in COMMANDS[asked.command][0]]
    if asked.command == "explain":
        why, k = model.explain(*values), _checked(asked.k)
        yield why._asdict() | {"contributions": len(why.contributions)}
        yield from (one._asdict() for one in why.contributions[:k])
    else:
        if asked.command == "fold-in":
            values = [_history_ids(asked.history, frozenset(model.item_ids))]
        rest = (
            {"new": _history_ids(asked.new, frozenset(model.item_ids))}
            if asked.command == "recommend"
            else {}
        )
        found = getattr(model, asked.command.replace("-", "_"))(*values, asked.k, **rest)
        yield from (one._asdict() for one in found)


def _line(answer: dict[str, Any], encoding: str) -> str:
    kept = {key: value for key, value in answer.items() if key == "title" or value not in (None, ())}
    # Seven digits are what float32 holds.
    kept |= {key: float(f"{value:.7g}") for key, value in kept.items() if isinstance(value, float)}
    text = json.dumps(kept, ensure_ascii=False)
    # Some readers end a line at U+0085 or U+2028 too, which JSON leaves as they are.
    plain = text.encode(encoding, "ignore").decode(encoding) == text and len(text.splitlines()) == 1
    return text if plain else json.dumps(kept)


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one command of the command line; return the exit code (0, 2 if the input is wrong, 1 if standard output is full)."""
    try:
        for answer in _answers(_parse(arguments)):
            print(_line(answer, sys.stdout.encoding))
        sys.stdout.flush()
    except (ArtefactError, InputError, UnknownId) as error:
        print("recommender:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except OSError as error:
        # Without this the interpreter flushes once more at its end and complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # which means that the reader has had enough
            print(f"recommender: cannot write: {error.strerror}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
