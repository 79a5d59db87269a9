"""Settle the closed-form branches: their settings are chosen on validation data before the search fuses them.

Each branch is chosen by what it is worth beside the tuned LightGCN, for that is its place: alone, EASE is better than SLIM
on MovieLens 100K and 1M (NDCG@20 .313 and .311, .208 and .206), beside LightGCN it is worse (.3174 and .3189, .2108 and
.2119; validation data). For each kind of weights, one setting after the other takes its best value, the others held, and
for the best kind then once more from where that led: a fit is far cheaper than a training. On a large catalogue, where it is not, the settings of the item branch are
chosen on its most popular items alone.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas.data.interactions import Interactions, ItemTable
from nas.experiment.closed_forms import ClosedForm
from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.reachable import cheapest, keeper
from nas.experiment.stages.fusion import States
from nas.model.evaluation import evaluate, sample_users
from nas.model.fusion import Held, fused
from nas.model.history import HistoryModel, counted_by
from nas.model.item_weights import fit_items, item_obstacle
from nas.model.ranking import Scorer
from nas.model.spectral import fit_spectral
from nas.space.closed_form import ItemBranch, SpectralBranch
from nas.space.dimension import Value
from nas.space.search_space import SearchSpace

# A value has to be better than the one before it by this share: less is noise, and the first choices are the plainest.
_LEAST_GAIN = 0.001
# Items that the settings of an item branch are chosen on, at most: time grows with their number cubed.
_LARGE_CATALOGUE = 4_000

# Of a branch beside the graph branch, whose weight is 1; the best of them counts.
_WEIGHTS = (0.2, 0.4, 0.8)

Genes = dict[str, tuple[Value, ...]]


def settle_branches(
    context: Context, graph: Callable[[], States | None] = lambda: None
) -> tuple[SearchSpace, dict[str, dict[str, Any]]]:
    """Return the space with settled closed-form branches, and by name {settings, validation, alone, tried, seconds}.

    `graph` makes the final states of the graph branch that they stand beside, trained on the training part; without it,
    each stands alone. `validation` are the metrics beside it, `alone` those of the branch itself.

    A branch that cannot be fitted on this catalogue, or whose every setting costs more than the experiment allows, is
    taken out of the space; its result is {skipped: reason}.
    """
    space: SearchSpace = context.experiment.search_space
    results: dict[str, dict[str, Any]] = {}
    for name in ("spectral", "item"):
        if name not in space.branches.names:
            continue
        results[name] = context.done(f"branches/{name}.json", partial(_settle, context, space, name, graph))
        if "skipped" in results[name]:
            space = space.without(name)
        else:
            kind = SpectralBranch if name == "spectral" else ItemBranch
            space = space.settled(kind.model_validate(results[name]["settings"]))
    return space, results


def _settle(
    context: Context, whole: SearchSpace, name: str, graph: Callable[[], States | None]
) -> dict[str, Any]:
    started, space = time.perf_counter(), whole.branches.spaces[name]
    genes = _that_matter(context, name, space.genes())
    if not all(genes.values()):
        # Every kind of the item branch has one; the first choice's is told.
        return {"skipped": item_obstacle(str(space.genes()["kind"][0]), context.interactions)}
    chosen, keeps = {gene: choices[0] for gene, choices in genes.items()}, keeper(context, whole, name)
    if not keeps(space.decode(chosen)):  # type: ignore[arg-type]
        cheap = cheapest(context, whole, name)
        if cheap is None:
            return {"skipped": "whatever its settings, it costs more than search.constraints allow"}
        small = space.encode(cheap.branches[name])  # type: ignore[arg-type]
        chosen |= {gene: value for gene, value in small.items() if value in genes[gene]}
    settings, seed = context.experiment.search, context.experiment.search.seed
    train, valid, states = context.train, context.valid, graph()
    if name == "item" and genes["kind"] != ("cosine",) and train.n_items > _LARGE_CATALOGUE:
        items = _popular_items(train, _LARGE_CATALOGUE)
        train, valid = (_of_items(part, items) for part in (train, valid))
        states = states and (states[0], states[1][torch.from_numpy(items)])
    users = sample_users(valid, train, settings.users, settings.seed)
    values: dict[ClosedForm, dict[str, float]] = {}
    # The last alone, for it may be large: settings that need no other fit come one after the other.
    fits: dict[ClosedForm, HistoryModel] = {}
    metric, ks = context.experiment.metric, context.experiment.ks

    def held(branch: ClosedForm) -> Held:
        one = branch.fitted()
        if one not in fits:
            fits.clear()
            fits[one] = (
                fit_items(one, train)
                if isinstance(one, ItemBranch)
                else fit_spectral(one, train, context.training.graph, seed)
            )
        rating = branch.rating if isinstance(branch, ItemBranch) else 0.0
        model = counted_by(fits[one], train, rating=rating, recency=branch.recency)
        return Held(model, users, train.n_users)

    def means(scorer: Scorer) -> dict[str, float]:
        return evaluate(scorer, train, valid, ks, users).means

    def judge(branch: ClosedForm) -> dict[str, float]:
        scorer = held(branch)
        if states is None:
            return means(scorer)
        found = [means(fused(states, 1.0, [(weight, scorer)])) for weight in _WEIGHTS]
        return max(found, key=lambda one: one[metric])

    def value(genome: dict[str, Value]) -> float:
        branch: ClosedForm = space.decode(genome)  # type: ignore[assignment]
        if not keeps(branch):
            return -math.inf
        if branch not in values:
            values[branch] = judge(branch)
        return values[branch][metric]

    kinds = genes.get("kind", (None,))
    others = [gene for gene, choices in genes.items() if gene != "kind" and len(choices) > 1]

    with stage(f"{name} branch", (len(kinds) + 1) * len(others)) as steps:

        def climb(genome: dict[str, Value]) -> dict[str, Value]:
            best = value(genome)
            for gene in others:
                for choice in genes[gene]:
                    found = value({**genome, gene: choice})
                    if found > best + _LEAST_GAIN * abs(best) or best == -math.inf < found:
                        genome, best = {**genome, gene: choice}, found
                steps.advance(f"best {metric} {max(best, 0):.4f}")
            return genome

        # What suits one kind of weights does not suit another: each climbs once, the best once more.
        climbed = [climb(chosen if kind is None else {**chosen, "kind": kind}) for kind in kinds]
        chosen = climb(max(climbed, key=value))
    branch = space.decode(chosen)
    return {
        "settings": branch.model_dump(mode="json"),
        "validation": values[branch],  # type: ignore[index]
        "alone": means(held(branch)),  # type: ignore[arg-type]
        "items": train.n_items,
        "tried": len(values),
        "seconds": time.perf_counter() - started,
    }


def _that_matter(context: Context, name: str, genes: Genes) -> Genes:
    """Return the choices that make a difference on this data and can be fitted on it."""
    kept = dict(genes)
    timestamp, rating = context.train.timestamp, context.train.rating
    for gene, held in (("proximity", timestamp), ("recency", timestamp), ("rating", rating)):
        if held is None and gene in kept:
            kept[gene] = (0.0,) if 0.0 in genes[gene] else genes[gene][:1]
    if name == "item" and context.interactions.n_items > _LARGE_CATALOGUE:
        # Whole, the weights would take hundreds of megabytes and more of an artefact.
        kept["neighbours"] = tuple(count for count in genes["neighbours"] if count) or genes["neighbours"]
    if name == "item":
        kept["kind"] = tuple(
            kind for kind in genes["kind"] if not item_obstacle(str(kind), context.interactions)
        )
        if timestamp is None and len(kept["kind"]) > 1:
            kept["kind"] = tuple(kind for kind in kept["kind"] if kind != "next")
    return kept


def _popular_items(train: Interactions, count: int) -> NDArray[np.int64]:
    """Return the (count,) items with most training interactions, increasing."""
    popularity = np.bincount(train.item, minlength=train.n_items)
    return np.sort(np.argsort(-popularity, kind="stable")[:count])


def _of_items(part: Interactions, items: NDArray[np.int64]) -> Interactions:
    """Return what a part holds of some items, as a catalogue of its own."""
    place = np.full(part.n_items, -1, dtype=np.int32)
    place[items] = np.arange(len(items))
    kept = part.select(place[part.item] >= 0)
    ids = tuple(part.item_ids[item] for item in items)
    return replace(kept, item=place[kept.item], item_ids=ids, items=ItemTable())
