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


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_journal_that_breaks_off_anywhere_is_gone_on_with(share: float, tmp_path: Path) -> None:
    whole = context(tmp_path)
    expected = choose_recipe(whole)
    journal = tmp_path / "run" / "tunings" / "recipe.journal"
    held = journal.read_bytes()
    journal.write_bytes(held[: int(share * len(held))])
    (tmp_path / "run" / "recipe.json").unlink()
    again = context(tmp_path)
    again.trainings.dismiss()
    found = choose_recipe(again)
    for key in ("architecture", "recipe", "epochs", "validation", "trials"):
        assert found[key] == expected[key]
