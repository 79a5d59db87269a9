"""The default experiment, whole. Fetches MovieLens 100K; takes minutes."""

import time
from pathlib import Path

import polars as pl
import pytest

import nas
from nas.graph.aggregators import AGGREGATORS


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_default_experiment(tmp_path: Path) -> None:
    started = time.monotonic()
    run = nas.search(run=tmp_path / "run")
    assert time.monotonic() - started < 600
    summary = run.summary
    assert summary["search"]["trials"] >= 200
    assert summary["search"]["unique_architectures"] >= 120
    descriptions = " ".join(pl.read_parquet(run.path / "trials.parquet")["architecture"])
    assert all(f'"aggregator": "{name}"' in descriptions for name in AGGREGATORS)
    rows = {row["name"]: row for row in summary["baselines"]}
    assert rows["popularity"]["difference"]["ndcg@20"][0] > 0.1
    assert rows["itemknn"]["difference"]["ndcg@20"][0] > 0
    recommender = nas.Recommender.load(run.path / "recommender")
    assert len(recommender.recommend("1", k=10)) == 10
