"""Judge candidates by the supernet's weights instead of training each from scratch."""

from collections.abc import Callable

import torch

from nas.experiment.context import Context
from nas.experiment.stages.fusion import States, validation_scorer
from nas.model.evaluation import evaluate, final_states
from nas.model.network import Propagation
from nas.model.ranking import DivergedError, Scorer, dot_scorer
from nas.model.sharing import Memory
from nas.model.training import Trainer
from nas.model.weights import Weights
from nas.search.loop import Evaluator
from nas.search.objectives import QUALITIES, worst
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace

ALONE = "graph_alone"
"""Of a candidate's values, what its graph branch is worth by itself: the experiment's metric."""

# For states that candidates share: on Gowalla's graph, 28 of the widest.
_SHARED_BYTES = 2**30


def supernet_evaluator(context: Context, space: SearchSpace, weights: Weights, recipe: Recipe) -> Evaluator:
    """Return the evaluation of an architecture on validation data, its graph branch from shared weights.

    A graph branch is first trained by `recipe`, slowly, for `supernet.tuning` epochs of its own, on copies of its slices: shared
    embeddings are a compromise between architectures which each want their own. The best of these epochs counts, the
    start among them, as it does where an architecture is trained from scratch. Among the values is also what the graph
    branch is worth `ALONE`.
    """
    experiment, data = context.experiment, context.training
    states_of = (
        _tuned(context, weights, recipe) if experiment.supernet.tuning else _shared(context, space, weights)
    )
    # A time that is an objective is that of the architecture alone.
    timed = "refresh_seconds" in experiment.search.objectives

    def evaluator(architecture: Architecture) -> dict[str, float]:
        measured = {}
        if timed:
            seconds = final_states(architecture, weights, data.graph)[2] if architecture.graph else 0.0
            measured["refresh_seconds"] = seconds
        try:
            states = states_of(architecture) if architecture.graph else None
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


def _shared(context: Context, space: SearchSpace, weights: Weights) -> Callable[[Architecture], States]:
    widest = max(int(size) for size in space.genes()["hidden_size"])
    return torch.no_grad()(Propagation(weights, context.training.graph, widest, most_bytes=_SHARED_BYTES))


def _tuned(context: Context, weights: Weights, recipe: Recipe) -> Callable[[Architecture], States]:
    data, experiment = context.training, context.experiment
    recipe = experiment.supernet.tuning_recipe(recipe)
    # Candidates that differ in their other branches alone share one tuning.
    memory = Memory(_SHARED_BYTES)

    def tune(architecture: Architecture) -> torch.Tensor:
        trainer = Trainer(weights.extract(architecture, data.graph), data, recipe, experiment.search.seed)
        best: tuple[float, States] | None = None
        for epoch in range(experiment.supernet.tuning + 1):
            try:
                if epoch:
                    trainer.epoch(lambda _rng: [architecture])
                states = final_states(architecture, trainer.weights, data.graph)[:2]
                value = _quality(context, dot_scorer(*states))[experiment.metric]
            except DivergedError:
                if best is None:
                    raise
                break
            if best is None or value > best[0]:
                best = value, states
        assert best is not None
        return torch.cat(best[1])

    def states_of(architecture: Architecture) -> States:
        states = memory.get(architecture.learned, None, lambda: tune(architecture))
        return states[: data.graph.n_users], states[data.graph.n_users :]

    return states_of
