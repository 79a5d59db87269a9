from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_experiment import TINY

from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.folder import RunFolder
from nas.experiment.stages import supernet
from nas.model.supernet import Supernet
from nas.space import Recipe

RECIPE = Recipe(learning_rate=0.003)


def context(folder: Path) -> Context:
    return Context.open(Experiment.parse(TINY, "test", folder, ("supernet.epochs=6",)), folder / "run")


@pytest.mark.parametrize("epochs", [1, 4, 6])
def test_what_is_interrupted_after_some_epochs_ends_as_the_uninterrupted_one(
    epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, summary = supernet.train_supernet(context(tmp_path / "whole"), RECIPE)
    left, real = iter(range(epochs)), Supernet.epoch

    def dying(training: Supernet) -> float:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(training)

    monkeypatch.setattr(supernet, "_SECONDS_BETWEEN_CHECKPOINTS", -1)
    with monkeypatch.context() as patched:
        patched.setattr(Supernet, "epoch", dying)
        if epochs < 6:
            with pytest.raises(KeyboardInterrupt):
                supernet.train_supernet(context(tmp_path / "parts"), RECIPE)
            assert (tmp_path / "parts/run/supernet/checkpoint.safetensors").exists()
    found, again = supernet.train_supernet(context(tmp_path / "parts"), RECIPE)
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in whole.tensors.items())
    assert again["loss"] == summary["loss"]
    assert again["seconds"] > 0
    assert not (tmp_path / "parts/run/supernet/checkpoint.safetensors").exists()


def test_one_that_is_interrupted_when_all_is_trained_knows_its_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, summary = supernet.train_supernet(context(tmp_path / "whole"), RECIPE)
    made, real = context(tmp_path / "parts"), RunFolder.write

    def dying(folder: RunFolder, name: str, write: Any) -> None:
        if name == "supernet/weights.safetensors":
            raise KeyboardInterrupt
        real(folder, name, write)

    monkeypatch.setattr(supernet, "_SECONDS_BETWEEN_CHECKPOINTS", -1)
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            supernet.train_supernet(made, RECIPE)
    assert supernet.train_supernet(context(tmp_path / "parts"), RECIPE)[1]["loss"] == summary["loss"]
