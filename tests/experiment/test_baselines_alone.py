import json
from pathlib import Path

import pytest
import yaml
from tiny_experiment import TINY

import nas
from nas.cli import main
from nas.errors import UserError


def test_baselines_alone_are_those_of_a_search(finished: nas.Run, tmp_path: Path) -> None:
    alone = nas.compare_baselines(TINY, tmp_path / "alone")
    searched = {row["name"]: row for row in finished.summary["baselines"]}
    assert [row["name"] for row in alone["baselines"]] == list(searched)
    for row in alone["baselines"]:
        for key in ("settings", "validation", "test"):
            assert row[key] == searched[row["name"]][key], (row["name"], key)
    assert alone["users"] == finished.summary["test_users"]
    (reading,) = json.loads((tmp_path / "alone" / "test_reads.json").read_text())
    assert reading["by"] == "baselines"
    with pytest.raises(
        UserError, match=r"no summary\.json yet; it holds baselines alone; run `nas search --run"
    ):
        _ = nas.Run(tmp_path / "alone").summary


def test_leads_are_those_of_the_best_on_validation_data(tmp_path: Path) -> None:
    found = nas.compare_baselines(TINY, tmp_path / "alone")
    rows = {row["name"]: row for row in found["baselines"]}
    best = max(rows.values(), key=lambda row: row["validation"]["ndcg@20"])
    assert found["best"] == best["name"]
    for row in rows.values():
        low, mean, high = row["difference"]["ndcg@20"]
        assert mean == pytest.approx(best["test"]["ndcg@20"] - row["test"]["ndcg@20"])
        assert low <= mean <= high


def test_the_command_prints_a_table_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    for argv in (["baselines", "tiny.yaml"], ["baselines", "tiny.yaml", "--json"]):
        monkeypatch.setattr("sys.argv", ["nas", *argv])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 0
        told = capsys.readouterr()
        if "--json" in argv:
            assert {row["name"] for row in json.loads(told.out)["baselines"]} >= {"lightgcn", "ease"}
            assert "[recipe]" not in told.err, "nothing is tuned again"
        else:
            assert "popularity" in told.out
            assert "best on validation data" in told.out
    assert (tmp_path / "results" / "tiny-baselines" / "baselines.json").exists()
