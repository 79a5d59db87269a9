from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.data import Interactions
from nas.experiment.trainings import Trainings
from nas.graph.aggregators import AGGREGATORS
from nas.model.averaging import Average
from nas.model.evaluation import evaluate, scorer_of
from nas.model.fitting import Fitted, Patience, fit, new_trainer, refit
from nas.model.ranking import DivergedError
from nas.model.training import Trainer, TrainingData, steps_of
from nas.space import Architecture, GraphBranch, Layer, Recipe

RECIPE = Recipe(start="noise", batches=2, learning_rate=0.02, dropout=0.0)


def one_layer(aggregator: str) -> Architecture:
    return Architecture(graph=GraphBranch(hidden_size=32, layers=(Layer(aggregator=aggregator),)))


def fitted(ring: Any, arch: Architecture, patience: Patience, **rest: Any) -> Fitted:
    return fit(
        arch, RECIPE, ring.data, ring.parts.valid, patience, metric="ndcg@10", ks=(10,), seed=0, **rest
    )


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_every_aggregator_learns_planted_structure(aggregator: str, ring: Any) -> None:
    # Measured: popularity and untrained networks at most .07, trained ones .63 to .75 with two seeds.
    found = fitted(ring, one_layer(aggregator), Patience(30, 10, 3))
    assert max(ring.popularity, found.curve[0][1]) < 0.1
    assert found.evaluation.means["ndcg@10"] > 0.5


def test_the_best_epoch_s_weights_come_back(ring: Any) -> None:
    patience = Patience(epochs=60, every=2, looks=4)
    found = fitted(ring, one_layer("lightgcn"), patience)
    values = dict(found.curve)
    # Early stopping has to have happened, or the last epoch would be the best.
    assert found.epochs == max(values, key=values.__getitem__) < found.curve[-1][0] < patience.epochs
    assert [epoch for epoch, _ in found.curve] == list(range(0, found.epochs + 2 * 4 + 1, 2))
    scorer = scorer_of(one_layer("lightgcn"), found.weights, ring.data.graph)
    again = evaluate(scorer, ring.parts.train, ring.parts.valid, (10,))
    assert again.means == found.evaluation.means
    assert again.means["ndcg@10"] == values[found.epochs]


RISING = [0.2 + 0.01 * n for n in range(20)]


@pytest.mark.parametrize(
    ("values", "over"),
    [
        (RISING, False),
        ([0.5, *RISING], False),  # below its start all the time, and on the way back
        ([0.5, *reversed(RISING)], True),
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.1], False),  # fewer looks than two times three
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1], True),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.4, 0.4], False),  # the best is two looks ago
        ([0.1, 0.2, 0.3, 0.4, 0.3, 0.3, 0.3], True),
        ([0.1, 0.4, 0.1, 0.1, 0.2, 0.2, 0.3], False),
        ([0.3] * 7, True),
    ],
)
def test_a_training_ends_that_finds_nothing_better_and_does_not_rise(values: list[float], over: bool) -> None:
    assert Patience(epochs=300, every=2, looks=3).over(values) is over


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 8))
def test_a_training_never_ends_within_so_many_looks_of_its_best(values: list[float], looks: int) -> None:
    found = Patience(epochs=300, every=2, looks=looks).over(values)
    since_best = len(values) - 1 - values.index(max(values))
    assert not (found and since_best < looks)


def test_the_last_epoch_is_looked_at_even_between_two_looks(ring: Any) -> None:
    found = fitted(ring, one_layer("lightgcn"), Patience(epochs=5, every=3, looks=9))
    assert [epoch for epoch, _ in found.curve] == [0, 3, 5]


def test_refitting_for_the_best_number_of_epochs_gives_the_best_weights(ring: Any) -> None:
    arch = one_layer("gcn")
    found = fitted(ring, arch, Patience(epochs=30, every=3, looks=3))
    assert found.epochs > 0
    again = refit(arch, RECIPE, ring.data, epochs=found.epochs, seed=0)
    assert all(torch.equal(again.tensors[name], t) for name, t in found.weights.tensors.items())


def test_a_training_for_as_many_epochs_has_as_many_steps_in_each(ring: Any) -> None:
    arch = one_layer("gcn")

    def again(batches: int, **steps: int) -> torch.Tensor:
        recipe = RECIPE.model_copy(update={"batches": batches})
        return refit(arch, recipe, ring.data, epochs=2, seed=0, **steps).tensors["users"]

    assert torch.equal(again(2, steps=5), again(5))
    assert torch.equal(again(5, steps=2), again(5))
    assert not torch.equal(again(2), again(5))


