"""A recommender that runs by itself: this file, numpy, safetensors and the folder of an artefact.

`python recommender.py --help` lists its commands. Each prints JSON lines. Exit codes: 0 done, 2 the input is wrong, 1
standard output cannot be written, 130 interrupted; but for 0, one line on standard error says why. The folder, format
version 6:

    manifest.json        format version, architecture, recipe, metrics, data, fusion, precision, sha256 and size of each
                         other file, dtype and shape of each array, and `sha256`, of the manifest itself
    weights.safetensors  the arrays of LAYOUT below, for a graph branch with layers those of `_graph_layout`, and for each
                         other branch of the fusion those of BRANCH_LAYOUT
    users.json           ids as text; the position is the index
    items.json           likewise
    titles.json          optional: [title, [genre, ...]] of each item, "" where unknown
    recommender.py, README.md, and files for other software, not read here

A score is the sum over the branches of the fusion: the branch's weight, times its score, over the standard deviation of
its scores of this user. "graph" scores by embeddings; "spectral" and "item" score a history h by h W + (h L) R. W is kept
whole, as sparse rows, or as A X' B X A, with diagonal A and B, and X the histories of all users (1 where a user had an
item). "user" scores h by s X, with s = (B X A h) ** power over its largest entry: of the entries the `nearest` largest and
those equal to the last of them, the others being 0, as is that of whoever has had nothing that is not in h. With ages, an
item of h that was had d steps before the end of the user's time line counts 1 / (1 + d * fade): what is new counts most,
and makes what was there a step older. Where "graph" is the only branch, its scores are taken as they are.

Whoever is new, or has had new items since the training, gets the embedding that the graph network itself computes from
the items had: see `GraphNetwork`.

With the precision "float16" or "int8", any float32 array may be float16 instead; one of two dimensions, and W's entries,
int8 with a float32 array NAME_scale beside it, by whose number each row is multiplied; and any int32 array uint16.

A folder is not trusted: nothing in it is run, and whatever it holds, loading it and answering one question takes memory
of at most 64 times its size, plus 16 MB.
"""

import argparse
import hashlib
import itertools
import json
import math
import operator
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

try:
    from typing import Any, Literal, NamedTuple, NoReturn, TypedDict, Unpack

    import numpy as np
    import safetensors.numpy
    from numpy.typing import NDArray
except (ImportError, KeyboardInterrupt) as error:
    if __name__ != "__main__":
        raise
    told, code = f"{error}; pip install numpy safetensors", 2
    if isinstance(error, KeyboardInterrupt):
        told, code = "interrupted", 130
    elif error.name == "typing":  # an older one has no Unpack
        told = "needs Python 3.11 or newer"
    if sys.stderr is not None:
        print(f"recommender: {told}", file=sys.stderr)
    sys.exit(code)

FORMAT_VERSION = 6
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
    "nearest": ("float32", ("2",)),  # how many users, and the power of their shares; with A and B alone
    "left": ("float32", ("I", "r")),  # L
    "right": ("float32", ("r", "I")),  # R
    "counts": ("float32", ("N",)),  # what each item of `seen_items` counts, whatever its age; 1 without it
    "ages": ("int32", ("N",)),  # steps from each to the end of its user's time line, at least 0
    "fade": ("float32", ("1",)),  # above 0; with `ages` or not at all
}
BRANCHES = {"graph", "spectral", "item", "user"}
MANIFEST_BYTES = 1 << 24  # at most; the others are as large as it says
LARGEST = 1e9  # so that the product of two embeddings stays within float32
REQUIRED = {"weights.safetensors", "users.json", "items.json"}
ONE = {"action": "append", "metavar": "ID"}  # and refused if there are more
MANY = {"action": "append", "metavar": "ID,ID,..."}
AS_LIST = "; or a JSON list; may be repeated"
OPTIONS: dict[str, dict[str, Any]] = {
    "user": {"required": True, "help": "a user of the training", **ONE},
    "item": {"required": True, "help": "an item of the training", **ONE},
    "history": {"required": True, "help": f"items had, the latest last{AS_LIST}", **MANY},
    "items": {"required": True, "help": f"items to rank{AS_LIST}", **MANY},
    "new": {"help": f"items had since the training, the latest last{AS_LIST}", **MANY},
    "out": {"required": True, "metavar": "FILE", "help": "ends in .jsonl, .csv or .parquet"},
    "only": {"help": f"none but these items{AS_LIST}", **MANY},
    "without": {"help": f"leave these items out{AS_LIST}", **MANY},
    "with-seen": {"help": "items of the history too", "dest": "exclude_seen", "action": "store_false"},
    "diversity": {"help": "0 to 1: give up score for items unlike each other (default 0)", "type": float},
    "skip-unknown": {
        "help": "leave unknown items out of the lists given, and say how many they are",
        "dest": "unknown",
        "action": "store_const",
        "const": "skip",
    },
}
FILTERS = "only", "without", "with-seen", "diversity", "skip-unknown"
COMMANDS = {
    "recommend": (["user", "new", *FILTERS], "the best items for a user"),
    "recommend-all": (["out", *FILTERS], "the best items for every user, into a file"),
    "rerank": (["user", "items", "new", "diversity", "skip-unknown"], "given items, best first for a user"),
    "similar-items": (["item"], "the items most like an item"),
    "similar-users": (["user"], "the users most like a user"),
    "fold-in": (["history", *FILTERS], "the best items for someone new, from items they had"),
    "explain": (["user", "item"], "what each item of the user's history adds to an item's score"),
}
ALIKE = 1 - 1e-5  # shares that differ by less are equal but for rounding
USERS_PER_BLOCK, SCORES_PER_BLOCK, ROWS_PER_BLOCK = 64, 1 << 22, 1 << 16
NUMBERS_PER_BLOCK = 1 << 18  # of the versions of a user that explain an item
CHUNK = 4096  # numbers in a chunk of a table; times the users of a block, the largest product that OpenBLAS keeps on one thread
MOST_COMPARED = 2000  # ids that an unknown one is compared with, at some 80 microseconds each
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
FLOAT32, SCRATCH = np.finfo(np.float32), threading.local()
WITHIN = SimpleNamespace(lock=threading.Lock(), number=0, limits=None)  # of `_blas_on_one_thread`


class ArtefactError(ValueError):
    """The artefact is damaged, incomplete or of another format; one line says what is wrong."""


class InputError(ValueError):
    """An argument is wrong (`k` below 1, one text where a list of ids is due); one line says what."""


