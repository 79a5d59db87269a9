"""Candidates judged by shared weights: what each is worth at the best of some epochs of its own, and nothing else moves."""

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
from nas.model.evaluation import evaluate, scorer_of
from nas.model.supernet import supernet_weights, train_epoch
from nas.model.training import Trainer
from nas.model.weights import Weights
from nas.space import Architecture, Recipe

RECIPE = Recipe(batches=3, learning_rate=0.02)
SLOW, SLOWER = 0.013, 0.004


@pytest.fixture
def context(tmp_path: Path, request: pytest.FixtureRequest) -> Context:
    interactions = planted(PlantedConfig(users=60, items=50, interactions_per_user=10))
    settings = {
        "data": {"source": "planted"},
        "search_space": {
            "name": "small",
            "branches": {
                "graph": {"layers": [0, 1, 2], "hidden_size": [4, 8], "aggregator": ["lightgcn", "gat"]},
                "item": {},
            },
            "fusion": {"item": [0, 1, 3]},
        },
        "supernet": {"tuning": request.param, "learning_rate": SLOW, "tuning_learning_rate": SLOWER},
    }
    experiment = Experiment.parse(settings, "here", Path())
    folder = RunFolder(tmp_path / "run")
    folder.claim(experiment)
    return Context(experiment, folder, interactions, split(interactions, SplitConfig()))


def prepared(context: Context) -> tuple[Weights, list[Architecture]]:
    space = context.experiment.search_space
    weights = supernet_weights(space, context.training, RECIPE, 0)
    genomes = [{"layers": 0}, {"layers": 2, "aggregator_1": "gat", "hidden_size": 4}, {"layers": 1}]
    return weights, [space.decode({**genome, "fusion.item": 0}) for genome in genomes]


@pytest.mark.parametrize("context", [0, 1, 2, 6], indirect=True)
def test_a_candidate_is_judged_at_the_best_of_its_own_epochs_on_copies_of_its_slices(
    context: Context,
) -> None:
    weights, architectures = prepared(context)
    before = weights.state()
    judge = supernet_evaluator(context, context.experiment.search_space, weights, RECIPE)
    for architecture in architectures:
        assert architecture.branches.keys() == {"graph"}
        alone = weights.extract(architecture, context.training.graph)
        slow = RECIPE.model_copy(update={"learning_rate": SLOWER})
        trainer = Trainer(alone, context.training, slow, context.experiment.search.seed)
        looks = []
        for epoch in range(context.experiment.supernet.tuning + 1):
            if epoch:
                trainer.epoch(lambda _rng, one=architecture: [one])
            scorer = scorer_of(architecture, alone, context.training.graph)
            looks.append(evaluate(scorer, context.train, context.valid, context.experiment.ks).means)
        expected = max(looks, key=lambda means: means["ndcg@20"])
        found = judge(architecture)
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
        assert found["refresh_macs"] == context.costs(architecture)["refresh_macs"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights.state().items())


@pytest.mark.parametrize("context", [2], indirect=True)
def test_candidates_that_share_a_graph_branch_share_its_training(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, architectures = prepared(context)
    judge = supernet_evaluator(context, context.experiment.search_space, weights, RECIPE)
    epochs, epoch = [], Trainer.epoch
    monkeypatch.setattr(Trainer, "epoch", lambda *words: epochs.append(1) or epoch(*words))
    space = context.experiment.search_space
    fused = [space.decode({"layers": 1, "fusion.item": weight}) for weight in (0, 1, 3)]
    assert len({one.learned for one in fused}) == 1 < len(set(fused))
    values = {judge(one)["ndcg@20"] for one in fused}
    assert len(epochs) == 2
    assert len(values) > 1
    alone, *beside = ([judge(one)[name] for name in ("graph_alone", "ndcg@20")] for one in fused)
    assert alone[0] == alone[1] == pytest.approx(beside[0][0]) == pytest.approx(beside[1][0])
    assert beside[0][1] != beside[0][0]
    assert "graph_alone" not in judge(space.decode({"fusion.graph": 0, "fusion.item": 1}))
    judge(architectures[0])
    assert len(epochs) == 4


@pytest.mark.parametrize("context", [0], indirect=True)
def test_shared_weights_are_the_average_of_slow_epochs(context: Context) -> None:
    space, settings = context.experiment.search_space, context.experiment.supernet
    weights, _ = train_supernet(context, RECIPE)
    slow = RECIPE.model_copy(update={"learning_rate": SLOW})
    trainer = Trainer(supernet_weights(space, context.training, slow, 0), context.training, slow, 0)
    average = Average(trainer.weights)
    for _ in range(settings.epochs):
        train_epoch(trainer, space, settings.random)
        average.add(trainer.weights)
    expected = average.weights.state()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights.state().items())
