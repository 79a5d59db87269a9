"""Folding in: how far a user who was kept out of the training is served as one who was trained.

A tenth of the users is kept out of the training and folded in from four fifths of their histories; the reference is the
same architecture trained with these users, on just these four fifths. Both are judged on the last fifth. How far the
estimate of an initial embedding is trusted is chosen on others of the users, by a training without their last fifth.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from side_by_side import Json, Threads, run
from tables import replace_rows

from nas.data import DataConfig, Interactions, PlantedConfig, load, planted
from nas.experiment.stages.export import graph_arrays
from nas.experiment.stages.fold_in import RIDGES, choose_ridge
from nas.model.evaluation import evaluate, final_states, scorer_of
from nas.model.fitting import refit
from nas.model.metrics import per_user
from nas.model.training import TrainingData
from nas.model.weights import Weights
from nas.randomness import stream
from nas.recommender import Recommender
from nas.recommender.contents import ArtefactContents
from nas.recommender.fold_in_map import fold_in_maps
from nas.recommender.recommender import Ranking
from nas.recommender.writer import write_artefact
from nas.space import Architecture, Recipe

K = 20
COLUMNS = 64
RECIPE = Recipe(temperature=0.1, learning_rate=0.01, dropout=0.3, weight_decay=0.001)
PLANTED = PlantedConfig(users=1_000, items=500, blocks=10, interactions_per_user=20)
# Every aggregator; attention with one layer, for its epochs are long.
NETWORKS: dict[str, dict[str, Any]] = {
    "mf-dot": {"aggregator": "identity", "layers": 0, "readout": "last", "score": "dot"},
    "mf-cosine": {"aggregator": "identity", "layers": 0, "readout": "last"},
    "identity": {"aggregator": "identity", "layers": 1},
    "lightgcn-dot": {"aggregator": "lightgcn", "score": "dot"},
    "lightgcn": {"aggregator": "lightgcn"},
    "mean": {"aggregator": "mean"},
    "gcn": {"aggregator": "gcn", "activation": "relu"},
    "sage": {"aggregator": "sage", "activation": "relu"},
    "gin": {"aggregator": "gin", "activation": "relu"},
    "ngcf": {"aggregator": "ngcf", "activation": "leaky_relu", "readout": "concat"},
    "gat": {"aggregator": "gat", "layers": 1, "heads": 4, "activation": "elu"},
    "gatv2": {"aggregator": "gatv2", "layers": 1, "heads": 4, "activation": "elu"},
}


def architecture_of(
    aggregator: str, layers: int = 2, heads: int = 1, columns: int = COLUMNS, **rest: str
) -> Architecture:
    """Return a graph branch of equal layers; mean readout and cosine score unless said otherwise."""
    branch = {"hidden_size": columns, "layers": [{"aggregator": aggregator, "heads": heads}] * layers}
    return Architecture.model_validate({"graph": {"readout": "mean", "score": "cosine", **branch, **rest}})


def contents_of(
    architecture: Architecture, weights: Weights, data: TrainingData, ridge: float
) -> ArtefactContents:
    """Return what the artefact of a trained network holds."""
    history = data.interactions
    arrays = graph_arrays(architecture, weights, data.graph)
    states = final_states(architecture, weights, data.graph)[:2]
    users, items = (state.numpy() for state in states)
    maps = fold_in_maps(arrays.get("initial", users), items, history.offsets, history.item, [ridge])
    return ArtefactContents(
        data_name="benchmark",
        fingerprint=history.fingerprint(),
        architecture=architecture.values(),
        recipe={},
        metrics={},
        user_ids=history.user_ids,
        item_ids=history.item_ids,
        user_embeddings=users,
        item_embeddings=items,
        seen_indptr=history.offsets,
        seen_items=history.item,
        fold_in=maps[0],
        branches={"graph": arrays},
    )


def exported(contents: ArtefactContents, folder: Path) -> Recommender:
    """Write an artefact, as a run does, and load it."""
    write_artefact(folder, contents)
    return Recommender.load(folder)


def parts(
    interactions: Interactions, seed: int = 0
) -> tuple[Interactions, Interactions, Interactions, Interactions]:
    """Return the others' interactions, and of a tenth of the users two fifths, two more, and a last one.

    Users of fewer than five interactions are not among that tenth.
    """
    rng, offsets = stream(seed, "fold-in"), interactions.offsets
    many = np.flatnonzero(np.diff(offsets) >= 5)
    away = np.isin(interactions.user, rng.choice(many, max(1, len(many) // 10), replace=False))
    # The place of each row in a random order of its user's rows, in fifths of them.
    order = np.lexsort((rng.random(len(interactions)), interactions.user))
    place = np.empty(len(interactions), dtype=np.int64)
    place[order] = np.arange(len(interactions)) - offsets[interactions.user]
    fifth = 5 * place // np.diff(offsets)[interactions.user]
    masks = ~away, away & (fifth < 2), away & (fifth >= 2) & (fifth < 4), away & (fifth == 4)
    first, second, third, last = (interactions.select(mask) for mask in masks)
    return first, second, third, last


def row(
    name: str, data_name: str, interactions: Interactions, network: dict[str, Any], epochs: int
) -> dict[str, Any]:
    """Train four times and return what folding in is worth.

    `ridge`: chosen as a run does, on a last fifth of others, by a training of its own.

    `ndcg`: users kept out of the training, folded in; `reference`: the same users trained; `ratio` of the two.
    `overlap`: of the ten best items of trained users, the share that they get as well when folded in with their own
    history, all but the initial embedding then being the same. `stale`, `new`: NDCG of users trained on two fifths, as
    trained, and with the next two as new events.
    """
    architecture = architecture_of(**network)
    rest, some, more, held = parts(interactions)
    history = some.union(more)
    users = np.unique(held.user).astype(np.int64)

    def trained(seen: Interactions) -> tuple[Weights, TrainingData]:
        data = TrainingData.of(seen)
        return refit(architecture, RECIPE, data, epochs=epochs, seed=0), data

    def ndcg(rankings: list[Ranking]) -> float:
        return float(per_user(_indices(rankings, interactions), users, held, (K,))[f"ndcg@{K}"].mean())

    first, second, third, last = parts(rest, seed=1)
    judged = np.unique(last.user).astype(np.int64)
    alone = trained(first.union(second).union(third))
    ridge, _ = choose_ridge(contents_of(architecture, *alone, RIDGES[0]), last, judged)

    def model_of(seen: Interactions, folder: Path) -> Recommender:
        return exported(contents_of(architecture, *trained(seen), ridge), folder)

    weights, data = trained(rest.union(history))
    scorer = scorer_of(architecture, weights, data.graph)
    reference = evaluate(scorer, history, held, (K,), users).means[f"ndcg@{K}"]
    with tempfile.TemporaryDirectory() as folder:
        model = model_of(rest, Path(folder) / "without")
        had = [_ids(history, user) for user in users]
        started = time.perf_counter()
        folded = [model.fold_in(items, K) for items in had]
        milliseconds = 1000 * (time.perf_counter() - started) / len(users)
        everyone = np.unique(rest.user)[:: max(1, rest.n_users // 1000)]
        own = model.recommend_many([rest.user_ids[user] for user in everyone], 10)
        again = [model.fold_in(_ids(rest, user), 10) for user in everyone]
        overlap = np.mean([len(_set(a) & _set(b)) / max(1, len(a)) for a, b in zip(own, again, strict=True)])
        known = model_of(rest.union(some), Path(folder) / "half")
        ids, new = [rest.user_ids[user] for user in users], [_ids(more, user) for user in users]
        later = [known.recommend(user, K, new=items) for user, items in zip(ids, new, strict=True)]
        # Those of the new events that the model does not know of are left out all the same.
        stale = [
            [one for one in ranking if one.item not in items][:K]
            for ranking, items in zip(
                known.recommend_many(ids, interactions.n_items), map(set, new), strict=True
            )
        ]
    found = {"ndcg": ndcg(folded), "reference": reference, "ratio": ndcg(folded) / reference}
    found |= {
        "overlap": float(overlap),
        "stale": ndcg(stale),
        "new": ndcg(later),
        "milliseconds": milliseconds,
    }
    about = {"data": data_name, "network": name, "architecture": str(architecture)}
    about |= {"epochs": epochs, "ridge": ridge}
    return (
        about
        | {"users": len(users), "threads": torch.get_num_threads()}
        | {key: float(f"{value:.4g}") for key, value in found.items()}
    )


def _ids(interactions: Interactions, user: int) -> list[str]:
    mine = slice(*np.searchsorted(interactions.user, [user, user + 1]))
    return [interactions.item_ids[item] for item in interactions.item[mine]]


def _set(ranking: Ranking) -> set[str]:
    return {one.item for one in ranking}


def _indices(rankings: list[Ranking], interactions: Interactions) -> NDArray[np.int32]:
    """Return the rankings as (n, K) int32, -1 where they are shorter."""
    index = {item: n for n, item in enumerate(interactions.item_ids)}
    ranked = np.full((len(rankings), K), -1, dtype=np.int32)
    for found, ranking in zip(ranked, rankings, strict=True):
        found[: len(ranking)] = [index[one.item] for one in ranking]
    return ranked


def main(
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data", metavar="PATH", help="`user item item ...` a line; several files are one data set."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1)] = 60,
    networks: Annotated[
        list[str] | None, typer.Option("--network", metavar="NAME", help=f"Of {', '.join(NETWORKS)}; all.")
    ] = None,
    threads: Threads = 2,
    as_json: Json = False,
    out: Annotated[
        Path | None, typer.Option(help="The JSON file to write; data sets it holds already are kept.")
    ] = None,
) -> None:
    """Fold in users who were kept out of the training, beside the same users trained."""
    torch.set_num_threads(threads)
    name, interactions = _data(data)

    def rows() -> Iterator[dict[str, Any]]:
        for network in networks or NETWORKS:
            made = row(network, name, interactions, NETWORKS[network], epochs)
            print(
                f"{network:13} NDCG@{K} {made['ndcg']:.4f} of {made['reference']:.4f}: {made['ratio']:.3f}, "
                f"overlap {made['overlap']:.2f}; new events {made['stale']:.4f} -> {made['new']:.4f}; "
                f"{made['milliseconds']:.2g} ms a user",
                file=sys.stderr if as_json else sys.stdout,
                flush=True,
            )
            yield made

    made = list(rows())
    if as_json:
        print(json.dumps(made, indent=1, allow_nan=False))
    if out:
        replace_rows(out, made)


def _data(paths: list[Path] | None) -> tuple[str, Interactions]:
    if not paths:
        # Not `generate`: where user and item are drawn independently, there is nothing to fold in by.
        return "planted", planted(PLANTED)
    train, *others = paths
    config = (
        DataConfig(train=train, test=others[0], format="adjacency")
        if others
        else DataConfig(path=train, format="adjacency")
    )
    return train.resolve().parent.name, replace(load(config, Path()), part=None)


if __name__ == "__main__":
    run(main)
