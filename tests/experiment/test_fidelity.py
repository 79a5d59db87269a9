import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import supernet_ablation
from tiny_experiment import TINY

import nas
from nas.cli import main
from nas.errors import UserError
from nas.experiment.stages.fidelity import draw
from nas.space.search_space import SearchSpace


@pytest.fixture
def run(finished: nas.Run, tmp_path: Path) -> nas.Run:
    """A copy of the finished run, to write into."""
    return nas.Run(shutil.copytree(finished.path, tmp_path / "run"))


def test_fidelity_is_measured_and_told(run: nas.Run) -> None:
    assert "Not measured in this run" in (run.path / "report.html").read_text()
    found = run.fidelity(n=8, seeds=2, seed=3)
    assert found["n"] == len(found["rows"]) == len({row["id"] for row in found["rows"]}) == 8
    assert all(len(row["trained"]) == 2 for row in found["rows"])
    assert set(found["trivial"]) == {"parameters", "refresh_macs", "hidden size", "layers"}
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["fidelity"]["kendall_tau"] == found["kendall_tau"]
    assert "rows" not in summary["fidelity"]
    assert summary["winner"] == run.summary["winner"]
    report = (run.path / "report.html").read_text()
    assert "Not measured in this run" not in report
    assert "Eight architectures, drawn by seed 3" in report
    plan = json.loads((run.path / "fidelity" / "plan.json").read_text())
    assert plan["seed"] == 3
    assert len(plan["architectures"]) == 8


def test_it_goes_on_and_grows(run: nas.Run) -> None:
    first = run.fidelity(n=5, seeds=1)
    files = {path.name: path.stat().st_mtime_ns for path in (run.path / "fidelity").glob("*-*.json")}
    assert len(files) == 5
    more = run.fidelity(n=7, seeds=2)
    again = {path.name: path.stat().st_mtime_ns for path in (run.path / "fidelity").glob("*-*.json")}
    assert files.items() <= again.items(), "what was trained is not trained again"
    assert len(again) == 14
    assert [row["id"] for row in more["rows"]][:5] == [row["id"] for row in first["rows"]]
    assert more["rows"][0]["trained"][:1] == first["rows"][0]["trained"]


def test_an_ablation_judges_every_setting_by_the_same_trainings(
    run: nas.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "ablation.json"
    variations = ({"epochs": 1}, {"epochs": 0}, {"epochs": 1, "sizes": "any"}, {"epochs": 1, "own_epochs": 2})
    monkeypatch.setattr(supernet_ablation, "VARIATIONS", variations)
    supernet_ablation.main(run.path, n=6, draws=[9], supernets=2, out=out)
    rows = json.loads(out.read_text())
    settings = [(row["epochs"], row["sizes"], row["own_epochs"]) for row in rows]
    assert settings == [(1, "widest", 0), (0, "widest", 0), (1, "any", 0), (1, "widest", 2)]
    assert all(row["range"][0] <= row["kendall_tau"] <= row["range"][1] for row in rows)
    assert all((row["n"], row["draws"], row["supernets"], row["batches"]) == (6, 1, 2, 8) for row in rows)
    assert len({tuple(row["range"]) for row in rows}) > 1, "settings change something"
    assert len(list((run.path / "fidelity").glob("*-0.json"))) == 6


def test_a_supernet_score_is_that_of_the_search(run: nas.Run) -> None:
    import polars as pl

    trials = pl.read_parquet(run.path / "trials.parquet")
    known = dict(zip(trials["id"], trials["ndcg@20"], strict=True))
    found = run.fidelity(n=60, seeds=1)
    shared = [row for row in found["rows"] if row["id"] in known]
    assert shared, "60 draws and 24 trials of a small space have something in common"
    for row in shared:
        assert row["supernet"] == pytest.approx(known[row["id"]], abs=1e-12)


def test_draws_are_balanced_different_and_their_own_seeds() -> None:
    space = SearchSpace.load("graph").only("graph")
    drawn = draw(space, 40, 0)
    assert len({one.id for one in drawn}) == 40
    for size in (16, 32, 64, 128):
        assert 7 <= sum(one.learned.hidden_size == size for one in drawn) <= 12
    for layers in range(1, 5):
        assert 7 <= sum(len(one.learned.layers) == layers for one in drawn) <= 10
    assert draw(space, 10, 0) == drawn[:10]
    assert draw(space, 40, 1) != drawn


def test_a_small_space_is_drawn_whole() -> None:
    space = SearchSpace.load("presets/lightgcn").only("graph")
    assert len(draw(space, 10, 0)) == 1


def test_no_finished_run_no_measurement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        nas.Run(tmp_path)
    nas.search(TINY | {"search_space": "presets/lightgcn"}, tmp_path / "one")
    with pytest.raises(UserError, match="at least 5"):
        nas.Run(tmp_path / "one").fidelity()
    for wrong, named in (
        ({"n": 2}, "n: expected a whole number of at least 5, but got 2"),
        ({"seeds": 0}, "seeds: expected a whole number of at least 1"),
        ({"seed": -1}, "seed: expected a whole number of at least 0"),
    ):
        with pytest.raises(UserError, match=named):
            nas.Run(tmp_path / "one").fidelity(**wrong)
    assert not {path.name for path in (tmp_path / "one").iterdir()} & {"fidelity", "jobs"}
    monkeypatch.setattr("sys.argv", ["nas", "fidelity", str(tmp_path / "one"), "--n", "2"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "5" in capsys.readouterr().err


def test_a_measurement_that_fails_leaves_no_jobs(run: nas.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(context: Any, *_: Any) -> None:
        assert context.team.threads == 1
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.experiment.run.measure_fidelity", failing)
    with pytest.raises(KeyboardInterrupt):
        run.fidelity(n=5, seeds=1)
    assert not (run.path / "jobs").exists()


def test_the_command_prints_the_rankings(
    run: nas.Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["nas", "fidelity", str(run.path), "--n", "6", "--seeds", "2"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    told = capsys.readouterr().out
    for words in ("6 architectures", "another training seed", "refresh macs", "regret", "5 best"):
        assert words in told
    assert "10 best" not in told, "of six there are no ten"
