"""Constraints: what they read, what they measure, and that every sampler heeds them."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage, RDBStorage

from nas.errors import UserError
from nas.model.evaluation import costs
from nas.search.constraints import Constraint, merit, violations
from nas.search.loop import Candidate, SearchSettings, candidates, open_study, search
from nas.search.pareto import front, progress
from nas.search.samplers import SAMPLERS
from nas.space import Architecture, SearchSpace

OBJECTIVES = ("ndcg@20", "refresh_macs")
GRAPH = SearchSpace.load("graph")
LIMITS = (Constraint.parse("refresh_macs <= 1e5"), Constraint.parse("recall@20 >= 0.3"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("refresh_macs <= 2e8", "refresh_macs <= 200000000"),
        (" artefact_bytes<=5000001 ", "artefact_bytes <= 5000001"),
        ("coverage@20 >= 0.3", "coverage@20 >= 0.3"),
        ("gini@10 <= .9", "gini@10 <= 0.9"),
        ("novelty@20 >= 3", "novelty@20 >= 3"),
        ("refresh_macs <= 0", "refresh_macs <= 0"),
    ],
)
def test_a_constraint_is_read_and_said_in_one_spelling(text: str, said: str) -> None:
    assert str(Constraint.parse(text)) == said
    assert Constraint.parse(said) == Constraint.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("refresh_macs", "expected such as 'refresh_macs <= 2e8'"),
        ("refresh_macs <= 2e8 or so", "expected such as"),
        ("refresh_macs <= lots", "'lots' is no number"),
        ("refresh_macs <= nan", "'nan' is no number"),
        ("refresh_macs <= inf", "'inf' is no number"),
        ("refresh_macs < 2e8", "refresh_macs takes <=, such as 'refresh_macs <= 2e8'"),
        ("refresh_macs >= 2e8", "refresh_macs takes <="),
        ("ndcg@20 <= 0.2", "ndcg@20 takes >=, such as 'ndcg@20 >= 0.2'"),
        ("ndcg@20 == 0.2", "ndcg@20 takes >="),
        ("macs <= 3", r"unknown objective 'macs'; expected one of .*refresh_macs"),
        ("ndcg >= 0.3", "unknown objective 'ndcg'"),
        ("refresh_seconds <= 3", "refresh_seconds is measured, and differs from run to run"),
        ("recall@20 >= 30", "recall@20 lies between 0 and 1"),
        ("refresh_macs <= -5", "refresh_macs is never below 0; expected a bound that it can keep to"),
        (7, "expected such as"),
    ],
)
def test_what_is_no_constraint_is_said(text: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Constraint.parse(text)


def test_the_excess_is_a_share_of_the_bound() -> None:
    above, below = Constraint.parse("parameters <= 200"), Constraint.parse("recall@20 >= 0.4")
    assert above.excess(300) == below.excess(0.2) == pytest.approx(0.5)
    assert above.excess(200) == below.excess(0.4) == 0, "the bound itself is kept to"
    assert above.excess(100) == pytest.approx(-0.5)
    assert Constraint.parse("refresh_macs <= 0").excess(7) == 7
    values = {"parameters": 300.0, "recall@20": 0.4}
    assert violations((above, below), values) == {"parameters <= 200": pytest.approx(0.5)}
    assert violations((above, below), {}) == {}, "what is not known breaks nothing"


def test_less_violation_comes_before_more_quality() -> None:
    limit = (Constraint.parse("parameters <= 100"),)
    good, better, cheap = (
        {"ndcg@20": quality, "parameters": size}
        for quality, size in [(0.3, 150.0), (0.4, 200.0), (0.1, 99.0)]
    )
    ranked = sorted([good, better, cheap], key=lambda v: merit(v, limit, "ndcg@20"), reverse=True)
    assert ranked == [cheap, good, better]
    assert max([good, better, cheap], key=lambda v: merit(v, (), "ndcg@20")) == better


def cost(arch: Architecture) -> dict[str, int]:
    return costs(arch, 100, 100, 1000)


def worth(arch: Architecture) -> dict[str, float]:
    """Width and depth are good, and cost."""
    quality = arch.learned.hidden_size / 256 + len(arch.learned.layers) / 8
    return {"ndcg@20": quality, "recall@20": quality + 0.1 * (arch.learned.score == "dot")} | cost(arch)


def wanted(sampler: str, trials: int, constraints: tuple[Constraint, ...] = LIMITS) -> SearchSettings:
    return SearchSettings(sampler, trials, 10, 0, OBJECTIVES, constraints=constraints)


def found(settings: SearchSettings) -> list[Candidate]:
    return list(search(open_study(InMemoryStorage(), "search", OBJECTIVES), GRAPH, worth, settings, cost))


def facts(run: list[Candidate]) -> list[Any]:
    return [(c.number, c.architecture.id, dict(c.values), dict(c.violations)) for c in run]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_costs_too_much_is_not_evaluated(sampler: str) -> None:
    evaluated = []

    def evaluate(arch: Architecture) -> dict[str, float]:
        evaluated.append(arch)
        return worth(arch)

    study = open_study(InMemoryStorage(), "search", OBJECTIVES)
    run = list(search(study, GRAPH, evaluate, wanted(sampler, 60), cost))
    too_much = [c for c in run if cost(c.architecture)["refresh_macs"] > 1e5]
    assert 0 < len(too_much) < 60
    assert [c.architecture for c in run if c not in too_much] == evaluated
    for trial, candidate in zip(study.trials, run, strict=True):
        macs = cost(candidate.architecture)["refresh_macs"]
        assert trial.constraints[str(LIMITS[0])] == pytest.approx(macs / 1e5 - 1)
        assert candidate.feasible == all(excess <= 0 for excess in trial.constraints.values())
        if candidate in too_much:
            # The sampler hears the worst quality; what is kept does not pretend that it was measured.
            assert trial.values == [0.0, macs]
            assert candidate.values == cost(candidate.architecture)
            assert trial.user_attrs["violations"] == {str(LIMITS[0]): pytest.approx(macs / 1e5 - 1)}
        else:
            assert candidate.feasible == (worth(candidate.architecture)["recall@20"] >= 0.3)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "random"])
def test_a_sampler_that_learns_keeps_to_the_constraints(sampler: str) -> None:
    # 1e5 leaves a sampler little that is not known already.
    limits = (Constraint.parse("refresh_macs <= 1e6"), LIMITS[1])
    kept, drawn = (sum(c.feasible for c in found(wanted(name, 120, limits))) for name in (sampler, "random"))
    assert kept > 1.2 * drawn


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_constrained_search_that_resumes_is_the_uninterrupted_one(sampler: str, tmp_path: Path) -> None:
    settings = wanted(sampler, 40)

    def study() -> optuna.Study:
        return open_study(RDBStorage(f"sqlite:///{tmp_path / 'study.db'}"), "search", OBJECTIVES)

    whole = found(settings)
    assert not all(c.feasible for c in whole)
    for trials in (13, 27, 40):
        list(search(study(), GRAPH, worth, wanted(sampler, trials), cost))
    assert facts(candidates(study())) == facts(whole)


def test_the_front_holds_feasible_trials_alone_and_is_optunas() -> None:
    study = open_study(InMemoryStorage(), "search", OBJECTIVES)
    run = list(search(study, GRAPH, worth, wanted("nsga2", 60), cost))
    chosen = front(run, OBJECTIVES)
    assert chosen
    assert all(c.feasible for c in chosen)
    ours = {tuple(c.values[name] for name in OBJECTIVES) for c in chosen}
    assert {tuple(trial.values) for trial in study.best_trials} == ours


def test_infeasible_trials_add_no_hypervolume() -> None:
    run = found(wanted("random", 60))
    volumes = progress(run, OBJECTIVES)
    feasible = [c for c in run if c.feasible]
    assert len(volumes) == 60
    assert volumes[[n for n, c in enumerate(run) if c.feasible]] == pytest.approx(
        progress(feasible, OBJECTIVES)
    )
    for n, candidate in enumerate(run[1:], 1):
        assert candidate.feasible or volumes[n] == volumes[n - 1]
    none = [c for c in run if not c.feasible]
    assert progress(none, OBJECTIVES).tolist() == [0.0] * len(none)
    assert front(none, OBJECTIVES) == []


def test_without_constraints_nothing_changes() -> None:
    without = wanted("nsga2", 30, ())
    study = open_study(InMemoryStorage(), "search", OBJECTIVES)
    plain = list(search(study, GRAPH, worth, without))
    assert facts(found(without)) == facts(plain)
    assert all(trial.constraints == {} for trial in study.trials)
