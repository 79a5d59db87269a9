from pathlib import Path

import pytest
import torch
from tiny_experiment import TINY

from nas.experiment import trainings
from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.stages.recipe import lightgcn
from nas.space.recipe import Recipe

LIGHTGCN = lightgcn("dot", 3)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context.open(Experiment.parse(TINY, "here", Path()), tmp_path / "run")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The trainings that were really made."""
    made: list[str] = []
    for name in ("fit", "refit"):
        real = getattr(trainings, name)
        monkeypatch.setattr(trainings, name, lambda *a, n=name, f=real, **k: (made.append(n), f(*a, **k))[1])
    return made


def test_equal_trainings_are_made_once(context: Context, counted: list[str]) -> None:
    made, recipe = context.trainings, Recipe(temperature=0.3)
    first = made.fit(LIGHTGCN, recipe, 0)
    assert made.fit(LIGHTGCN, recipe, 0) is first
    assert made.refit(LIGHTGCN, recipe, 2, 0) is made.refit(LIGHTGCN, recipe, 2, 0)
    assert counted == ["fit", "refit"]
    made.fit(LIGHTGCN, recipe, 1)
    made.fit(lightgcn("cosine", 3), recipe, 0)
    made.fit(LIGHTGCN, Recipe(temperature=0.4), 0)
    made.refit(LIGHTGCN, recipe, 3, 0)
    assert counted == ["fit", "refit", "fit", "fit", "fit", "refit"]


def test_what_is_forgotten_is_trained_again_to_the_same_weights(
    context: Context, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainings, "_MOST_BYTES", 1)
    made, recipe = context.trainings, Recipe(temperature=0.3)
    first = made.fit(LIGHTGCN, recipe, 0)
    made.fit(LIGHTGCN, recipe, 1)
    again = made.fit(LIGHTGCN, recipe, 0)
    assert counted == ["fit"] * 3
    assert again is not first
    for name, tensor in first.weights.tensors.items():
        assert torch.equal(tensor, again.weights.tensors[name])


def test_what_one_process_keeps_another_finds(context: Context, counted: list[str]) -> None:
    recipe = Recipe(temperature=0.3)
    first = context.trainings.fit(LIGHTGCN, recipe, 0)
    context.trainings.keep(LIGHTGCN, recipe, 0)
    context.trainings.keep_refit(LIGHTGCN, recipe, 2, 0)
    refitted = context.trainings.refit(LIGHTGCN, recipe, 2, 0)
    other = Context.open(context.experiment, context.folder.path)
    found = other.trainings.fit(LIGHTGCN, recipe, 0)
    assert (found.epochs, found.curve, found.seconds) == (first.epochs, first.curve, first.seconds)
    assert found.evaluation.means == first.evaluation.means
    again = other.trainings.refit(LIGHTGCN, recipe, 2, 0)
    for name, tensor in first.weights.tensors.items():
        assert torch.equal(tensor, found.weights.tensors[name])
        assert torch.equal(refitted.tensors[name], again.tensors[name])
        assert not torch.equal(tensor, again.tensors[name])
    assert counted == ["fit", "refit"]
    other.trainings.fit(LIGHTGCN, recipe, 1)
    other.trainings.fit(lightgcn("cosine", 3), recipe, 0)
    other.trainings.fit(LIGHTGCN, Recipe(temperature=0.4), 0)
    other.trainings.refit(LIGHTGCN, recipe, 3, 0)
    assert counted == ["fit", "refit", "fit", "fit", "fit", "refit"]
    other.trainings.dismiss()
    Context.open(context.experiment, context.folder.path).trainings.fit(LIGHTGCN, recipe, 0)
    assert counted[-1] == "fit"
    assert len(counted) == 7
