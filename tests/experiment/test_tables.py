"""The tables that the README quotes, out of finished runs."""

import json
import shutil
from pathlib import Path

import fidelity
import pytest
import quality

import nas
from nas.errors import UserError


def test_the_quality_table_has_the_winner_and_every_baseline(finished: nas.Run, tmp_path: Path) -> None:
    out = tmp_path / "tables" / "quality.json"
    quality.main([finished.path], out)
    rows = json.loads(out.read_text())
    assert rows[0]["model"] == "nas"
    assert {row["model"] for row in rows[1:]} == {row["name"] for row in finished.summary["baselines"]}
    keys = {
        "data",
        "split",
        "model",
        "architecture",
        "recall@20",
        "ndcg@20",
        "interval",
        "seconds",
        "threads",
        "chosen_on",
    }
    for row in rows:
        assert set(row) == keys
        assert row["interval"][0] <= row["interval"][1]
    assert rows[0]["ndcg@20"] == pytest.approx(finished.summary["winner"]["test"]["ndcg@20"], abs=1e-4)


def test_the_fidelity_table_keeps_other_data(finished: nas.Run, tmp_path: Path) -> None:
    run = nas.Run(shutil.copytree(finished.path, tmp_path / "run"))
    out = tmp_path / "fidelity.json"
    with pytest.raises(UserError, match="nas fidelity"):
        fidelity.main([run.path], out)
    assert not out.exists()
    found = run.fidelity(n=6, seeds=2)
    out.write_text(json.dumps([{"data": "other"}, {"data": "tiny", "n": 1}]))
    fidelity.main([run.path], out)
    other, row = json.loads(out.read_text())
    assert other == {"data": "other"}
    assert {"data", "n", "seeds", "kendall_tau", "interval", "top5_regret", "ceiling", "trivial"} <= set(row)
    assert row["kendall_tau"] == pytest.approx(found["kendall_tau"], abs=1e-4)
    assert row["n"] == 6
