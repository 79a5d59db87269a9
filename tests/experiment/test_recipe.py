from pathlib import Path

import optuna
import pytest
from tiny_experiment import TINY

from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.stages.recipe import choose_recipe


def context(folder: Path) -> Context:
    return Context.open(Experiment.parse(TINY, "test", folder), folder / "run")


def test_a_process_killed_before_it_asks_changes_no_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = choose_recipe(context(tmp_path / "whole"))
    with monkeypatch.context() as patched:

        def killed(_study: optuna.Study) -> optuna.Trial:
            raise KeyboardInterrupt

        patched.setattr(optuna.Study, "ask", killed)
        with pytest.raises(KeyboardInterrupt):
            choose_recipe(context(tmp_path / "parts"))
    found = choose_recipe(context(tmp_path / "parts"))
    for key in ("architecture", "recipe", "epochs", "validation", "trials"):
        assert found[key] == expected[key]
