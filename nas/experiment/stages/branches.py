"""Settle the closed-form branches: their settings are chosen on validation data before the search fuses them.

Each branch is chosen by what it is worth alone. One setting after the other takes its best value, the others held, and
then once more from where that led: a fit is far cheaper than a training. On a large catalogue, where it is not, the
settings of the item branch are chosen on its most popular items alone.
"""

import math
import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from nas.data.interactions import Interactions, ItemTable
from nas.experiment.closed_forms import ClosedForm
from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.reachable import cheapest, keeper
from nas.model.evaluation import evaluate, sample_users
from nas.model.fusion import Held
from nas.model.item_weights import dense_obstacle, fit_items
from nas.model.spectral import fit_spectral
from nas.space.closed_form import ItemBranch, SpectralBranch
from nas.space.dimension import Value
from nas.space.search_space import SearchSpace

# A value has to be better than the one before it by this share: less is noise, and the first choices are the plainest.
_LEAST_GAIN = 0.001
# Items that the settings of an item branch are chosen on, at most: time grows with their number cubed.
_LARGE_CATALOGUE = 4_000

Genes = dict[str, tuple[Value, ...]]


def settle_branches(context: Context) -> tuple[SearchSpace, dict[str, dict[str, Any]]]:
    """Return the space with settled closed-form branches, and by name {settings, validation, tried, seconds}.

    A branch that cannot be fitted on this catalogue, or whose every setting costs more than the experiment allows, is
    taken out of the space; its result is {skipped: reason}.
    """
    space: SearchSpace = context.experiment.search_space
    results: dict[str, dict[str, Any]] = {}
    for name in ("spectral", "item"):
        if name not in space.branches.names:
            continue
        results[name] = context.done(f"branches/{name}.json", partial(_settle, context, space, name))
        if "skipped" in results[name]:
            space = space.without(name)
        else:
            kind = SpectralBranch if name == "spectral" else ItemBranch
            space = space.settled(kind.model_validate(results[name]["settings"]))
    return space, results


def _settle(context: Context, whole: SearchSpace, name: str) -> dict[str, Any]:
    started, space = time.perf_counter(), whole.branches.spaces[name]
    genes = _that_matter(context, name, space.genes())
    if not all(genes.values()):
        return {"skipped": dense_obstacle(context.interactions)}
    chosen, keeps = {gene: choices[0] for gene, choices in genes.items()}, keeper(context, whole, name)
    if not keeps(space.decode(chosen)):  # type: ignore[arg-type]
        cheap = cheapest(context, whole, name)
        if cheap is None:
            return {"skipped": "whatever its settings, it costs more than search.constraints allow"}
        small = space.encode(cheap.branches[name])  # type: ignore[arg-type]
        chosen |= {gene: value for gene, value in small.items() if value in genes[gene]}
    settings, seed = context.experiment.search, context.experiment.search.seed
    train, valid = context.train, context.valid
    if name == "item" and genes["kind"] != ("cosine",) and train.n_items > _LARGE_CATALOGUE:
        train, valid = _of_popular_items(train, valid, _LARGE_CATALOGUE)
    users = sample_users(valid, train, settings.users, settings.seed)
    values: dict[ClosedForm, dict[str, float]] = {}

    def judge(branch: ClosedForm) -> dict[str, float]:
        if isinstance(branch, ItemBranch):
            model = fit_items(branch, train)
        else:
            model = fit_spectral(branch, train, context.training.graph, seed)
        return evaluate(Held(model, users, train.n_users), train, valid, context.experiment.ks, users).means

    def value(genome: dict[str, Value]) -> float:
        branch: ClosedForm = space.decode(genome)  # type: ignore[assignment]
        if not keeps(branch):
            return -math.inf
        if branch not in values:
            values[branch] = judge(branch)
        return values[branch][context.experiment.metric]

    best = value(chosen)
    rounds = 2 * [gene for gene, choices in genes.items() if len(choices) > 1]
    with stage(f"{name} branch", len(rounds)) as steps:
        for gene in rounds:
            for choice in genes[gene]:
                found = value({**chosen, gene: choice})
                if found > best * (1 + _LEAST_GAIN):
                    chosen, best = {**chosen, gene: choice}, found
            steps.advance(f"best {context.experiment.metric} {best:.4f}")
    branch = space.decode(chosen)
    return {
        "settings": branch.model_dump(mode="json"),
        "validation": values[branch],  # type: ignore[index]
        "items": train.n_items,
        "tried": len(values),
        "seconds": time.perf_counter() - started,
    }


def _that_matter(context: Context, name: str, genes: Genes) -> Genes:
    """Return the choices that make a difference on this data and can be fitted on it."""
    kept = dict(genes)
    for gene, held in (("proximity", context.train.timestamp), ("rating", context.train.rating)):
        if held is None and gene in kept:
            kept[gene] = (0.0,) if 0.0 in genes[gene] else genes[gene][:1]
    if name == "item" and context.interactions.n_items > _LARGE_CATALOGUE:
        # Whole, the weights would take hundreds of megabytes and more of an artefact.
        kept["neighbours"] = tuple(count for count in genes["neighbours"] if count) or genes["neighbours"]
    if name == "item" and dense_obstacle(context.interactions):
        kept["kind"] = tuple(kind for kind in genes["kind"] if kind != "ease")
    return kept


def _of_popular_items(
    train: Interactions, valid: Interactions, count: int
) -> tuple[Interactions, Interactions]:
    """Return what both parts hold of the items with most training interactions, as a catalogue of its own."""
    popularity = np.bincount(train.item, minlength=train.n_items)
    items = np.sort(np.argsort(-popularity, kind="stable")[:count])
    place = np.full(train.n_items, -1, dtype=np.int32)
    place[items] = np.arange(len(items))
    ids = tuple(train.item_ids[item] for item in items)
    parts = (part.select(place[part.item] >= 0) for part in (train, valid))
    small = [replace(part, item=place[part.item], item_ids=ids, items=ItemTable()) for part in parts]
    return small[0], small[1]
