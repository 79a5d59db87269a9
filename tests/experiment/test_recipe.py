from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
import pytest
from tiny_experiment import TINY

from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.stages.recipe import choose_recipe
from nas.experiment.storage import open_journal
from nas.experiment.team import Job, Team


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


def test_trainings_that_know_nothing_of_each_other_are_shared_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = choose_recipe(context(tmp_path / "one"))
    other, offered = context(tmp_path / "two"), list[int]()
    real = Team.each

    def done_elsewhere(team: Team, jobs: Sequence[Job]) -> Iterator[None]:
        offered.append(len(jobs))
        for job in jobs:
            # As a worker does, which has a context of its own.
            job.make(context(tmp_path / "two"), **job.arguments)
        return real(team, jobs)

    monkeypatch.setattr(Team, "each", done_elsewhere)
    found = choose_recipe(other)
    # Of three trials two are LightGCN by both scores; the third has a sampler that has seen them.
    assert offered == [2, 0]
    for key in ("architecture", "recipe", "epochs", "validation", "trials"):
        assert found[key] == expected[key]
    studies = [
        optuna.load_study(
            study_name="recipe", storage=open_journal(one.experiment, one.folder.path, "recipe")
        )
        for one in (context(tmp_path / "one"), context(tmp_path / "two"))
    ]
    curves = [[trial.intermediate_values for trial in study.trials] for study in studies]
    assert curves[0] == curves[1]
    assert all(curves[0])


def test_a_trial_that_waits_since_a_process_was_killed_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = choose_recipe(context(tmp_path / "whole"))
    real, asked = optuna.Study.ask, list[int]()

    def killed_at_the_second(study: optuna.Study) -> optuna.Trial:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(study)

    with monkeypatch.context() as patched:
        patched.setattr(optuna.Study, "ask", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            choose_recipe(context(tmp_path / "parts"))
    found = choose_recipe(context(tmp_path / "parts"))
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}


def test_a_lock_that_a_killed_process_left_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By a relative path Optuna's lock points nowhere, and is then never given up.
    monkeypatch.chdir(tmp_path)
    made = Context.open(Experiment.parse(TINY, "test", tmp_path), Path("run"))
    (tmp_path / "run" / "tunings").mkdir()
    (tmp_path / "run" / "tunings" / "recipe.journal.lock").symlink_to("run/tunings/recipe.journal")
    assert choose_recipe(made)["trials"] == 3
