"""Candidates judged by shared weights, which are trained slowly and averaged."""

from pathlib import Path

import pytest
import torch

from nas.data import PlantedConfig, SplitConfig, planted, split
from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.folder import RunFolder
from nas.experiment.stages.judging import supernet_evaluator
from nas.experiment.stages.supernet import train_supernet
from nas.model.averaging import Average
from nas.model.evaluation import evaluate, final_states
from nas.model.ranking import dot_scorer
from nas.model.supernet import Sampler, Supernet
from nas.model.training import Trainer
from nas.model.weights import parameters_of_space, start
from nas.space import Recipe

RECIPE = Recipe(batches=3, learning_rate=0.02)
SLOW = 0.013


@pytest.fixture
def context(tmp_path: Path) -> Context:
    interactions = planted(PlantedConfig(users=60, items=50, interactions_per_user=10))
    settings = {
        "data": {"source": "planted"},
        "search_space": {
            "name": "small",
            "branches": {
                "graph": {
                    "layers": [0, 1, 2],
                    "hidden_size": [4, 8],
                    "aggregator": ["lightgcn", "gat"],
                    "score": ["dot", "cosine"],
                },
                "item": {},
            },
            "fusion": {"item": [0, 1, 3]},
        },
        "supernet": {"learning_rate": SLOW, "batches": 5},
    }
    experiment = Experiment.parse(settings, "here", Path())
    folder = RunFolder(tmp_path / "run")
    folder.claim(experiment)
    return Context(experiment, folder, interactions, split(interactions, SplitConfig()))


def test_a_candidate_is_judged_as_the_slice_of_the_shared_weights_that_it_is(context: Context) -> None:
    space = context.experiment.search_space
    weights = Supernet(space, context.training, RECIPE, 0).weights
    before = weights.state()
    judge = supernet_evaluator(context, space, weights)
    small_attention = {"layers": 2, "aggregator_1": "gat", "hidden_size": 4}
    for genome in ({"layers": 0}, small_attention, {"layers": 1}, {"layers": 1, "score": "cosine"}):
        architecture = space.decode({**genome, "fusion.item": 0})
        assert architecture.branches.keys() == {"graph"}
        alone = weights.extract(architecture, context.training.graph)
        users, items, _ = final_states(architecture, alone, context.training.graph)
        if architecture.learned.score == "dot":
            items = items / items.norm(dim=1, keepdim=True).sqrt()
        scorer = dot_scorer(users, items)
        expected = evaluate(scorer, context.train, context.valid, context.experiment.ks).means
        found = judge(architecture)
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
        assert found["graph_alone"] == found["ndcg@20"]
        assert found["refresh_macs"] == context.costs(architecture)["refresh_macs"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights.state().items())


def test_what_a_graph_branch_is_worth_alone_does_not_depend_on_what_is_beside_it(context: Context) -> None:
    space = context.experiment.search_space
    judge = supernet_evaluator(context, space, Supernet(space, context.training, RECIPE, 0).weights)
    fused = [space.decode({"layers": 1, "fusion.item": weight}) for weight in (0, 1, 3)]
    assert len({one.learned for one in fused}) == 1 < len(set(fused))
    alone, *beside = ([judge(one)[name] for name in ("graph_alone", "ndcg@20")] for one in fused)
    assert alone[0] == alone[1] == pytest.approx(beside[0][0]) == pytest.approx(beside[1][0])
    assert beside[0][1] != beside[0][0]
    assert "graph_alone" not in judge(space.decode({"fusion.graph": 0, "fusion.item": 1}))


def test_shared_weights_are_the_average_of_slow_epochs_of_many_steps(context: Context) -> None:
    space, settings = context.experiment.search_space, context.experiment.supernet
    weights, _ = train_supernet(context, RECIPE)
    slow = RECIPE.model_copy(update={"learning_rate": SLOW, "batches": 5})
    branch, graph = space.branches.graph, context.training.graph
    untrained = start(parameters_of_space(branch, graph.n_users, graph.n_items), graph, slow.start, 0)
    trainer = Trainer(untrained, context.training, slow, 0)
    average = Average(trainer.weights)
    sampler = Sampler(space, 0)
    for _ in range(settings.epochs):
        trainer.epoch(sampler)
        average.add(trainer.weights)
    expected = average.weights.state()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights.state().items())
