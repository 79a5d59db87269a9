import os
from pathlib import Path
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_info
from tiny_experiment import TINY

import nas
from nas.experiment import crew, run
from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.crew import Crew, crew_of, with_threads
from nas.experiment.workers import at_work

UNSET = {key: value for key, value in TINY.items() if key != "threads"}


def opened(values: dict[str, Any], path: Path) -> Context:
    return Context.open(Experiment.parse(values, "here", Path()), path / "run")


def on_machine(monkeypatch: pytest.MonkeyPatch, cores: int, gigabytes: int) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_AVPHYS_PAGES": gigabytes * 2**18}
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    monkeypatch.setattr(os, "sysconf", lambda name: sizes[name])


@pytest.mark.parametrize(
    ("cores", "change", "gigabytes", "edges", "expected"),
    [
        (4, {}, 100, 600_000, Crew(4, 1)),
        (1, {}, 100, 600_000, Crew(1, 1)),
        (64, {}, 1000, 600_000, Crew(16, 4)),
        (8, {}, 4, 600_000, Crew(3, 2)),
        (8, {}, 1, 600_000, Crew(1, 8)),
        (8, {"threads": 2}, 100, 600_000, Crew(4, 2)),
        (8, {"threads": 16}, 100, 600_000, Crew(1, 16)),
        (8, {"search": {"objectives": ["ndcg@20", "refresh_seconds"]}}, 100, 600_000, Crew(1, 8)),
        (8, {}, 100, 90_000, Crew(1, 1)),
        (8, {"threads": 3}, 100, 90_000, Crew(1, 3)),
        # Where memory is what processes contend for, they are fewer and have more threads.
        (2, {}, 100, 26_000_000, Crew(1, 2)),
        (8, {}, 100, 26_000_000, Crew(2, 4)),
        (8, {}, 2, 26_000_000, Crew(1, 8)),
        (8, {"threads": 1}, 100, 26_000_000, Crew(8, 1)),
    ],
)  # fmt: skip
def test_there_are_as_many_processes_as_pay(
    cores: int,
    change: dict[str, Any],
    gigabytes: int,
    edges: int,
    expected: Crew,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = opened(UNSET | change, tmp_path)
    on_machine(monkeypatch, cores, gigabytes)
    monkeypatch.setattr(crew, "epoch_cost", lambda *_: edges)
    assert crew_of(context, None) == expected
    assert crew_of(context, 7) == Crew(7, change.get("threads", max(1, cores // 7)))


def test_processes_that_hold_many_scores_are_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_SMALL", 0)
    on_machine(monkeypatch, 8, 16)
    context = opened(UNSET, tmp_path)
    assert crew_of(context, None) == Crew(8, 1)
    # Four gigabytes of 60 users and 50 items, and one for all else.
    monkeypatch.setattr(crew, "_SCORES_HELD", 2**32 // (4 * 60 * 50))
    assert crew_of(context, None) == Crew(3, 2)
    judged = UNSET | {"search": UNSET["search"] | {"users": 15}}
    assert crew_of(opened(judged, tmp_path / "few"), None) == Crew(8, 1)


def test_a_run_goes_on_with_the_threads_it_began_with(tmp_path: Path) -> None:
    context, before = opened(UNSET, tmp_path), torch.get_num_threads()
    context.folder.write_json("environment.json", {"threads": before + 3})
    for asked in (None, 1):
        with context.folder.locked(), at_work(context, asked):
            assert torch.get_num_threads() == before + 3
            assert context.team.threads == before + 3
        assert torch.get_num_threads() == before
    assert crew_of(context, 2) == Crew(2, before + 3)


def test_what_is_asked_of_a_run_later_has_its_threads_too(
    finished: nas.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun = finished.folder.read_json("environment.json")["threads"]
    before, seen = torch.get_num_threads(), list[int]()

    def watched(*_: object) -> dict[str, Any]:
        seen.append(torch.get_num_threads())
        return {}

    monkeypatch.setattr(run, "retrain", watched)
    monkeypatch.setattr(run, "export", watched)
    with with_threads(begun + 2):
        finished.retrain(finished.pareto[0]["id"])
        finished.export(tmp_path / "exported")
    assert seen == [begun, begun]
    assert torch.get_num_threads() == before


def test_threads_are_those_of_blas_too_and_are_given_back() -> None:
    def blas() -> list[int]:
        return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]

    before, held = torch.get_num_threads(), blas()
    with with_threads(None):
        assert torch.get_num_threads() == before
        assert blas() == held
    with with_threads(1):
        assert torch.get_num_threads() == 1
        assert held
        assert set(blas()) == {1}
    assert torch.get_num_threads() == before
    assert blas() == held


def test_opening_a_run_leaves_the_threads_alone(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    opened(TINY | {"threads": before + 1}, tmp_path)
    assert torch.get_num_threads() == before
