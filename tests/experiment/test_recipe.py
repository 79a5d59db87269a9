from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from tiny_experiment import TINY

from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.stages.recipe import choose_recipe
from nas.experiment.storage import open_journal
from nas.experiment.team import Job, Team
from nas.model.evaluation import Evaluation
from nas.model.fitting import Fitted
from nas.model.weights import Weights
from nas.space import Architecture, Recipe


def context(folder: Path) -> Context:
    return Context.open(Experiment.parse(TINY, "test", folder), folder / "run")


@pytest.mark.parametrize("proposal", [1, 2, 3])
def test_a_process_killed_at_any_proposal_changes_no_recipe(
    proposal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = choose_recipe(context(tmp_path / "whole"))
    real, asked = optuna.Study.ask, list[int]()

    def killed(study: optuna.Study) -> optuna.Trial:
        asked.append(1)
        if len(asked) == proposal:
            raise KeyboardInterrupt
        return real(study)

    with monkeypatch.context() as patched:
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


@pytest.mark.parametrize("rises", [True, False])
def test_what_learns_slowly_is_not_pruned_before_it_has_had_its_time(
    rises: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("retrain.looks=3", "retrain.every=3")
    made = Context.open(Experiment.parse(TINY, "test", tmp_path, overrides), tmp_path / "run")
    metric, first, looked = made.experiment.metric, set[str](), list[int]()

    def fit(
        architecture: Architecture, _recipe: Recipe, _seed: int, report: Callable[[int, float], Any]
    ) -> Fitted:
        # LightGCN by both scores comes first; the third training is of a recipe of its own.
        third = len(first | {architecture.id}) == len(first) == 2
        first.add(architecture.id)
        curve = [
            (0, 0.2),
            *((3 * n, (0.9 if rises and n > 5 else 0.1) if third else 0.5) for n in range(1, 9)),
        ]
        for epoch, value in curve[1:]:
            if third:
                looked.append(epoch)
            report(epoch, value)
        best = max(value for _, value in curve)
        found = Evaluation(np.zeros(1, np.int64), np.zeros((1, 20), np.int32), {metric: np.array([best])}, {})
        return Fitted(Weights({}), 3, found, curve, 1.0)

    monkeypatch.setattr(made.trainings, "fit", fit)
    monkeypatch.setattr(made.trainings, "keep", lambda *_: None)
    monkeypatch.setattr(made.team, "each", lambda _jobs: iter(()))
    found = choose_recipe(made)
    assert found["validation"][metric] == (0.9 if rises else 0.5)
    assert looked == [3, 6, 9, 12, 15, 18, 21, 24][: 8 if rises else 6]


def test_a_lock_that_a_killed_process_left_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By a relative path Optuna's lock points nowhere, and is then never given up.
    monkeypatch.chdir(tmp_path)
    made = Context.open(Experiment.parse(TINY, "test", tmp_path), Path("run"))
    (tmp_path / "run" / "tunings").mkdir()
    (tmp_path / "run" / "tunings" / "recipe.journal.lock").symlink_to("run/tunings/recipe.journal")
    assert choose_recipe(made)["trials"] == 3
