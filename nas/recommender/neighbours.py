"""`items.usearch`: an approximate nearest-neighbour index over the item embeddings, for catalogues of millions.

A graph of neighbours (HNSW, Malkov and Yashunin, TPAMI 2020) in the format of usearch, by inner product: keys are places
in items.json, a distance is 1 less the score. A list of k without the history asks for k + its size. It serves
recommenders whose only branch is "graph"; standardised scores of several branches, added, are no inner product.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.errors import UserError
from nas.recommender.addition import Addition, library
from nas.recommender.contents import first_with_history
from nas.recommender.recommender import Recommender

logger = logging.getLogger(__name__)
NAME, PACKAGES = "items.usearch", "usearch"
MOST_USERS, LENGTH = 500, 10
# The library's own defaults, fixed so that its next ones change no bytes.
SETTINGS = {"connectivity": 16, "expansion_add": 128, "expansion_search": 64}
Arrays = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float32]


class Measured(NamedTuple):
    """What the index is worth: recall@10 against exact lists, and medians of the seconds that one user's list takes."""

    users: int
    recall: float
    seconds: float
    exact_seconds: float

    def __str__(self) -> str:
        line = (
            f"{NAME}: recall@{LENGTH} {self.recall:.4f} against the exact lists of {self.users} users; "
            f"{self.seconds * 1e3:.2f} ms a user, exact {self.exact_seconds * 1e3:.2f} ms"
        )
        slower = "; it does not pay for this catalogue: the exact list takes no longer"
        return line + (slower if self.seconds >= self.exact_seconds else "")


def ann_addition(model: Recommender, arrays: Arrays) -> Addition:
    """Return the index, and log what `measure` finds.

    Raises:
        UserError: usearch is not installed, or "graph" is not the only branch.
    """
    check_branches(model.manifest["fusion"])
    index = built(embeddings(arrays, "item_embeddings"))
    if (found := measure(index, model, arrays)) is None:
        logger.info("%s: not measured, for nobody has a history", NAME)
    else:
        logger.info("%s", found)
    return Addition(NAME, bytes(index.save()), _readme(model, arrays))


def check_branches(fusion: Mapping[str, float]) -> None:
    """Raise UserError unless "graph" is the only branch."""
    if [*fusion] != ["graph"]:
        raise UserError(
            f"--ann needs a recommender whose only branch is graph, but this one has {', '.join(fusion)}: "
            "a sum of standardised branches is no inner product; another can be chosen by --architecture"
        )


def built(table: Floats) -> Any:
    """Return usearch's index of (I, D) rows, the same for the same rows."""
    usearch = library("usearch.index", "--ann", PACKAGES)
    index = usearch.Index(ndim=table.shape[1], metric="ip", dtype="f32", **SETTINGS)
    index.add(np.arange(len(table)), table, threads=1)  # several would insert in no fixed order
    return index


def listed(index: Any, vector: Floats, history: NDArray[np.int32], k: int) -> NDArray[np.int64]:
    """Return nearly the k best items for an embedding (D,), best first, none of the history."""
    found = index.search(vector, k + len(history), threads=1).keys.astype(np.int64)
    return np.asarray(found[~np.isin(found, history)][:k])


def measure(index: Any, model: Recommender, arrays: Arrays) -> Measured | None:
    """Compare lists of up to MOST_USERS users who have a history with the exact ones; None if nobody has one."""
    indptr, seen = arrays["seen_indptr"], arrays["seen_items"]
    trained = np.flatnonzero(np.diff(indptr))
    if not len(trained):
        return None
    users = trained[np.unique(np.linspace(0, len(trained) - 1, MOST_USERS).astype(np.int64))]
    vectors, hits, due, times = embeddings(arrays, "user_embeddings"), 0, 0, []
    next(model.best_items(users[:1], LENGTH))  # it makes tables when it is first asked
    for user in users:
        history = seen[indptr[user] : indptr[user + 1]].astype(np.int32)
        start = time.perf_counter()
        ((exact, _),) = model.best_items(np.array([user]), LENGTH, [history])
        middle = time.perf_counter()
        found = listed(index, vectors[user], history, LENGTH)
        times.append((time.perf_counter() - middle, middle - start))
        hits, due = hits + len(np.intersect1d(found, exact)), due + len(exact)
    seconds, exact_seconds = np.median(times, axis=0).tolist()
    return Measured(len(users), hits / max(due, 1), seconds, exact_seconds)


def embeddings(arrays: Arrays, name: str) -> Floats:
    """Return (N, D) float32 embeddings, whatever their precision."""
    wide = arrays[name].astype(np.float32)
    return wide * arrays[f"{name}_scale"][:, None] if f"{name}_scale" in arrays else wide


def _readme(model: Recommender, arrays: Arrays) -> str:
    user_id = model.user_ids[first_with_history(arrays["seen_indptr"])]
    scale = ' * arrays["user_embeddings_scale"][user]' if "user_embeddings_scale" in arrays else ""
    return f"""
## Approximate lists

`{NAME}` is an index of the item embeddings by inner product, for usearch (`pip install usearch`). `recommender.py`
does not read it: its lists are exact. Keys are places in `items.json`; the score is 1 less the distance.

```python
import json
from pathlib import Path

import numpy as np
import safetensors.numpy
from usearch.index import Index

users, items = (json.loads(Path(f"{{name}}.json").read_text("utf-8")) for name in ("users", "items"))
arrays = safetensors.numpy.load_file("weights.safetensors")
index = Index.restore("{NAME}", view=True)

user, k = users.index({user_id!r}), 3
begin, end = arrays["seen_indptr"][[user, user + 1]]
history = arrays["seen_items"][begin:end]
vector = arrays["user_embeddings"][user].astype(np.float32){scale}
found = index.search(vector, k + len(history))
unseen = ~np.isin(found.keys, history)
for item, distance in list(zip(found.keys[unseen], found.distances[unseen]))[:k]:
    print(items[item], 1 - distance)
```

The embedding of a user without a history says nothing: ask `recommender.py`, which gives what is popular.
"""
