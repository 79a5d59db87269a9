"""Artefacts from random arrays."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nas.recommender.contents import ArtefactContents
from nas.recommender.fold_in_map import fold_in_maps
from nas.recommender.writer import write_artefact

Make = Callable[..., ArtefactContents]


def random_contents(
    seed: int = 0,
    users: int = 12,
    items: int = 20,
    columns: int = 4,
    density: float = 0.3,
    tied: bool = False,
    titled: bool = True,
) -> ArtefactContents:
    """Contents whose user 0 has no history and user 1 has one; `tied`: small integers, so that scores tie."""
    random = np.random.default_rng(seed)
    if tied:
        user = random.integers(-1, 2, (users, columns)).astype(np.float32)
        item = random.integers(-1, 2, (items, columns)).astype(np.float32)
    else:
        user = random.standard_normal((users, columns), dtype=np.float32)
        item = random.standard_normal((items, columns), dtype=np.float32)
    seen = random.random((users, items)) < density
    seen[0] = False
    seen[1, 0] = True
    indptr = np.concatenate([[0], np.cumsum(seen.sum(axis=1))]).astype(np.int64)
    indices = np.nonzero(seen)[1].astype(np.int32)
    return ArtefactContents(
        data_name="random data",
        fingerprint="ab" * 32,
        architecture={"layers": 2, "aggregators": ["lightgcn", "lightgcn"]},
        recipe={"loss": "bpr", "learning_rate": 0.01},
        metrics={"test": {"recall@20": 0.25, "ndcg@20": np.float32(0.5)}},
        user_ids=[f"u{index}" for index in range(users)],
        item_ids=[f"i{index}" for index in range(items)],
        user_embeddings=user,
        item_embeddings=item,
        seen_indptr=indptr,
        seen_items=indices,
        fold_in=fold_in_maps(user, item, indptr, indices, [0.01])[0],
        titles=[f"Title {index}" for index in range(items)] if titled else None,
        genres=[("Drama",) * (index % 3) for index in range(items)] if titled else None,
    )


@pytest.fixture(scope="session")
def make() -> Make:
    """`random_contents`, for tests of any import mode."""
    return random_contents


@pytest.fixture(scope="session")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One artefact that tests only read."""
    folder = tmp_path_factory.mktemp("artefact") / "recommender"
    write_artefact(folder, random_contents())
    return folder
