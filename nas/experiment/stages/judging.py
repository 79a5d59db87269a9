"""Judge candidates by the supernet's weights instead of training each from scratch."""

import torch

from nas.experiment.context import Context
from nas.experiment.stages.fusion import validation_scorer
from nas.model.evaluation import evaluate, final_states
from nas.model.network import Propagation
from nas.model.ranking import DivergedError, Scorer, dot_scorer
from nas.model.supernet import LENGTH_POWER, with_tempered_lengths
from nas.model.weights import Weights
from nas.search.loop import Evaluator
from nas.search.objectives import QUALITIES, worst
from nas.space.architecture import Architecture
from nas.space.search_space import SearchSpace

ALONE = "graph_alone"
"""Of a candidate's values, what its graph branch is worth by itself: the experiment's metric."""

# For states that candidates share: on Gowalla's graph, 28 of the widest.
_SHARED_BYTES = 2**30


def supernet_evaluator(
    context: Context, space: SearchSpace, weights: Weights, length_power: float = LENGTH_POWER
) -> Evaluator:
    """Return the evaluation of an architecture on validation data, its graph branch from shared weights.

    Among the values is also what the graph branch is worth `ALONE`. Of `length_power` see `with_tempered_lengths`.
    """
    experiment, data = context.experiment, context.training
    widest = max(int(size) for size in space.genes()["hidden_size"])
    states_of = torch.no_grad()(Propagation(weights, data.graph, widest, most_bytes=_SHARED_BYTES))
    # A time that is an objective is that of the architecture alone.
    timed = "refresh_seconds" in experiment.search.objectives

    def evaluator(architecture: Architecture) -> dict[str, float]:
        measured = {}
        if timed:
            seconds = final_states(architecture, weights, data.graph)[2] if architecture.graph else 0.0
            measured["refresh_seconds"] = seconds
        try:
            states = None
            if architecture.graph:
                users, items = states_of(architecture)
                states = users, with_tempered_lengths(architecture.graph, items, length_power)
            scorer = validation_scorer(context, architecture, states)
            found = _quality(context, scorer)
            if states is not None:
                alone = found if len(architecture.branches) == 1 else _quality(context, dot_scorer(*states))
                found[ALONE] = alone[experiment.metric]
        except DivergedError:
            # Scores that are no numbers rank nothing.
            names = [f"{quality}@{k}" for quality in QUALITIES for k in experiment.ks]
            found = {name: worst(name) for name in names}
            if architecture.graph:
                found[ALONE] = worst(experiment.metric)
        return found | context.costs(architecture) | measured

    return evaluator


def _quality(context: Context, scorer: Scorer) -> dict[str, float]:
    experiment, users = context.experiment, context.judged_users
    return evaluate(scorer, context.train, context.valid, experiment.ks, users).means