class UnknownId(KeyError):
    """The artefact knows no such user or item; one line names up to ten and, for one, ids that are close."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the quoted repr


class Recommendation(NamedTuple):
    """An item of a ranking; with `fallback` "popularity", the score is its number of interactions."""

    item: str
    title: str | None  # None where unknown
    genres: tuple[str, ...]
    score: float
    fallback: str | None = None


NEW_RECOMMENDATION = partial(tuple.__new__, Recommendation)  # of a tuple; `_make` takes three times as long


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
    personal: float  # the rest: what the user's initial embedding holds beyond the history and, where the network is not
    # linear, what the items do together; without a history, the item's popularity
    seen: bool  # the item is itself in the history
    contributions: tuple[Contribution, ...]
    fallback: str | None = None


Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]
Tensors = dict[str, Floats]
Ranking = list[Recommendation]
Counted = tuple[NDArray[np.int32], Sequence[Floats]]  # a history, and how much its items count in each branch
Best = tuple[NDArray[np.int64], NDArray[np.float32]]  # places, and their scores, best first


class Filters(TypedDict, total=False):
    """What a list may hold: keywords of `recommend`, `recommend_many`, `recommend_all` and `fold_in`."""

    exclude_seen: bool  # leave out the items of the history; the default
    only: Iterable[object] | None  # the only items that may be in a list; None, the default, allows all
    without: Iterable[object]  # items that may not
    diversity: float  # 0, the default, to 1; see `diversified`
    unknown: Literal["error", "skip"]  # what becomes of unknown items; "error" by default


class Wanted(NamedTuple):
    """`Filters` as the tables need them: `pool` items, none of which is barred (I,), become the `k` of a list."""

    k: int
    pool: int
    exclude_seen: bool
    barred: NDArray[np.bool_] | None
    diversity: float


class Table:
    """N rows of D columns that vectors are multiplied with, or whose cosine with them is taken."""

    def __init__(self, rows: NDArray[Any], *, cosine: bool = False, dtype: type = np.float32) -> None:
        """Take (N, D) numbers; `dtype` is that of `products`. A row of zeros has the cosine 0."""
        self._rows, (count, columns) = rows, rows.shape
        # A BLAS spreads larger products over threads of its own, which fight with ours and with other programs.
        self._step = max(8, CHUNK // max(1, columns))
        chunks = np.zeros((-(-count // self._step), self._step, columns), dtype=dtype)
        chunks.reshape(-1, columns)[:count] = rows
        # In float32, the squares of small numbers would be 0.
        lengths = np.sqrt(np.einsum("nrd,nrd->nr", chunks, chunks, dtype=np.float64))
        self._shares: NDArray[Any] | None = None
        if cosine:
            self._shares = 1 / np.where(lengths > 0, lengths, 1)
            chunks *= self._shares[:, :, None]
        self._longest = 1.0 if cosine else float(lengths.max(initial=0))
        # As a product reads them.
        self._chunks = np.ascontiguousarray(chunks.transpose(0, 2, 1))

    def products(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """Return (B, D) @ rows.T, (B, N)."""
        found = self._products(vectors).transpose(1, 0, 2)
        return found.reshape(len(vectors), -1)[:, : len(self._rows)]

    def best(
        self,
        vectors: Floats,
        k: int,
        left_out: Sequence[NDArray[Any]],
        barred: NDArray[np.bool_] | None = None,
        base: Floats | None = None,
    ) -> list[Best]:
        """Return the k rows with the largest float32(base + product) of each vector, ties by place.

        What can be among them is found in float32, by an upper bound of its rounding errors; that alone is scored in
        float64, so that the answer does not depend on how a BLAS adds.

        Args:
            vectors: (B, D).
            k: at least 1.
            left_out: the rows that each of the vectors must not get.
            barred: (N,), the rows that none must get.
            base: (B, N), or None for zeros.

        Raises:
            ArtefactError: products would not be finite in float32.
        """
        columns, k = vectors.shape[1], min(k, len(self._rows))
        lengths = np.sqrt(np.einsum("bd,bd->b", vectors, vectors))
        # So written, NaN fails too.
        if not lengths.max(initial=0) * max(1.0, self._longest) <= FLOAT32.max:
            raise ArtefactError("embeddings are too small for their scores to be standardised")
        scores = self._products(vectors)
        error = FLOAT32.eps * (columns + 8) * self._longest * lengths + FLOAT32.tiny * columns
        if base is not None:
            error += 4 * FLOAT32.eps * np.maximum(base.max(axis=1), -base.min(axis=1))
        find = self._close_to_one if len(vectors) == 1 else self._close
        who, rows = find(scores, k, 2 * error, left_out, barred, base)
        exact = self._exact(vectors, who, rows)
        if base is not None:
            exact += base[who, rows]
        rounded = exact.astype(np.float32)
        order = np.lexsort((rows, -rounded, who))
        ends = np.searchsorted(who[order], np.arange(len(vectors) + 1)).tolist()
        chosen = [order[a : min(a + k, b)] for a, b in itertools.pairwise(ends)]
        return [(rows[one], rounded[one]) for one in chosen]

    def _close(
        self,
        scores: NDArray[Any],
        k: int,
        margin: Floats,
        left_out: Sequence[NDArray[Any]],
        barred: NDArray[np.bool_] | None,
        base: Floats | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which vectors and rows have a score that is at least a lower bound of the k-th, less `margin` (B,)."""
        (parts, size, step), count = scores.shape, len(self._rows)
        whole = (parts - 1) * step  # what lies before the last chunk, which is not full
        if base is not None:
            scores[:-1] += base[:, :whole].reshape(size, -1, step).transpose(1, 0, 2)
            scores[-1, :, : count - whole] += base[:, whole:]
        scores[-1, :, count - whole :] = -np.inf
        if barred is not None:
            out = np.flatnonzero(barred)
            scores[out // step, :, out % step] = -np.inf
        out, of = np.concatenate(left_out), np.repeat(np.arange(size), list(map(len, left_out)))
        scores[out // step, of, out % step] = -np.inf
        # The k-th largest of the maxima of disjoint groups is at most the k-th largest score. A group is a place in
        # `many` chunks, so that maxima are taken along whole rows of memory. They are cheaper than the scores of a
        # group, which lie far apart: hence twice as many as would make both alike in number.
        many = max(1, math.isqrt(count // k) // 2)
        maxima = np.stack(
            [scores[start : start + many].max(axis=0) for start in range(0, parts, many)], axis=1
        )
        kth = np.partition(maxima.reshape(size, -1), -k, axis=1)[:, -k]
        bound = kth - margin
        who, group, place = np.unravel_index(np.flatnonzero(maxima >= bound[:, None, None]), maxima.shape)
        chunk_of = group[:, None] * many + np.arange(many)
        values = scores[np.minimum(chunk_of, parts - 1), who[:, None], place[:, None]]
        close = (values >= bound[who, None]) & (values > -np.inf) & (chunk_of < parts)
        pair, member = np.nonzero(close)
        return who[pair], chunk_of[pair, member] * step + place[pair]

    def _close_to_one(
        self,
        scores: NDArray[Any],
        k: int,
        margin: Floats,
        left_out: Sequence[NDArray[Any]],
        barred: NDArray[np.bool_] | None,
        base: Floats | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return what `_close` does for a single vector, whose chunks are one row of memory: a third of the time."""
        flat = scores.reshape(-1)[: len(self._rows)]
        if base is not None:
            flat += base[0]
        if barred is not None:
            flat[barred] = -np.inf
        flat[left_out[0]] = -np.inf
        # A group is every `width`-th row.
        many = max(1, math.isqrt(len(flat) // k))
        width = len(flat) // many
        maxima = flat[: many * width].reshape(many, width).max(axis=0)
        bound = np.partition(maxima, -k)[-k] - margin[0]
        rows = np.flatnonzero(flat >= max(bound, FLOAT32.min))
        return np.zeros_like(rows), rows

    def _exact(self, vectors: Floats, who: NDArray[Any], rows: NDArray[Any]) -> Floats:
        found = np.empty(len(rows))
        for start in range(0, len(rows), ROWS_PER_BLOCK):
            part = slice(start, start + ROWS_PER_BLOCK)
            # Not a BLAS, which adds in another order at the edges of a block.
            found[part] = (self._rows[rows[part]] * vectors[who[part]]).sum(axis=1)
        return found if self._shares is None else found * self._shares.reshape(-1)[rows]

    def _products(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """Return the products chunk by chunk, (chunks, B, rows of a chunk), valid until this thread's next call."""
        shape = len(self._chunks), len(vectors), self._step
        size, held = math.prod(shape), getattr(SCRATCH, self._chunks.dtype.char, None)
        # Fresh memory costs as much as the product.
        if held is None or not size <= held.size <= max(8 * size, 1 << 20):
            held = np.empty(size, dtype=self._chunks.dtype)
            setattr(SCRATCH, self._chunks.dtype.char, held)
        out = held[:size].reshape(shape)
        return np.matmul(vectors.astype(out.dtype), self._chunks, out=out)


class HistoryBranch:
    """A branch that scores by the history alone."""

    def __init__(self, name: str, arrays: Arrays, items: int) -> None:
        """Take the arrays of BRANCH_LAYOUT whose names begin with that of the branch, and the histories."""
        none = np.zeros(0, dtype=np.float32)
        self._of_item, self._of_user = (arrays.get(f"{name}_{key}_shares", none) for key in ("item", "user"))
        self._nearest, self._power = map(float, arrays.get(f"{name}_nearest", (0, 1)))
        self._had = arrays["seen_indptr"], arrays["seen_items"]
        self._counts, self._ages = arrays.get(f"{name}_counts"), arrays.get(f"{name}_ages")
        self._fade = arrays.get(f"{name}_fade", none).astype(np.float64)
        self._dense = arrays.get(f"{name}_dense")
        sparse = [arrays.get(f"{name}_{key}", none) for key in ("indptr", "items", "weights")]
        self._indptr, self._items, self._weights = sparse
        self._left = arrays.get(f"{name}_left", np.zeros((items, 0)))
        self._right = arrays.get(f"{name}_right", np.zeros((0, items)))

    @property
    def aged(self) -> bool:
        """Whether it matters when an item was had."""
        return self._ages is not None

    def counts(self, begin: int, end: int, later: int) -> Floats:
        """Return how much the items of `seen_items[begin:end]` count where so many were had later."""
        found = np.ones(end - begin) if self._counts is None else self._counts[begin:end].astype(np.float64)
        return found if self._ages is None else found * self.faded(self._ages[begin:end] + np.int64(later))

    def faded(self, ages: NDArray[np.int64]) -> Floats:
        """Return how much items of such ages count, where nothing but their age matters."""
        return np.ones(len(ages)) if self._ages is None else 1 / (1 + ages * self._fade)

    def scores(self, histories: Sequence[NDArray[np.int32]], counts: Sequence[Floats]) -> Floats:
        """Return the score of every item for the items of histories that count so much, (B, I)."""
        if self._left.shape[1]:
            low = np.stack([own @ self._left[one] for one, own in zip(histories, counts, strict=True)])
            scores = np.array(self._low_rank.products(low))
        else:
            scores = np.zeros((len(histories), len(self._left)))
        for row, history, own in zip(scores, histories, counts, strict=True):
            if self._dense is not None:
                rows = self._dense[history]
                # Not a BLAS: its threads cost more than the sum, and each of them adds in another order.
                row += (rows if (own == 1).all() else rows * own[:, None]).sum(axis=0, dtype=np.float64)
            elif len(self._of_item):
                row += self._via_users(history, own)
            else:
                begins, ends = self._indptr[history].tolist(), self._indptr[history + 1].tolist()
                parts = [slice(*one) for one in zip(begins, ends, strict=True)]
                items = np.concatenate([self._items[part] for part in parts])
                values = np.concatenate([self._weights[part] for part in parts])
                sizes = np.subtract(ends, begins)
                row += np.bincount(items, values * np.repeat(own, sizes), minlength=len(row))
        return scores

    @cached_property
    def _low_rank(self) -> Table:
        return Table(self._right.T, dtype=np.float64)

    def parts(self, history: NDArray[np.int32], counts: Floats, item: int) -> Floats:
        """Return what each item of the history adds to the score of one item, (H,)."""
        parts = self._left[history] @ self._right[:, item].astype(np.float64)
        if self._dense is not None:
            return np.asarray(counts * (parts + self._dense[history, item]))
        if len(self._of_item):
            return np.asarray(counts * (parts + self._parts_via_users(history, counts, item)))
        entries, sizes = _places(self._indptr, history)
        own = np.where(self._items[entries] == item, self._weights[entries], 0.0)
        return np.asarray(
            counts
            * (parts + np.bincount(np.repeat(np.arange(len(history)), sizes), own, minlength=len(history)))
        )

    def _via_users(self, history: NDArray[np.int32], counts: Floats) -> Floats:
        """Return h A X' B X A for the items of a history that count so much, or s X."""
        reached = self._reached(history, counts)
        if self._nearest:
            reached = self._shares(reached)
        active = np.flatnonzero(reached)
        indptr, items = self._had
        places, sizes = _places(indptr, active)
        found = np.bincount(items[places], np.repeat(reached[active], sizes), len(self._of_item))
        return np.asarray(found if self._nearest else found * self._of_item)

    def _reached(self, history: NDArray[np.int32], counts: Floats) -> Floats:
        """Return B X A h, with `nearest` 0 for whoever has had nothing that is not in h, (U,)."""
        begins, users = self._owners
        places, sizes = _places(begins, history)
        owners = users[places]
        given = np.repeat(counts * self._of_item[history], sizes)
        found = np.bincount(owners, given, len(self._of_user)) * self._of_user
        if self._nearest:
            found[np.bincount(owners, minlength=len(found)) >= np.diff(self._had[0])] = 0
        return np.asarray(found)

    def _shares(self, reached: Floats) -> Floats:
        """Return s (U,) of B X A h."""
        found, users = np.zeros(len(reached)), np.flatnonzero(reached > 0)
        if not len(users):
            return found
        values, count = reached[users], int(self._nearest)
        if len(users) > count:
            near = values >= ALIKE * np.partition(values, -count)[-count]
            users, values = users[near], values[near]
        found[users] = (values / values.max()) ** self._power
        return found

    def _parts_via_users(self, history: NDArray[np.int32], counts: Floats, item: int) -> Floats:
        """Return what one of each item of a history, such as counts so much, adds to the score of one item."""
        begins, users = self._owners
        owners = users[begins[item] : begins[item + 1]]
        shared, scale = np.zeros(len(self._of_user)), 1.0 if self._nearest else float(self._of_item[item])
        shared[owners] = self._of_user[owners]
        if self._nearest:
            reached = self._reached(history, counts)
            shared *= np.divide(self._shares(reached), reached, where=reached > 0, out=np.zeros(len(reached)))
        places, sizes = _places(begins, history)
        found = np.bincount(np.repeat(np.arange(len(history)), sizes), shared[users[places]], len(history))
        return np.asarray(found * self._of_item[history] * scale)

    @cached_property
    def _owners(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The users of each item: (I + 1,) where they begin, and (N,) who they are."""
        indptr, items = self._had
        owners = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        counts = np.bincount(items, minlength=len(self._left))
        return np.concatenate([[0], np.cumsum(counts)]), owners[np.argsort(items, kind="stable")]


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
MOST_LAYERS = 16
# Embeddings as they are; 0 stands for their number of columns.
NO_GRAPH = {"hidden_size": 0, "layers": [], **{key: choices[0] for key, choices in CHOICES.items()}}


class GraphNetwork:
    """The user's side of the graph branch: from an initial embedding and a history to the final embedding.

    The items' states and degrees stay as they were at training: what a user has had changes that user alone. So a
    trained user with the own history gets the own final embedding again, and someone new what the network would compute
    for one more node whose neighbours do not notice.

    What someone new lacks is an initial embedding. The mean of the history's final item embeddings times `fold_in`, a
    ridge regression on the trained users, stands for it; how far it is trusted was chosen on validation data. New events
    of someone known move the initial embedding by as much as they move this estimate.
    """

    def __init__(self, branch: dict[str, Any], arrays: Arrays) -> None:
        """Take a branch that `_graph_branch` has checked, and the arrays of LAYOUT and `_graph_layout`."""
        self._branch, self._items, self._fold_in = branch, arrays["item_embeddings"], arrays["fold_in"]
        self._initial = arrays.get("graph_initial", arrays["user_embeddings"])
        self._popularity, self._layers = arrays["popularity"], []
        self._shares = arrays.get("graph_readout", np.ones(len(branch["layers"]) + 1)).astype(np.float64)
        for n, layer in enumerate(branch["layers"]):
            function, shapes = AGGREGATORS[layer["aggregator"]]
            tensors = {key: arrays[f"graph_{n}_{key}"].astype(np.float64) for key in shapes}
            last = n == len(branch["layers"]) - 1 and branch["readout"] == "last"
            activation = "none" if last or layer["aggregator"] in LINEAR else branch["activation"]
            states = arrays.get(f"graph_{n}_items", self._items)  # those of `identity` are not looked at
            self._layers.append((function, states, tensors, layer["heads"], ACTIVATIONS[activation]))

    def of_new(self, history: NDArray[np.int32]) -> Floats:
        """Return the final embedding of someone new who had these items, (D,)."""
        return self._scored(self._estimates(history).sum(0), history)

    def of_known(self, user: int, had: NDArray[np.int32], history: NDArray[np.int32]) -> Floats:
        """Return the final embedding of someone who had `had` at training and has had `history` by now, (D,)."""
        moved = self._estimates(history).sum(0) - self._estimates(had).sum(0)
        return self._scored(self._initial[user] + moved, history)

    def parts(self, user: int, history: NDArray[np.int32], target: Floats) -> Floats:
        """Return what each item of the own history adds to the product of the final embedding with `target`, (H,).

        It is what is lost where neither the layers nor the estimate of the initial embedding hear of the item. With
        linear aggregators these parts, and that of the rest of the initial embedding, add up to the product.
        """
        own = self._initial[user].astype(np.float64)
        lost, size = self._estimates(history), len(history)
        whole = self._final(own[None], history)[0]
        if self._branch["score"] == "cosine":
            target = target / max(float(np.linalg.norm(whole)), 1e-12)
        found = np.empty(size)
        # What attention gives each item, then all states.
        heads = max((layer[3] for layer in self._layers), default=1)
        each = size * heads + whole.size + own.size * len(self._layers)
        rows = max(1, NUMBERS_PER_BLOCK // each)
        for block in (np.arange(start, min(start + rows, size)) for start in range(0, size, rows)):
            kept = (np.arange(size) != block[:, None]).astype(np.float64)
            found[block] = (whole - self._final(own - lost[block], history, kept)) @ target
        return found

    def _scored(self, own: Floats, history: NDArray[np.int32]) -> Floats:
        """Return the final embedding of one initial one, (d,) -> (D,), of length 1 where the score is a cosine."""
        final = self._final(own[None], history)
        return (_unit(final) if self._branch["score"] == "cosine" else final).reshape(-1)

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
            if self._branch["readout"] in ("last", "concat"):
                final = states[-1] if self._branch["readout"] == "last" else np.concatenate(states, axis=1)
            else:
                final = np.asarray(np.tensordot(self._shares, states, 1) / len(states))
        if not np.abs(final).max() <= LARGEST:
            raise ArtefactError(f"the graph branch makes values that are not finite or beyond {LARGEST:g}")
        return final


def _places(indptr: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of what lies between indptr[row] and indptr[row + 1] for all rows, and how many each has."""
    begin = indptr[rows].astype(np.int64)
    sizes = indptr[rows + 1] - begin
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(begin, sizes) + within, sizes


class Recommender:
    """Answers from one artefact; `load` makes it. Equal scores are ordered by the item's index.

    Ids may be any objects: they are matched by `str(id)`. Where fewer than `k` items (or users) are left, fewer
    are returned. Every method raises InputError for `k` < 1 and UnknownId for ids that the artefact does not
    know, unless they are of a list of items and `unknown` is "skip".
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
        self._titles, self._genres = _check_titles(titles, len(items))
        fusion, branch, arrays = _fusion(manifest), _graph_branch(manifest), _widened(arrays)
        _check_arrays(arrays, len(users), len(items), [name for name in fusion if name != "graph"], branch)
        self._weight, self._plain = fusion.pop("graph", 0.0), not fusion
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
        """Read an artefact, no file before its size and sha256 are found right; raise ArtefactError if not.

        One that another takes the place of meanwhile is read anew, three times at most.
        """
        left, path = 3, Path(folder)
        while True:
            before = _stamp(path / "manifest.json")
            try:
                return cls._loaded(path)
            except (ArtefactError, RecursionError) as error:
                # With another manifest there, files of two artefacts may have been read.
                if not left or _stamp(path / "manifest.json") == before:
                    raise ArtefactError(_one_line(f"artefact {str(folder)!r}: {error}")) from None
            left -= 1

    @classmethod
    def _loaded(cls, folder: Path) -> "Recommender":
        manifest = _read(folder, "manifest.json")
        _check_manifest(manifest)
        files = {name: _read(folder, name, entry) for name, entry in manifest["files"].items()}
        users, items, arrays = files["users.json"], files["items.json"], files["weights.safetensors"]
        found = {name: {"dtype": str(one.dtype), "shape": list(one.shape)} for name, one in arrays.items()}
        if manifest.get("arrays") != found:
            raise ArtefactError("the arrays of weights.safetensors are not those in manifest.json")
        return cls(manifest, users, items, files.get("titles.json"), arrays)

    def recommend(
        self, user: object, k: int = 10, *, new: Iterable[object] = (), **filters: Unpack[Filters]
    ) -> Ranking:
        """Return the `k` best items; without a history the most popular, with `fallback="popularity"`.

        `new` are items that the user has had since the training, the latest last. They count at once, as items of the
        history do: see `GraphNetwork`. Without any that is not in the history, the answer is that of the training.
        """
        (row,) = self._indices("user", [user])
        added = self._indices("item", self._in_order(new), filters.get("unknown", "error"))
        if added:
            known = set(self._history(row).tolist())
            added = [item for item in added if item not in known]
        had, trained = self._counted(row, later=len(set(added)))
        if not len(had) and not added:
            return self.recommend_many([user], k, **filters)[0]
        if not added:
            return self._folded(self._users[row], (had, trained), self._wanted(k, **filters))
        fresh, latest = self._one_by_one(added)
        order = np.argsort(np.concatenate([had, fresh]), kind="stable")
        history = np.concatenate([had, fresh])[order]
        counts = [np.concatenate(both)[order] for both in zip(trained, latest, strict=True)]
        # The embedding of a user without a history was never trained.
        vector = self._network.of_known(row, had, history) if len(had) else self._network.of_new(history)
        return self._folded(vector, (history, counts), self._wanted(k, **filters))

    def recommend_many(
        self, users: Iterable[object], k: int = 10, **filters: Unpack[Filters]
    ) -> list[Ranking]:
        """Return what `recommend` says of each user, in the order given, but much faster."""
        chosen = np.array(self._indices("user", users), dtype=np.int64)
        return list(itertools.starmap(self._ranking, self._answers(chosen, self._wanted(k, **filters))))

    def recommend_all(self, out: str | os.PathLike[str], k: int = 10, **filters: Unpack[Filters]) -> int:
        """Write what `recommend` says of every user to a file, whole or not at all, and return its number of rows.

        A row is user, rank (from 1), item, score, fallback. The ending of `out` is .jsonl, .csv or .parquet (which
        needs pyarrow or polars). InputError if it is another, or if the file cannot be written.
        """
        everybody, wanted = np.arange(len(self.user_ids)), self._wanted(k, **filters)
        return write_rows(
            Path(out),
            (
                (self.user_ids[user], rank + 1, self.item_ids[item], score, fallback)
                for user, (best, fallback) in enumerate(self._answers(everybody, wanted))
                for rank, (item, score) in enumerate(zip(best[0].tolist(), best[1].tolist(), strict=True))
            ),
        )

    def rerank(
        self,
        user: object,
        items: Iterable[object],
        k: int | None = None,
        diversity: float = 0,
        *,
        new: Iterable[object] = (),
        unknown: Literal["error", "skip"] = "error",
    ) -> Ranking:
        """Return the given items, each once, or the `k` best, best first for a user; those of the history as well."""
        given = self._indices("item", items, unknown)
        k, ids = max(1, len(given)) if k is None else k, [self.item_ids[item] for item in given]
        return self.recommend(
            user, k, new=new, only=ids, exclude_seen=False, diversity=diversity, unknown=unknown
        )

    def best_items(
        self,
        users: NDArray[np.int64],
        k: int,
        left_out: Sequence[NDArray[np.int32]] | None = None,
        barred: NDArray[np.bool_] | None = None,
    ) -> Iterator[Best]:
        """Yield the places of the `k` best items of each user, and their scores; both are given by index.

        Args:
            users: (B,), their places in `user_ids`.
            k: at least 1; fewer are yielded where fewer are left.
            left_out: for each user the items not to yield; None leaves out none.
            barred: (I,), the items not to yield for anybody; None for none.
        """
        k, none = _checked(k), np.zeros(0, dtype=np.int32)
        size = max(1, min(USERS_PER_BLOCK, SCORES_PER_BLOCK // len(self.item_ids)))
        threadpoolctl = _threadpoolctl() if len(users) > size else None
        if threadpoolctl and self._plain:
            size *= 4  # a product of more rows is faster, where a BLAS does not then spread it over threads of its own
        blocks = [slice(start, start + size) for start in range(0, len(users), size)]

        def best(block: slice) -> list[Best]:
            rows = users[block]
            out = left_out[block] if left_out else [none] * len(rows)
            trained = np.flatnonzero(self._indptr[rows + 1] > self._indptr[rows]).tolist()
            found = {}
            if trained:
                own = rows[trained]
                vectors, base, _ = self._parts(self._users[own], map(self._counted, own))
                ranked = self._by_item.best(vectors, k, [out[n] for n in trained], barred, base)
                found = dict(zip(trained, ranked, strict=True))
            return [found[n] if n in found else self._popular(k, one, barred) for n, one in enumerate(out)]

        return itertools.chain.from_iterable(_in_threads(best, blocks, threadpoolctl))

    def _answers(self, users: NDArray[np.int64], wanted: Wanted) -> Iterator[tuple[Best, str | None]]:
        """Yield the list of each user, and the fallback."""
        left_out = [self._history(user) for user in users] if wanted.exclude_seen else None
        found = self.best_items(users, wanted.pool, left_out, wanted.barred)
        for user, best in zip(users, found, strict=True):
            trained = self._indptr[user + 1] > self._indptr[user]
            yield self._diversified(best, wanted), None if trained else "popularity"

    def _wanted(
        self,
        k: int,
        *,
        exclude_seen: bool = True,
        only: Iterable[object] | None = None,
        without: Iterable[object] = (),
        diversity: float = 0,
        unknown: Literal["error", "skip"] = "error",
    ) -> Wanted:
        if not isinstance(diversity, int | float | np.number) or not 0 <= diversity <= 1:
            raise InputError(f"diversity must be a number in 0..1, but is {diversity!r}")
        bars = self._indices("item", without, unknown)
        allowed = None if only is None else self._indices("item", only, unknown)
        barred = None
        if bars or allowed is not None:
            barred = np.full(len(self.item_ids), allowed is not None)
            barred[allowed or []] = False
            barred[bars] = True
        pool = _checked(k) * (10 if diversity else 1)
        return Wanted(k, pool, exclude_seen, barred, diversity)

    def _diversified(self, best: Best, wanted: Wanted) -> Best:
        if not wanted.diversity:
            return best
        order = diversified(best[1], self._items[best[0]], wanted.k, wanted.diversity)
        return best[0][order], best[1][order]

    def similar_items(self, item: object, k: int = 10) -> Ranking:
        """Return the `k` items whose embeddings have the largest cosine with that of `item`, itself left out."""
        (index,) = self._indices("item", [item])
        vector = _unit(self._items[[index]])
        return self._ranking(self._item_cosines.best(vector, _checked(k), [np.array([index])])[0])

    def similar_users(self, user: object, k: int = 10) -> list[SimilarUser]:
        """Return the `k` users whose embeddings have the largest cosine with that of `user`, itself left out.

        The embedding of a user without history says nothing: none is listed, and the list for one is empty.
        """
        (index,), k = self._indices("user", [user]), _checked(k)
        untrained = np.diff(self._indptr) == 0
        if untrained[index]:
            return []
        vector = _unit(self._users[[index]])
        ((rows, scores),) = self._user_cosines.best(vector, k, [np.array([index])], untrained)
        return [SimilarUser(self.user_ids[u], s) for u, s in zip(rows.tolist(), scores.tolist(), strict=True)]

    def fold_in(self, history: Iterable[object], k: int = 10, **filters: Unpack[Filters]) -> Ranking:
        """Return the `k` best items for someone unknown to the training, from the items in their `history`, latest last.

        An item that occurs twice counts once, where it is latest, and those of the history are left out. An empty
        history gets the most popular items. The graph branch folds in by its own network: see `GraphNetwork`.
        """
        wanted, ordered = self._wanted(k, **filters), self._in_order(history)
        # Of a history that is unknown as a whole, the most popular items would be no answer.
        items = self._indices("item", ordered, filters.get("unknown", "error"), some=True)
        counted = self._one_by_one(items)
        if not len(counted[0]):
            best = self._popular(wanted.pool, counted[0], wanted.barred)
            return self._ranking(self._diversified(best, wanted), "popularity")
        return self._folded(self._network.of_new(counted[0]), counted, wanted)

    def explain(self, user: object, item: object) -> Explanation:
        """Return what each h of the user's history carries to an item's score.

        By the graph branch, that is what `GraphNetwork.parts` says; by a branch that scores by the history, exactly what
        h adds, by nearest users as a share of what its users add, who are what they are by all of the history.
        """
        (row,), (column,) = self._indices("user", [user]), self._indices("item", [item])
        head, history = (self.user_ids[row], self.item_ids[column]), self._history(row)
        title = self._titles[column]
        if not len(history):
            count = float(self._popularity[column])
            return Explanation(*head, title, count, count, False, (), "popularity")
        target = self._items[column].astype(np.float64)
        counted, seen = self._counted(row), bool((history == column).any())
        (vector,), base, (learned, *scales) = self._parts(self._users[[row]], [counted])
        score = np.float32((vector * target).sum() + (0 if base is None else base[0, column]))
        parts = learned * self._network.parts(row, history, target)
        for scale, (_, branch), counts in zip(scales, self._branches, counted[1], strict=True):
            parts = parts + scale * branch.parts(history, counts, column)
        order = np.argsort(-parts, kind="stable")
        ordered = zip(history[order].tolist(), parts[order].tolist(), strict=True)
        contributions = tuple(Contribution(self.item_ids[h], self._titles[h], part) for h, part in ordered)
        return Explanation(*head, title, float(score), float(score - parts.sum()), seen, contributions)

    def _folded(self, vector: Floats, counted: Counted, wanted: Wanted) -> Ranking:
        """Return the best items for one user of this embedding, (D,), and history."""
        vectors, base, _ = self._parts(vector[None], [counted])
        left_out = [counted[0] if wanted.exclude_seen else counted[0][:0]]
        (best,) = self._by_item.best(vectors, wanted.pool, left_out, wanted.barred, base)
        return self._ranking(self._diversified(best, wanted))

    def _parts(
        self, vectors: NDArray[Any], histories: Iterable[Counted]
    ) -> tuple[Floats, Floats | None, list[Floats]]:
        """Return what the scores of users with these embeddings (B, D) and histories are made of.

        Returns:
            (B, D), to be multiplied with the items' embeddings; (B, I), to be added, or None; and for the embeddings,
            then for each other branch, what its scores are multiplied with, (B,).
        """
        wide, base = vectors.astype(np.float64), None
        if self._plain:
            return wide, None, [np.ones(len(wide))]
        centre, spread = self._item_moments
        deviations = np.sqrt(np.maximum(((wide @ spread) * wide).sum(axis=1), 0))
        histories = list(histories)
        scales = [self._weight * _scale(deviations, np.abs(wide @ centre))]
        for n, (weight, branch) in enumerate(self._branches):
            scores = branch.scores([history for history, _ in histories], [own[n] for _, own in histories])
            scales.append(weight * _scale(scores.std(axis=1), np.abs(scores.mean(axis=1))))
            scores *= scales[-1][:, None]
            base = scores if base is None else base + scores
        return wide * scales[0][:, None], base, scales

    @cached_property
    def _item_moments(self) -> tuple[Floats, Floats]:
        """The mean (D,) and the covariance (D, D) of the items' embeddings: u'Cu is the variance of u's scores."""
        centre, spread = self._items.mean(axis=0, dtype=np.float64), np.zeros((self._items.shape[1],) * 2)
        for start in range(0, len(self._items), ROWS_PER_BLOCK):
            rows = self._items[start : start + ROWS_PER_BLOCK] - centre
            spread += rows.T @ rows
        return centre, spread / len(self._items)

    @cached_property
    def _by_item(self) -> Table:
        return Table(self._items)

    @cached_property
    def _item_cosines(self) -> Table:
        return Table(self._items, cosine=True)

    @cached_property
    def _user_cosines(self) -> Table:
        return Table(self._users, cosine=True)

    def _popular(self, k: int, left_out: NDArray[np.int32], barred: NDArray[np.bool_] | None) -> Best:
        """Return the k items with the most interactions."""
        counts = self._popularity.copy()
        counts[left_out] = -np.inf
        if barred is not None:
            counts[barred] = -np.inf
        order = np.argsort(-counts, kind="stable")[:k]
        order = order[counts[order] > -np.inf]
        return order, counts[order]

    def _counted(self, user: int, later: int = 0) -> Counted:
        """Return a user's history, and for each branch how much its items count where so many were had later."""
        part = self._indptr[user], self._indptr[user + 1]
        return self._history(user), [branch.counts(*part, later) for _, branch in self._branches]

    def _in_order(self, items: Iterable[object]) -> Iterable[object]:
        if isinstance(items, set | frozenset) and any(branch.aged for _, branch in self._branches):
            raise InputError("a set of items has no order; expected a list, the latest last")
        return items

    def _one_by_one(self, items: Sequence[int]) -> Counted:
        """Return the history of someone who had these items one after the other, each where it is latest."""
        latest_first = np.array(list(dict.fromkeys(reversed(items))), dtype=np.int32)
        order = np.argsort(latest_first)
        return latest_first[order], [branch.faded(order) for _, branch in self._branches]

    def _history(self, user: int) -> NDArray[np.int32]:
        return self._seen[self._indptr[user] : self._indptr[user + 1]]

    def _indices(
        self, kind: str, ids: Iterable[object], unknown: str = "error", *, some: bool = False
    ) -> list[int]:
        """Return the places of ids, with "skip" of those known, unless `some` are due and none is known."""
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            raise InputError(f"expected a list of {kind} ids, but got {ids!r}")
        if unknown not in ("error", "skip"):
            raise InputError(f"unknown must be 'error' or 'skip', but is {unknown!r}")
        index, texts = self._index[kind], [str(one) for one in ids]
        found = [index[text] for text in texts if text in index]
        if len(found) < len(texts) and (unknown == "error" or (some and not found)):
            raise UnknownId(self._unknown(kind, [text for text in texts if text not in index]))
        return found

    def _unknown(self, kind: str, ids: Sequence[str]) -> str:
        """Return what is to be said of ids that are all unknown."""
        import difflib  # needed here alone

        ids = list(dict.fromkeys(ids))
        close, first = [], ids[0]
        if len(ids) == 1:
            # Those that begin alike come first.
            likely = sorted(self._index[kind], key=lambda one: one[:2] != first[:2])[:MOST_COMPARED]
            close = difflib.get_close_matches(first, likely)
        hint = f"; close ids: {', '.join(map(repr, close))}" if close else ""
        hint = hint or ("; someone new: fold in a history" if kind == "user" else "")
        hint = hint or ("; ids that hold commas come as a list" if len(ids) > 1 else "")
        more = f" and {len(ids) - 10} more" if len(ids) > 10 else ""
        return f"unknown {kind}: {', '.join(map(repr, ids[:10]))}{more}{hint}"

    def _ranking(self, best: Best, fallback: str | None = None) -> Ranking:
        lists = self.item_ids, self._titles, self._genres
        items, scores = best[0].tolist(), best[1].tolist()
        columns = [map(one.__getitem__, items) for one in lists]
        return list(map(NEW_RECOMMENDATION, zip(*columns, scores, itertools.repeat(fallback))))


def _checked(k: int) -> int:
    if not hasattr(k, "__index__") or operator.index(k) < 1:
        raise InputError(f"k must be a whole number, at least 1, but got {k!r}")
    return operator.index(k)


def diversified(
    scores: NDArray[np.float32], vectors: NDArray[np.float32], k: int, diversity: float
) -> list[int]:
    """Return at most k places in the order of maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    The next one is always that of the largest (1 - diversity) * relevance - diversity * similarity: relevance is the
    score, from 0 for the lowest to 1 for the highest of all that are given; similarity the largest cosine with one that
    is chosen already. Here all are the 10 k best items, and the cosine is that of their embeddings.

    Args:
        scores: (N,), best first.
        vectors: (N, D).
        k: at least 1.
        diversity: 0 gives the order of the scores.
    """
    units, wide, order = _unit(vectors), scores.astype(np.float64), list[int]()
    relevance = (wide - wide.min()) / (np.ptp(wide) or 1) if len(wide) else wide
    nearest, free = np.full(len(wide), -1.0), np.zeros(len(wide))
    for _ in range(min(k, len(wide))):
        order.append(int(np.argmax((1 - diversity) * relevance - diversity * nearest + free)))
        free[order[-1]] = -np.inf
        nearest = np.maximum(nearest, (units * units[order[-1]]).sum(axis=1))
    return order


Row = tuple[str, int, str, float, str | None]
COLUMNS = ("user", "rank", "item", "score", "fallback")


def write_rows(out: Path, rows: Iterator[Row]) -> int:
    """Write rows to a .jsonl, .csv or .parquet file, whole or not at all; return how many."""
    writers = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}
    if out.suffix not in writers:
        raise InputError(f"{str(out)!r} must end in one of {', '.join(writers)}")
    written = itertools.count()
    place = Path(os.path.realpath(out))  # what a link leads to is replaced, not the link
    aside = place.with_name(f".{os.getpid()}-{threading.get_ident()}{out.suffix}")
    try:
        writers[out.suffix](aside, (row for row, _ in zip(rows, written, strict=False)))
        if place.exists():
            aside.chmod(place.stat().st_mode)
        aside.replace(place)
    except (OSError, UnicodeError) as error:  # an id may hold half a character
        raise InputError(f"cannot write {str(out)!r}: {getattr(error, 'strerror', None) or error}") from None
    finally:
        with suppress(OSError):  # it tells what went wrong no better than the error above
            aside.unlink()
    return next(written)


def _write_jsonl(path: Path, rows: Iterator[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(_line(dict(zip(COLUMNS, row, strict=True)), "utf-8") + "\n" for row in rows)


def _write_csv(path: Path, rows: Iterator[Row]) -> None:
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows((*row[:3], f"{row[3]:.7g}", row[4]) for row in rows)


def _write_parquet(path: Path, rows: Iterator[Row]) -> None:
    blocks = iter(lambda: list(itertools.islice(rows, 1 << 18)), [])
    columns = (dict(zip(COLUMNS, map(list, zip(*block, strict=True)), strict=True)) for block in blocks)
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        try:
            polars = import_module("polars")
        except ImportError:
            raise InputError(".parquet needs pyarrow or polars; .jsonl and .csv need neither") from None
        text, types = polars.String, (polars.Int32, polars.Float32)
        schema = dict(zip(COLUMNS, (text, types[0], text, types[1], text), strict=True))
        # It takes all blocks at once; as columns they are small.
        polars.concat(polars.DataFrame(one, schema) for one in ({}, *columns)).write_parquet(path)
        return
    text, types = arrow.string(), (arrow.int32(), arrow.float32())
    schema = arrow.schema(list(zip(COLUMNS, (text, types[0], text, types[1], text), strict=True)))
    with parquet.ParquetWriter(path, schema) as writer:
        for one in columns:
            writer.write_table(arrow.table(one, schema))


def _threadpoolctl() -> Any:
    """Return the library that can keep a BLAS from threads of its own, which fight with ours; None where it is missing."""
    try:
        return import_module("threadpoolctl")
    except ImportError:
        return None


@contextmanager
def _blas_on_one_thread(threadpoolctl: Any) -> Iterator[None]:
    """Keep it from them while anybody is within; whoever leaves last gives back what there was."""
    if threadpoolctl is None:
        yield
        return
    with WITHIN.lock:
        WITHIN.number += 1
        if WITHIN.number == 1:
            WITHIN.limits = threadpoolctl.threadpool_limits(1, "blas")
    try:
        yield
    finally:
        with WITHIN.lock:
            WITHIN.number -= 1
            if WITHIN.number == 0:
                WITHIN.limits.restore_original_limits()


def _in_threads(
    function: Callable[[slice], list[Best]], blocks: Sequence[slice], threadpoolctl: Any
) -> Iterator[list[Best]]:
    """Yield the result of each block, in their order; numpy lets other threads work meanwhile."""
    # The first one alone: it may make tables that the others use too.
    yield from map(function, blocks[: 1 if THREADS > 1 else None])
    if THREADS == 1 or len(blocks) <= 1:
        return
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and needed here alone

    # A BLAS that is built with OpenMP has a number of threads for each thread that calls it.
    begin = partial(threadpoolctl.threadpool_limits, 1, "blas") if threadpoolctl else None
    with _blas_on_one_thread(threadpoolctl), ThreadPoolExecutor(THREADS, initializer=begin) as pool:
        # Not all at once, so that whoever writes results away need not hold them all.
        for start in range(1, len(blocks), 64):
            yield from pool.map(function, blocks[start : start + 64])


def _unit(vectors: NDArray[Any]) -> Floats:
    lengths = np.linalg.norm(wide := vectors.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(wide / np.where(lengths > 0, lengths, 1))


def _scale(deviations: Floats, means: Floats) -> Floats:
    """Return 1 over the standard deviation of each user's scores, 0 where they are all alike."""
    alike = deviations <= 1e-6 * means
    return np.asarray(np.where(alike, 0, 1 / np.where(alike, 1, deviations)))


def manifest_sha256(manifest: dict[str, Any]) -> str:
    """Return the sha256 (hex) that `manifest` must state of itself: over all its keys but `sha256`."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _check_manifest(manifest: Any) -> None:
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ArtefactError('manifest.json must hold an object, and in it the object "files"')
    due = {"project": "nas-recsys", "format_version": FORMAT_VERSION, "score": "dot"}
    for key, value in due.items():
        if manifest.get(key) != value:
            raise ArtefactError(f"manifest.json: {key} must be {value!r}, but is {manifest.get(key)!r}")
    if manifest.get("sha256") != manifest_sha256(manifest):
        raise ArtefactError("manifest.json was changed: its sha256 is not that of what it holds")
    if missing := REQUIRED - manifest["files"].keys():
        raise ArtefactError(f"manifest.json lists no {', '.join(sorted(missing))}")


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what tells a file from another in its place; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _one_line(text: str) -> str:
    """Return a text, of which a folder may have chosen parts, as one line that does nothing to a terminal."""
    line = " ".join(text.splitlines())
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)


def _read(folder: Path, name: str, stated: object = None) -> Any:
    """Return the content of one file, parsed if it is JSON or safetensors, once it is what `stated` says."""
    path = folder / name
    try:
        # A plain name cannot lead out of the folder, on any operating system; a link could.
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or path.is_symlink() or not path.is_file():
            raise ValueError("it is missing, or not a plain file in the folder")
        if name == "manifest.json" and path.stat().st_size > MANIFEST_BYTES:
            raise ValueError(f"it has more than {MANIFEST_BYTES} bytes")
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
    if not isinstance(ids, list) or set(map(type, ids)) != {str}:
        raise ArtefactError(f"{name} must be a list of ids, each a text")
    index = dict(zip(ids, range(len(ids)), strict=True))
    if len(index) < len(ids):
        twice = next(one for place, one in enumerate(ids) if index[one] != place)
        raise ArtefactError(f"{name} hold the id {twice!r} twice")
    return index


def _check_titles(titles: Any, items: int) -> tuple[list[str | None], list[tuple[str, ...]]]:
    if titles is None:
        return [None] * items, [()] * items
    try:
        names = [str(title) or None for title, _ in titles]
        genres = [tuple(map(str, kinds)) for _, kinds in titles]
    except (TypeError, ValueError):
        names = []
    if len(names) != items:
        raise ArtefactError(f"titles must be {items} pairs [title, [genre, ...]]")
    return names, genres


def _fusion(manifest: dict[str, Any]) -> dict[str, float]:
    fusion = manifest.get("fusion", {"graph": 1.0})
    if not isinstance(fusion, dict) or not fusion or not fusion.keys() <= BRANCHES:
        raise ArtefactError(f"manifest.json: fusion must give weights of {', '.join(sorted(BRANCHES))}")
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
    rule = f"a list of at most {MOST_LAYERS} aggregators ({', '.join(AGGREGATORS)}) with heads that divide {size}"
    check("layers", isinstance(layers, list) and len(layers) <= MOST_LAYERS, rule)
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


def _widened(arrays: Arrays) -> Arrays:
    """Return the arrays as the layouts have them, whatever their precision."""
    found = dict(arrays)
    for name, one in arrays.items():
        if one.dtype in (np.uint16, np.float16):
            found[name] = one.astype(np.int32 if one.dtype == np.uint16 else np.float32)
        elif one.dtype == np.int8:
            scale, sizes = found.pop(f"{name}_scale", None), None
            if scale is None or one.ndim not in (1, 2):
                raise ArtefactError(f"{name} of int8 must have rows, and {name}_scale")
            if one.ndim == 1:
                indptr = arrays.get(f"{name.removesuffix('weights')}indptr", one)
                _check_array(f"the indptr of {name}", indptr, "int64", (indptr.size,))
                _check_rows(name, indptr, np.zeros(len(one), dtype=np.int8), 1)
                sizes = np.diff(indptr)
            _check_array(f"{name}_scale", scale, "float32", (len(one) if sizes is None else len(sizes),))
            found[name] = one * (scale[:, None] if sizes is None else np.repeat(scale, sizes))
    return found


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
    sizes = {
        "U": users,
        "I": items,
        "I+1": items + 1,
        "E": entries,
        "r": rank,
        "N": interactions,
        "1": 1,
        "2": 2,
    }
    for key, one in held.items():
        dtype, letters = BRANCH_LAYOUT[key]
        _check_array(f"{name}_{key}", one, dtype, tuple(sizes[letter] for letter in letters))
    if sparse:
        _check_rows(name, held["indptr"], held["items"], items)
    if "nearest" in held:
        count, power = held["nearest"].tolist()
        if "item_shares" not in held or low or not (count >= 1 and 0 < power <= 100):
            raise ArtefactError(
                f"branch {name!r} must have nearest with item_shares and user_shares alone, a count of at least 1 "
                "and a power above 0, at most 100"
            )
    if len({"ages", "fade"} & held.keys()) == 1:
        raise ArtefactError(f"branch {name!r} must have both or neither of ages and fade")
    if "ages" in held and not (held["ages"].min(initial=0) >= 0 and held["fade"][0] > 0):
        raise ArtefactError(f"branch {name!r} must have ages of at least 0, and a fade above 0")


def _check_rows(name: str, indptr: NDArray[Any], columns: NDArray[Any], items: int) -> None:
    """Check compressed sparse rows, each a part of `columns`."""
    if not indptr.size or indptr[0] != 0 or indptr[-1] != len(columns) or (indptr[1:] < indptr[:-1]).any():
        raise ArtefactError(f"{name}_indptr must rise from 0 to {len(columns)}")
    if len(columns) and not 0 <= columns.min() <= columns.max() < items:
        raise ArtefactError(f"{name}_items must lie in 0..{items - 1}")


def _check_array(name: str, one: NDArray[Any], dtype: str, shape: tuple[int, ...]) -> None:
    if (str(one.dtype), one.shape) != (dtype, shape):
        raise ArtefactError(f"{name} must be {dtype} {shape}, but is {one.dtype} {one.shape}")
    # So written, NaN fails too.
    if dtype == "float32" and one.size and not -LARGEST <= one.min() <= one.max() <= LARGEST:
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
    _check_rows("seen", indptr, seen, items)
    rises = np.append(np.diff(seen) > 0, True)
    # Where the next user begins, or a place counted from the end where none has yet.
    rises[indptr[1:-1] - 1] = True
    if not rises.all():
        raise ArtefactError(f"seen_items must lie in 0..{items - 1} and increase within each user")


class _Format(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100)  # to ask the terminal, it would import slow modules


class _Parser(argparse.ArgumentParser):
    def __init__(self, **given: Any) -> None:
        super().__init__(formatter_class=_Format, **given)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # What is misspelt is told before what is missing for that reason.
        for word in args or () if self._subparsers is None else ():
            name = word.partition("=")[0]
            if name.startswith("--") and not any(one.startswith(name) for one in self._option_string_actions):
                self.error(f"unrecognized arguments: {word}")
        return super().parse_known_args(args, namespace)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    common = _Parser(add_help=False)
    common.add_argument("--folder", default=argparse.SUPPRESS, help="the artefact, if not where this file is")
    parser = _Parser(description="Ask a recommender; JSON lines on standard output.", parents=[common])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (options, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        for option in options:
            command.add_argument(f"--{option}", **OPTIONS[option])
        each = " for each user" if name == "recommend-all" else ""
        most = "all" if name == "rerank" else 10
        command.add_argument("-k", type=int, help=f"at most so many{each} (default {most})")
    return parser.parse_args(arguments)


def _ids(option: str, texts: list[str], known: Iterable[str]) -> Iterator[str]:
    """Read each value of an option: one known id as a whole, a JSON list, or ids between commas."""
    for text in texts:
        if text in known:
            yield text
        elif text.startswith("["):
            try:
                yield from map(str, json.loads(text))
            except (ValueError, RecursionError):
                raise InputError(f"--{option} {text!r} is not a JSON list") from None
        else:
            yield from filter(None, map(str.strip, text.split(",")))


def _answers(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    model = Recommender.load(getattr(asked, "folder", Path(__file__).parent))
    given: dict[str, Any] = {key: value for key, value in vars(asked).items() if value is not None}
    command, _ = given.pop("command"), given.pop("folder", None)
    known, lists = model._index["item"], given.keys() & {"history", "items", "new", "only", "without"}
    for option in lists:
        given[option] = list(_ids(option, given[option], known))
    for option in given.keys() & {"user", "item"}:
        if len(given[option]) > 1:
            raise InputError(f"--{option} is given {len(given[option])} times; ask for one at a time")
        (given[option],) = given[option]
    if command == "explain":
        k, why = _checked(given.pop("k", 10)), model.explain(**given)
        yield why._asdict() | {"contributions": len(why.contributions)}
        yield from (one._asdict() for one in why.contributions[:k])
        return
    answer = getattr(model, command.replace("-", "_"))
    found = answer(**given)
    if skipped := {one for option in lists for one in given[option]} - known.keys():
        _tell(f"unknown items skipped: {len(skipped)}")
    if found == []:
        helps = given.get("exclude_seen") and answer(**given | {"exclude_seen": False})
        hint = "; items of the history are left out, see --with-seen" if helps else ""
        _tell(f"nothing is left that may be in the list{hint}")
    yield from ({"rows": found},) if command == "recommend-all" else (one._asdict() for one in found)


def _line(answer: dict[str, Any], encoding: str) -> str:
    kept = {key: value for key, value in answer.items() if key == "title" or value not in (None, ())}
    # Seven digits are what float32 holds.
    kept |= {key: float(f"{value:.7g}") for key, value in kept.items() if isinstance(value, float)}
    text = json.dumps(kept, ensure_ascii=False)
    # Some readers end a line at U+0085 or U+2028 too, which JSON leaves as they are.
    plain = text.encode(encoding, "ignore").decode(encoding) == text and len(text.splitlines()) == 1
    return text if plain else json.dumps(kept)


def _tell(text: str) -> None:
    """Print one line on standard error, nowhere if that is closed."""
    if sys.stderr is not None:  # else it would go to standard output
        print(f"recommender: {_one_line(text)}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one command of the command line; return the exit code, as the head of this file says."""
    if sys.stdout is None:
        _tell("standard output is closed")
        return 1
    try:
        for answer in _answers(_parse(arguments)):
            print(_line(answer, sys.stdout.encoding))
        sys.stdout.flush()
    except KeyboardInterrupt:
        _tell("interrupted")
        return 130
    except (ArtefactError, InputError, UnknownId) as error:
        _tell(str(error))
        return 2
    except OSError as error:
        # Without this the interpreter flushes once more at its end and complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # which means that the reader has had enough
            _tell(f"cannot write: {error.strerror}")
            return 1
    return 0


if __name__ == "__main__":
    # What ends a process must not leave half a file of `recommend-all` behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = main()
    if sys.stdout is not None:
        sys.stdout.flush()
    os._exit(code)  # with numpy, an interpreter's own end takes an eighth of the whole process
