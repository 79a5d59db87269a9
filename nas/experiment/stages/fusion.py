"""Weigh the branches of an architecture on validation data."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from nas.experiment.context import Context
from nas.model.evaluation import evaluate
from nas.model.fusion import fused, standardised_scorer
from nas.model.ranking import Scorer
from nas.search.constraints import merit
from nas.space.architecture import Architecture, Fusion

States = tuple[torch.Tensor, torch.Tensor]
Places = tuple[int, ...]

# Weights relative to that of the first branch. Measured, the quality is flat within a factor of 1.3 of the best.
_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0, 1.35, 1.8, 2.4, 3.2, 4.5, 6.0, 9.0)
_ROUNDS = 4
# What was trained and is not far from it often counts most. From equal weights, LightGCN and three branches ended at an
# NDCG@20 of .2117 on ML-1M's validation data, from the first of these at .2128; on latest-small .2354 and .2396. Where the
# network learns little, item weights and nearest users lead: from there, weights chosen on half of the users are worth .0005
# to .0032 more (of .385) to the other half with six networks of packages and their maintainers (20 halves each).
_STARTS = (
    {"graph": 1.0, "spectral": 0.3, "item": 0.3, "user": 0.05},
    {"graph": 1.0, "spectral": 0.3, "item": 3.2, "user": 1.35},
)


def validation_scorer(context: Context, architecture: Architecture, states: States | None) -> Scorer:
    """Return the scorer of the users that candidates are judged on, everything fitted on the training part."""
    others = [
        (architecture.weights[name], context.closed_forms.held(branch))
        for name, branch in architecture.closed_forms.items()
    ]
    return fused(states, architecture.weights.get("graph", 0.0), others)


def full_scorer(context: Context, architecture: Architecture, states: States | None) -> Scorer:
    """Return the scorer of all users, closed-form branches fitted on training and validation part."""
    models = context.closed_forms.of(architecture, "train and valid")
    others = [(architecture.weights[name], standardised_scorer(model)) for name, model in models.items()]
    return fused(states, architecture.weights.get("graph", 0.0), others)


def weigh(
    context: Context, architecture: Architecture, states: States | None, *, near: bool = False
) -> tuple[Architecture, dict[str, float]]:
    """Return the architecture with the best weights for its branches, and its validation metrics.

    Weights that break a constraint on a quality are worse than any that do not.

    A climb begins where the architecture is, if it says, and others at weights that often do well; with `near`, the first
    alone. The weight of the first branch is 1. Each other climbs while its neighbour on the scale is better, in turns until
    none moves; and 0 is tried, so that a branch that does not help is dropped. Then all others climb together, which is the
    first branch's turn.

    Weights that the space gives are left as they are.
    """
    metric, users = context.experiment.metric, context.judged_users
    constraints = context.experiment.search.constraints
    known: dict[tuple[float, ...], dict[str, Any]] = {}
    names = list(architecture.branches)

    def with_weights(weights: tuple[float, ...]) -> Architecture:
        fusion = Fusion.of(dict(zip(names, weights, strict=True)))
        return architecture.model_copy(update={"fusion": fusion})

    def means(weights: tuple[float, ...]) -> dict[str, float]:
        if weights not in known:
            scorer = validation_scorer(context, with_weights(weights), states)
            known[weights] = evaluate(
                scorer, context.train, context.valid, context.experiment.ks, users
            ).means
        return known[weights]

    def at(places: Places) -> tuple[float, float]:
        return merit(means(tuple(_WEIGHTS[p] for p in places)), constraints, metric)

    given = context.experiment.search_space.fixed_weights
    if given.keys() >= set(names):
        there = tuple(given[name] for name in names)
        return with_weights(there).canonical(), means(there)
    starts = [] if near else [{name: start[name] for name in names} for start in _STARTS]
    if architecture.fusion is not None:
        starts.append(architecture.weights)
    places = max((_climbed(_places(start), at) for start in starts), key=at)
    weights = tuple(_WEIGHTS[p] for p in places)
    return with_weights(weights).canonical(), means(weights)


def _climbed(place: Places, at: Callable[[Places], tuple[float, float]]) -> Places:
    """Return where climbing leads from some places on the scale."""
    best = at(place)
    for _ in range(_ROUNDS):
        before = place
        for n in range(1, len(place)):
            for step in (1, -1):
                while 0 <= place[n] + step < len(_WEIGHTS):
                    moved = (*place[:n], place[n] + step, *place[n + 1 :])
                    if at(moved) <= best:
                        break
                    place, best = moved, at(moved)
            without = (*place[:n], 0, *place[n + 1 :])
            if at(without) >= best:
                place, best = without, at(without)
        for step in (1, -1):
            while (further := _all_moved(place, step)) and at(further) > best:
                place, best = further, at(further)
        if place == before:
            break
    return place


def _all_moved(place: Places, step: int) -> Places | None:
    """Return the places with every branch but the first, and those that are absent, a step on; None beyond the scale."""
    moved = (place[0], *(one + step if one else 0 for one in place[1:]))
    there = [after for before, after in zip(place[1:], moved[1:], strict=True) if before]
    return moved if there and min(there) >= 1 and max(there) < len(_WEIGHTS) else None


def _places(weights: Mapping[str, float]) -> Places:
    """Return the nearest places on the scale, the first branch at 1."""
    first, *others = weights.values()
    nearest = (_nearest(weight / (first or 1.0)) for weight in others)
    return (_WEIGHTS.index(1.0), *nearest)


def _nearest(weight: float) -> int:
    return min(range(len(_WEIGHTS)), key=lambda n: abs(_WEIGHTS[n] - weight))
