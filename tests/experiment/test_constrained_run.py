"""Runs with constraints, and searches that end when they stand still."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tiny_experiment import TINY

import nas
from nas.errors import UserError
from nas.experiment.context import Context
from nas.experiment.reachable import cheap_graphs, cheapest
from nas.space import Architecture, SearchSpace

FUSED_SPACE: dict[str, Any] = {
    **TINY["search_space"],
    "branches": {
        **TINY["search_space"]["branches"],
        "spectral": {"rank": [4, 8], "neighbours": [0, 10]},
        "item": {"regularisation": [10, 100], "neighbours": [0, 5]},
    },
    "fusion": {"graph": [1, 0], "spectral": [0, 1], "item": [1, 0]},
}


def experiment(*constraints: str, fused: bool = False, **search: Any) -> dict[str, Any]:
    space = FUSED_SPACE if fused else TINY["search_space"]
    return TINY | {
        "search_space": space,
        "search": TINY["search"] | {"constraints": list(constraints)} | search,
    }


def trials(run: nas.Run) -> list[dict[str, Any]]:
    table = pl.read_parquet(run.path / "trials.parquet")
    return table.select([name for name in table.columns if name not in ("seconds", "finished")]).to_dicts()


def results(run: nas.Run) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in run.path.glob("retrained/*/result.json")]


def test_context_costs_are_those_of_the_summary_and_of_the_artefact(finished: nas.Run) -> None:
    context = Context.open(finished.experiment, finished.path)
    winner = finished.summary["winner"]
    counted = context.costs(Architecture.model_validate(winner["architecture"]))
    assert counted["refresh_macs"] == winner["refresh_macs"]
    assert counted["parameters"] == winner["parameters"]
    # Counted before anything is trained, exported at the end: never more than was counted, and little less.
    assert 0 <= counted["artefact_bytes"] - winner["artefact_bytes"] < 12_000
    assert winner["constraints"] == []
    assert finished.summary["search"]["ended"] == "trials"


@pytest.fixture(scope="module")
def limits(finished: nas.Run) -> tuple[str, str]:
    """Bounds that about a half of the trials keep to."""
    found = pl.read_parquet(finished.path / "trials.parquet")
    macs, coverage = (float(found[name].median() or 0) for name in ("refresh_macs", "coverage@20"))
    return f"refresh_macs <= {macs:.0f}", f"coverage@20 >= {coverage * 0.7:.3f}"


def test_everything_that_is_chosen_keeps_to_the_constraints(limits: tuple[str, str], tmp_path: Path) -> None:
    run = nas.search(experiment(*limits), tmp_path / "run")
    rows, bound = trials(run), run.experiment.search.constraints[0].bound
    too_much = [row for row in rows if row["refresh_macs"] > bound]
    assert 0 < len(too_much) < len(rows)
    for row in rows:
        assert (row["ndcg@20"] is None) == (row["refresh_macs"] > bound), (
            "what costs too much is not evaluated"
        )
        assert row["feasible"] == (json.loads(row["violations"]) == {})
    feasible = {row["id"] for row in rows if row["feasible"]}
    assert run.pareto
    assert {one["id"] for one in run.pareto} <= feasible
    context = Context.open(run.experiment, run.path)
    for result in results(run):
        assert context.costs(Architecture.model_validate(result["architecture"]))["refresh_macs"] <= bound
    summary = run.summary
    assert summary["search"]["constraints"] == [str(one) for one in run.experiment.search.constraints]
    assert summary["search"]["feasible"] == len([row for row in rows if row["feasible"]])
    held = summary["winner"]["constraints"]
    assert [one["held"] for one in held] == [True, True]
    assert held[0]["value"] == summary["winner"]["refresh_macs"] <= bound
    # LightGCN, tuned as ever, is a baseline whatever it costs.
    assert summary["baselines"][0]["name"] == "lightgcn"
    page = (run.path / "report.html").read_text()
    assert "were not evaluated" in page
    assert f"{summary['search']['feasible']} of 24 trials kept to them" in page


def test_lightgcn_that_costs_too_much_is_a_baseline_and_no_candidate(tmp_path: Path) -> None:
    # Matrix factorisation alone follows new interactions without a multiplication.
    run = nas.search(experiment("refresh_macs <= 0"), tmp_path / "run")
    assert {row["name"] for row in run.summary["baselines"]} >= {"lightgcn"}
    assert run.summary["baselines"][0]["test"]["ndcg@20"] > 0
    for result in results(run):
        assert result["architecture"]["graph"]["layers"] == []
    assert run.summary["winner"]["refresh_macs"] == 0


def test_a_constrained_run_that_is_interrupted_is_the_uninterrupted_one(
    limits: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = experiment(*limits, patience=6, trials=40)
    whole = nas.search(settings, tmp_path / "whole")
    assert whole.summary["search"]["ended"] == "patience"
    assert whole.summary["search"]["trials"] == len(trials(whole)) < whole.summary["search"]["asked"] == 40
    assert "It ended there" in (whole.path / "report.html").read_text()
    from nas.experiment.stages import search as stage

    evaluator = stage.supernet_evaluator

    def dying(*words: Any) -> Any:
        judge, left = evaluator(*words), iter(range(3))

        def evaluate(architecture: Architecture) -> dict[str, float]:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return judge(architecture)

        return evaluate

    with monkeypatch.context() as patched:
        patched.setattr(stage, "supernet_evaluator", dying)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                nas.search(settings, tmp_path / "parts")
    parts = nas.search(settings, tmp_path / "parts")
    assert trials(parts) == trials(whole)
    assert parts.summary["winner"]["test"] == whole.summary["winner"]["test"]
    # A search that stood still is not taken up again.
    (parts.path / "summary.json").unlink()
    assert trials(nas.search(settings, tmp_path / "parts")) == trials(whole)


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        (["parameters <= 10"], r"no architecture of the space 'tiny' keeps to 'parameters <= 10' .*is 440$"),
        (["artefact_bytes <= 1000"], r"the smallest artefact_bytes that can be reached is \d{5,6}$"),
    ],
)
def test_what_nothing_can_meet_is_said_before_anything_is_written(
    constraints: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        nas.search(experiment(*constraints), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def deeper(**graph: Any) -> dict[str, Any]:
    """A space where few parameters and few multiply-accumulates are two things."""
    branch = {"layers": [2], "hidden_size": [8], "aggregator": ["gcn", "gat"], "readout": ["last", "concat"]}
    return experiment() | {"search_space": {"name": "deeper", "branches": {"graph": branch | graph}}}


def test_the_smallest_value_that_is_named_can_be_reached(tmp_path: Path) -> None:
    for name in ("refresh_macs", "parameters", "artefact_bytes"):
        settings = deeper() | {"search": {"constraints": [f"{name} <= 1"]}}
        with pytest.raises(UserError, match=name) as raised:
            nas.search(settings, tmp_path / "run")
        least = int(str(raised.value).split()[-1])
        context = Context.open(
            nas.Experiment.parse(
                deeper() | {"search": {"constraints": [f"{name} <= {least}"]}}, "t", tmp_path
            ),
            tmp_path / name,
        )
        space = context.experiment.search_space
        everything = [space.sample(rng) for rng in map(np.random.default_rng, range(200))]
        assert min(context.costs(one)[name] for one in everything) == least
        found = cheapest(context, space)
        assert found is not None
        assert context.costs(found)[name] == least


def test_constraints_that_exclude_one_another_are_said(tmp_path: Path) -> None:
    # The mean of all states takes multiplications, all of them side by side take room.
    settings = deeper(readout=["mean", "concat"])
    context = Context.open(nas.Experiment.parse(settings, "test", tmp_path), tmp_path / "free")
    graph = context.experiment.search_space.branches.graph
    assert graph is not None
    costs = [context.costs(Architecture(graph=branch)) for branch in cheap_graphs(graph)]
    macs, size = (min(one[name] for one in costs) for name in ("refresh_macs", "artefact_bytes"))
    both = [f"refresh_macs <= {macs}", f"artefact_bytes <= {size}"]
    with pytest.raises(UserError, match=rf"keeps to all of .* with 'refresh_macs <= {macs}', the smallest"):
        nas.search(settings | {"search": {"constraints": both}}, tmp_path / "run")


def test_closed_forms_are_settled_within_the_limits(tmp_path: Path) -> None:
    free = Context.open(nas.Experiment.parse(experiment(fused=True), "test", tmp_path), tmp_path / "free")
    space = SearchSpace.parse(FUSED_SPACE, "test").only("graph", "item")
    dense, sparse = (free.costs(space.decode({"layers": 0, "item.neighbours": count})) for count in (0, 5))
    assert sparse["artefact_bytes"] < dense["artefact_bytes"]
    bound = (sparse["artefact_bytes"] + dense["artefact_bytes"]) // 2
    run = nas.search(experiment(f"artefact_bytes <= {bound}", fused=True), tmp_path / "run")
    branches = run.summary["branches"]
    assert branches["item"]["settings"]["neighbours"] == 5
    context = Context.open(run.experiment, run.path)
    for result in results(run):
        assert context.costs(Architecture.model_validate(result["architecture"]))["artefact_bytes"] <= bound
    assert run.summary["winner"]["artefact_bytes"] <= bound
    assert run.summary["winner"]["constraints"][0]["held"]


def test_a_quality_that_nothing_reaches_is_reported_as_broken(tmp_path: Path) -> None:
    run = nas.search(experiment("recall@20 >= 1"), tmp_path / "run")
    assert run.pareto == []
    assert run.summary["search"]["feasible"] == 0
    (one,) = run.summary["winner"]["constraints"]
    assert not one["held"]
    assert one["value"] == max(result["validation"]["recall@20"] for result in results(run))
    page = run.report().read_text()
    assert "The winner breaks recall@20 &gt;= 1" in page