def test_refitting_on_more_edges_has_the_steps_of_the_training_that_was_chosen(
    make_interactions: Callable[..., Interactions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of 30 users and 400 items, two and three a user: 30 * 400 / (10 * 120) = 10 steps, and 6.
    less, more = (
        TrainingData.of(make_interactions([(u, 3 * u + n) for u in range(30) for n in range(each)], 30, 400))
        for each in (2, 3)
    )
    recipe = Recipe(dropout=0.0)
    assert (steps_of(less, recipe), steps_of(more, recipe)) == (10, 6)
    taken: list[int] = []
    step = Trainer.step
    monkeypatch.setattr(
        Trainer, "step", lambda self, *rest: (taken.append(self.epochs), step(self, *rest))[1]
    )
    context: Any = SimpleNamespace(training=less, refitting=more, folder=SimpleNamespace(path=tmp_path))
    Trainings(context).refit(one_layer("lightgcn"), recipe, 2, 0)
    assert [taken.count(epoch) for epoch in range(2)] == [10, 10]


def test_what_is_kept_of_a_training_is_the_average_of_its_epochs(ring: Any) -> None:
    arch = one_layer("gcn")
    trainer = new_trainer(arch, ring.data, RECIPE, seed=0)
    average = Average(trainer.weights)
    for _ in range(4):
        trainer.epoch(lambda: arch)
        average.add(trainer.weights)
    found = refit(arch, RECIPE, ring.data, epochs=4, seed=0)
    assert all(torch.equal(average.weights.tensors[name], t) for name, t in found.tensors.items())
    assert not torch.equal(trainer.weights.tensors["users"], found.tensors["users"])


def test_what_report_raises_ends_the_training(ring: Any) -> None:
    heard: list[tuple[int, float]] = []

    def report(epoch: int, value: float) -> None:
        heard.append((epoch, value))
        if epoch >= 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fitted(ring, one_layer("mean"), Patience(epochs=20, every=2, looks=9), report=report)
    assert [epoch for epoch, _ in heard] == [2, 4]


def test_a_training_that_diverges_ends_with_its_best_epoch(ring: Any) -> None:
    recipe = RECIPE.model_copy(update={"learning_rate": 1e30})
    found = fit(
        one_layer("gcn"), recipe, ring.data, ring.parts.valid, Patience(20, 1, 20),
        metric="ndcg@10", ks=(10,), seed=0,
    )  # fmt: skip
    assert len(found.curve) < 20, "it has to have diverged"
    assert 0 <= found.evaluation.means["ndcg@10"] <= 1
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found.weights.tensors.values())


@pytest.mark.parametrize("sound", [0, 2])
def test_refitting_that_diverges_ends_with_the_epochs_before(
    sound: int, ring: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arch = one_layer("gcn")
    expected = refit(arch, RECIPE, ring.data, epochs=sound, seed=0)
    whole = Trainer._loss
    monkeypatch.setattr(
        Trainer, "_loss", lambda self, *rest: whole(self, *rest) * (torch.nan if self.epochs >= sound else 1)
    )
    found = refit(arch, RECIPE, ring.data, epochs=5, seed=0)
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in expected.tensors.items())
    assert f"{sound} epochs of 5" in caplog.text


def test_one_subnet_that_overflows_does_not_end_the_others(
    ring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = one_layer("lightgcn"), one_layer("gcn")
    trainer = new_trainer(bad, ring.data, RECIPE, seed=0)
    whole = Trainer._loss

    def loss(self: Trainer, architecture: Architecture, *rest: Any) -> torch.Tensor:
        value = whole(self, architecture, *rest)
        return value * torch.inf if architecture == bad else value

    monkeypatch.setattr(Trainer, "_loss", loss)
    before = trainer.weights.tensors["users"].detach().clone()
    turns = cycle([good, bad])
    assert trainer.epoch(lambda: next(turns)) < 100
    assert not torch.equal(trainer.weights.tensors["users"], before)
    assert bool(torch.isfinite(trainer.weights.tensors["users"]).all())
    with pytest.raises(DivergedError):
        trainer.epoch(lambda: bad)
