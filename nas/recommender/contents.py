"""What an artefact holds, before it is written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class ArtefactContents:
    """All that an artefact says, for U users, I items, D columns and N interactions.

    Attributes:
        data_name: name of the data, for the reader of README.md.
        fingerprint: that of the interactions.
        architecture: as JSON values.
        recipe: as JSON values.
        metrics: as JSON values, finite numbers; may nest, as in {"test": {"ndcg@20": 0.25}}.
        user_ids: the user of each index, distinct.
        item_ids: the item of each index, distinct.
        user_embeddings: (U, D) float32, final: for cosine models already of length 1.
        item_embeddings: (I, D) float32, likewise; the dot product is the score.
        seen_indptr: (U + 1,) int64, where each user's history starts and ends.
        seen_items: (N,) int32, increasing within each user. Popularity is counted from it.
        fold_in: (D, d) float32, see `fold_in_maps`; d is the hidden size of the graph branch, D where there is none.
        fusion: the weight of each branch; without "graph", the embeddings serve similarity alone.
        branches: the arrays of each branch: of BRANCH_LAYOUT, or for "graph" of the recommender's `_graph_layout`.
        titles: one an item, "" where unknown; or None.
        genres: a sequence of texts an item; or None.
        picture: the architecture as a drawing in characters, for README.md.
        precision: one of PRECISIONS, see `narrowed`.
        evidence: what it is worth, in sentences, for README.md.
        judged: whether metrics of the test are of these very arrays, and not of the same settings fitted on less data.
    """

    data_name: str
    fingerprint: str
    architecture: Mapping[str, Any]
    recipe: Mapping[str, Any]
    metrics: Mapping[str, Any]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    user_embeddings: FloatArray
    item_embeddings: FloatArray
    seen_indptr: NDArray[np.int64]
    seen_items: NDArray[np.int32]
    fold_in: FloatArray
    fusion: Mapping[str, float] = field(default_factory=lambda: {"graph": 1.0})
    branches: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    titles: Sequence[str] | None = None
    genres: Sequence[Sequence[str]] | None = None
    picture: str = ""
    precision: str = "float32"
    evidence: str = ""
    judged: bool = True


def first_with_history(seen_indptr: NDArray[np.int64]) -> int:
    """Return the first user who has a history, for examples; 0 where nobody has one."""
    return int(np.argmax(np.diff(seen_indptr) > 0))


def json_text(value: Any) -> str:
    """Return JSON of one spelling: keys in order, numbers of numpy as numbers, nothing that is not finite."""
    return (
        json.dumps(
            value,
            indent=2,
            sort_keys=True,
            ensure_ascii=False,
            allow_nan=False,
            default=lambda number: number.item(),
        )
        + "\n"
    )
