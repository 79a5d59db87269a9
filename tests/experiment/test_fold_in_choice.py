"""How far the estimate for someone new is trusted, on blocks of users who want the items of their block."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from nas.data import Interactions, PlantedConfig, planted
from nas.experiment.stages.fold_in import RIDGES, choose_ridge
from nas.model.metrics import per_user
from nas.recommender import Recommender
from nas.recommender.contents import ArtefactContents
from nas.recommender.fold_in_map import fold_in_maps
from nas.recommender.recommender import Ranking
from nas.recommender.writer import assembled

Floats = NDArray[np.float32]
BLOCKS, K = 6, 20


@pytest.fixture(scope="module")
def parts() -> tuple[Interactions, Interactions]:
    whole = planted(PlantedConfig(users=240, items=180, blocks=BLOCKS, interactions_per_user=12, noise=0))
    held = np.random.default_rng(0).random(len(whole)) < 0.25
    return whole.select(~held), whole.select(held)


def contents_of(history: Interactions, initial: Floats, items: Floats, layers: int) -> ArtefactContents:
    """Return an artefact of LightGCN whose items send these states into each layer, and are scored by them."""
    branch = {
        "hidden_size": items.shape[1],
        "layers": [{"aggregator": "lightgcn", "heads": 1}] * layers,
        "skip": "none",
        "readout": "mean",
        "activation": "none",
        "score": "dot",
    }
    sent = {f"{n}_items": items for n in range(layers)}
    return ArtefactContents(
        data_name="blocks",
        fingerprint=history.fingerprint(),
        architecture={"graph": branch},
        recipe={},
        metrics={},
        user_ids=history.user_ids,
        item_ids=history.item_ids,
        user_embeddings=initial,
        item_embeddings=items,
        seen_indptr=history.offsets,
        seen_items=history.item,
        fold_in=np.zeros((items.shape[1],) * 2, dtype=np.float32),
        branches={"graph": {"initial": initial, **sent} if layers else {}},
    )


def item_states(history: Interactions) -> Floats:
    """Return the block of each item as a unit vector, and some noise."""
    block = np.arange(history.n_items) * BLOCKS // history.n_items
    noise = np.random.default_rng(1).standard_normal((history.n_items, BLOCKS))
    return (np.eye(BLOCKS)[block] + 0.05 * noise).astype(np.float32)


def means_of(history: Interactions, items: Floats) -> Floats:
    rows = [items[history.item[a:b]] for a, b in zip(history.offsets[:-1], history.offsets[1:], strict=True)]
    return np.stack([one.mean(0) for one in rows])


def users_of(history: Interactions, held: Interactions) -> NDArray[np.int64]:
    return np.flatnonzero((np.diff(history.offsets) > 0) & (np.diff(held.offsets) > 0))


def test_initial_embeddings_that_lead_astray_are_not_trusted(
    parts: tuple[Interactions, Interactions],
) -> None:
    history, held = parts
    items = item_states(history)
    # Whoever had a block's items starts far towards the next block: a fit finds that exactly.
    astray = 5 * means_of(history, items) @ np.roll(np.eye(BLOCKS, dtype=np.float32), 1, axis=1)
    ridge, found = choose_ridge(contents_of(history, astray, items, 1), held, users_of(history, held))
    assert ridge == max(RIDGES)
    assert found["ndcg@20"] > 2 * found["ndcg@20 if trained"]


def test_embeddings_that_only_an_exact_fit_tells_apart_are_trusted(
    parts: tuple[Interactions, Interactions],
) -> None:
    history, held = parts
    # What all items share is most of them, and says nothing: a map that is held back sees little else.
    items = item_states(history) + 30 * np.linspace(1, 2, BLOCKS, dtype=np.float32)
    block = np.arange(history.n_users) * BLOCKS // history.n_users
    own = (np.eye(BLOCKS) - 1 / BLOCKS)[block].astype(np.float32)
    ridge, found = choose_ridge(contents_of(history, own, items, 0), held, users_of(history, held))
    assert ridge == min(RIDGES)
    assert found["ndcg@20"] > 0.2


def test_the_best_of_all_ridges_is_chosen(parts: tuple[Interactions, Interactions]) -> None:
    history, held = parts
    rng, items = np.random.default_rng(2), item_states(history)
    initial = rng.standard_normal((history.n_users, BLOCKS)).astype(np.float32) + means_of(history, items)
    contents, users = contents_of(history, initial, items, 2), users_of(history, held)
    index = {item: n for n, item in enumerate(history.item_ids)}

    def quality(ridge: float) -> float:
        arrays = initial, items, history.offsets, history.item
        model = assembled(replace(contents, fold_in=fold_in_maps(*arrays, [ridge])[0]))
        ranked = np.full((len(users), K), -1, dtype=np.int32)
        for row, user in zip(ranked, users, strict=True):
            had = history.item[history.offsets[user] : history.offsets[user + 1]]
            ranking = model.fold_in([history.item_ids[item] for item in had], K)
            row[: len(ranking)] = [index[one.item] for one in ranking]
        return float(per_user(ranked, users, held, (K,))[f"ndcg@{K}"].mean())

    ridge, found = choose_ridge(contents, held, users)
    assert found["ndcg@20"] == quality(ridge) == max(map(quality, RIDGES))


@pytest.mark.parametrize("branch", ["spectral", "item"])
def test_where_age_counts_users_are_asked_for_in_the_order_of_their_time_line(
    branch: str, parts: tuple[Interactions, Interactions], monkeypatch: pytest.MonkeyPatch
) -> None:
    history, held = parts
    rng, items = np.random.default_rng(0), item_states(history)
    ages = np.concatenate([rng.permutation(count) for count in np.diff(history.offsets)]).astype(np.int32)
    contents = replace(
        contents_of(history, means_of(history, items), items, 0),
        fusion={"graph": 1.0, branch: 1.0},
        branches={
            branch: {
                "dense": rng.standard_normal((history.n_items,) * 2, dtype=np.float32),
                "ages": ages,
                "fade": np.array([0.5], np.float32),
            }
        },
    )
    due = {
        tuple(history.item_ids[item] for item in history.item[a:b][np.argsort(-ages[a:b])])
        for a, b in zip(history.offsets[:-1], history.offsets[1:], strict=True)
    }
    asked: set[tuple[object, ...]] = set()
    fold_in = Recommender.fold_in

    def noted(model: Recommender, items: list[object], k: int) -> Ranking:
        asked.add(tuple(items))
        return fold_in(model, items, k)

    monkeypatch.setattr(Recommender, "fold_in", noted)
    choose_ridge(contents, held, users_of(history, held)[:20])
    assert len(asked) == 20
    assert asked <= due
