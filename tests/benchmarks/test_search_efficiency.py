"""The comparison of searches on planted data, each with a second: what counts is counted, and nothing is made twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import one_search
import pytest
import search_efficiency
import torch
import yaml

from nas.errors import UserError
from nas.experiment.context import Context
from nas.search.hypervolume import Hypervolume
from nas.space import Recipe, SearchSpace

SECONDS = 1.5
EXPERIMENT = {
    "name": "small",
    "data": {"source": "planted", "planted": {"users": 60, "items": 50, "interactions_per_user": 10}},
    "recipe": {"trials": 2},
    "search": {"trials": 30, "population": 8},
    "retrain": {"epochs": 6, "every": 1, "looks": 3},
}


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path: Path) -> str:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    return str(tmp_path / "small.yaml")


def compare(data: str, folder: Path, **options: Any) -> list[dict[str, Any]]:
    out = folder / "deep" / "rows.json"
    settings = {"seconds": SECONDS, "seeds": 1, "methods": ",".join(one_search.METHODS), "recipe": None}
    search_efficiency.main(
        data=data, folder=folder / "kept", threads=1, as_json=True, plot=None, out=out, **(settings | options)
    )
    rows: list[dict[str, Any]] = json.loads(out.read_text())
    return rows


def test_the_moment_that_is_told_is_the_one_that_was_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that is a little later whenever it is looked at, and a training that ends just in time.
    clock = SimpleNamespace(now=9.75)

    def later() -> float:
        clock.now += 0.25
        return clock.now

    monkeypatch.setattr(one_search, "time", SimpleNamespace(perf_counter=later))
    fitted = SimpleNamespace(evaluation=SimpleNamespace(means={"ndcg@20": 0.5}), epochs=3)
    context = SimpleNamespace(
        experiment=SimpleNamespace(metric="ndcg@20", search=SimpleNamespace(seed=0)),
        trainings=SimpleNamespace(fit=lambda *_arguments: fitted),
        costs=lambda _architecture: {"refresh_macs": 1},
    )
    race = one_search.Race(context, Recipe(), seconds=10.0, started=0.0)
    assert race.train(SearchSpace.load("presets/mf").decode({})) == 0.5
    assert [one["seconds"] for one in race.trained] == [10.0]
    with pytest.raises(one_search.OutOfTimeError):
        race.train(SearchSpace.load("presets/lightgcn").decode({}))


@pytest.mark.timeout(280)
def test_every_method_gets_the_same_time_and_its_row(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = compare(data, tmp_path)
    assert json.loads(capsys.readouterr().out) == rows
    assert [row["method"] for row in rows] == list(one_search.METHODS)
    for row in rows:
        assert (row["data"], row["seconds"], row["seeds"], row["threads"]) == ("small", SECONDS, 1, 1)
        found = json.loads((tmp_path / "kept" / f"{row['method']}-0.json").read_text())
        moments = [one["seconds"] for one in found["trained"]]
        assert moments == sorted(moments)
        assert all(moment <= SECONDS for moment in moments), "what ended later does not count"
        assert len({one["id"] for one in found["trained"]}) == len(moments), "nothing is trained twice"
        assert row["trained"] == len(moments)
        if moments:
            best = max(found["trained"], key=lambda one: one["validation"])
            assert (
                row["validation"] == row["validation_at"]["1"] == pytest.approx(best["validation"], abs=1e-4)
            )
            assert row["test"] == pytest.approx(np.mean(found["test"]), abs=1e-4)
            assert row["interval"][0] <= row["test"] <= row["interval"][1]
        for heights in (row["validation_at"], row["hypervolume_at"]):
            assert list(heights.values()) == sorted(heights.values())
        # Only what scores cheaply scores more than it trains.
        cheap = row["method"] in ("supernet-nsga2", "supernet-tpe", "random-scores", "parameters")
        assert (row["scored"] > 0) == cheap
    assert any(row["trained"] for row in rows)


def test_a_comparison_goes_on_where_it_stopped(data: str, tmp_path: Path) -> None:
    first = compare(data, tmp_path, methods="random", seconds=0.7)
    made = (tmp_path / "kept" / "random-0.json").read_bytes()
    recipe = (tmp_path / "kept" / "recipe.json").read_bytes()
    plot = tmp_path / "plots" / "both.html"
    out = tmp_path / "deep" / "rows.json"
    search_efficiency.main(
        data, 0.7, 2, "random,random-scores", None, tmp_path / "kept", 1, as_json=False, plot=plot, out=out
    )
    rows = json.loads(out.read_text())
    assert (tmp_path / "kept" / "random-0.json").read_bytes() == made
    assert (tmp_path / "kept" / "recipe.json").read_bytes() == recipe
    assert [row["seeds"] for row in rows] == [2, 2]
    assert first[0]["method"] == rows[0]["method"] == "random"
    assert "random scores, NSGA-II" in plot.read_text()


def test_a_given_recipe_is_everybodys(data: str, tmp_path: Path) -> None:
    given = tmp_path / "recipe.json"
    given.write_text(json.dumps({"recipe": Recipe(loss="bpr").model_dump(mode="json")}))
    compare(data, tmp_path, methods="random", seconds=0.7, recipe=given)
    assert not (tmp_path / "kept" / "tuning").exists(), "nothing is tuned"
    given.write_text(json.dumps({"recipe": Recipe().model_dump(mode="json")}))
    with pytest.raises(UserError, match="another recipe"):
        compare(data, tmp_path, methods="random", seconds=0.7, recipe=given)


def test_results_of_something_else_are_not_taken(data: str, tmp_path: Path) -> None:
    compare(data, tmp_path, methods="random", seconds=0.7)
    before = (tmp_path / "kept" / "asked.json").read_bytes()
    with pytest.raises(UserError, match=r"kept: holds results that differ in seconds; give another --folder"):
        compare(data, tmp_path, methods="random", seconds=0.8)
    Path(data).write_text(yaml.safe_dump(EXPERIMENT | {"name": "other"}))
    with pytest.raises(UserError, match="differ in experiment;"):
        compare(data, tmp_path, methods="random", seconds=0.7)
    assert (tmp_path / "kept" / "asked.json").read_bytes() == before


def test_a_method_that_is_none_is_said(data: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown method 'magic'; expected one of .*supernet-nsga2"):
        compare(data, tmp_path, methods="random,magic")
    with pytest.raises(UserError, match="give them more time"):
        compare(data, tmp_path, methods="random", seconds=0.1 if torch.cuda.is_available() else 0.001)


def test_successive_halving_gives_up_early(data: str, tmp_path: Path) -> None:
    context = Context.open(search_efficiency.experiment_of(data, 0), tmp_path / "run")
    looks: list[int] = []
    race = one_search.Race(context, Recipe(), 60.0)

    def train(_architecture: Any, report: Any) -> float:
        # Each is worse than the one before.
        for epoch in range(1, 30):
            race.scored += 1
            report(epoch, 1 - 0.01 * len(looks))
        looks.append(epoch)
        if len(looks) == 3:
            race.seconds = 0.0
        return 1.0

    race.train = train  # type: ignore[method-assign]
    one_search.METHODS["tpe-halving"].run(race)
    assert race.scored > 3 * 29, "some were given up on the way"


def test_curves_are_step_lines() -> None:
    steps = [(1.0, 0.1), (2.0, 0.3)]
    assert [search_efficiency.value_at(steps, moment) for moment in (0.5, 1, 1.9, 2, 9)] == [
        0, 0.1, 0.1, 0.3, 0.3,
    ]  # fmt: skip
    trained = [
        {"seconds": n, "validation": v, "refresh_macs": m}
        for n, v, m in [(1, 0.1, 0), (2, 0.3, 9), (3, 0.2, 5)]
    ]
    found = {"trained": trained}
    box = search_efficiency.common_box([found])
    assert search_efficiency.best_so_far(found, box()) == [(1, 0.1), (2, 0.3)]
    assert isinstance(box(), Hypervolume)
    assert [value for _, value in search_efficiency.volume_so_far(found, box())] == pytest.approx(
        [0, 0, (0.5) * (4 / 9)]
    )
