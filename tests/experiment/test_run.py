import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import polars as pl
import pytest
import yaml
from tiny_experiment import TINY

import nas
from nas.errors import UserError
from nas.experiment import pipeline
from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.storage import study_name
from nas.experiment.worker import JOBS

CONTRACT = [
    "data.users", "data.items", "data.interactions", "data.fingerprint",
    "search.sampler", "search.trials", "search.unique_architectures", "search.seconds",
    "supernet.seconds", "supernet.epochs", "retrain.candidates", "retrain.seconds",
    "winner.architecture", "winner.validation", "winner.test", "winner.parameters", "winner.refresh_macs",
    "winner.artefact_bytes", "baselines", "fidelity", "seconds_total",
]  # fmt: skip


def trials(folder: Path) -> list[dict[str, Any]]:
    table = pl.read_parquet(folder / "trials.parquet")
    changing = {"seconds", "finished", "refresh_seconds"}
    return table.select([name for name in table.columns if name not in changing]).to_dicts()


def at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value[part]
    return value


def test_a_run_keeps_its_contract(finished: nas.Run) -> None:
    names = {path.name for path in finished.path.iterdir()}
    assert names >= {
        "experiment.yaml", "environment.json", "study.db", "supernet", "trials.parquet", "pareto.json",
        "retrained", "recommender", "report.html", "summary.json",
    }  # fmt: skip
    summary = json.loads((finished.path / "summary.json").read_text())
    for path in CONTRACT:
        at(summary, path)
    assert {"recall@20", "ndcg@20"} <= summary["winner"]["test"].keys()
    assert [row["name"] for row in summary["baselines"]] == ["lightgcn", "popularity", "itemknn", "ease"]
    for row in summary["baselines"]:
        low, mean, high = row["difference"]["ndcg@20"]
        assert low <= mean <= high
        assert mean == pytest.approx(summary["winner"]["test"]["ndcg@20"] - row["test"]["ndcg@20"])
    assert summary["search"]["trials"] == 24
    assert len(trials(finished.path)) == 24
    size = sum(path.stat().st_size for path in (finished.path / "recommender").iterdir())
    assert summary["winner"]["artefact_bytes"] == size


def test_who_is_served_is_said_of_every_model(finished: nas.Run) -> None:
    for row in [finished.summary["winner"], *finished.summary["baselines"]]:
        activity, popularity = row["groups"]["activity"], row["groups"]["popularity"]
        users = sum(part["users"] for part in activity)
        assert users == finished.summary["test_users"]
        mean = sum(part["mean"] * part["users"] for part in activity) / users
        assert mean == pytest.approx(row["test"]["ndcg@20"])
        assert sum(part["items"] for part in popularity) == finished.summary["data"]["items"]
    report = (finished.path / "report.html").read_text()
    assert "Who is served" in report
    assert "the long tail" in report


def test_chance_in_the_winner_is_measured(finished: nas.Run) -> None:
    winner = finished.summary["winner"]
    assert winner["architecture"]["graph"], "or nothing here would depend on chance"
    found = winner["repeats"]
    assert found["number"] == 3
    assert 0 < found["deviation"]["ndcg@20"] < 0.1
    assert found["mean"]["ndcg@20"] != winner["test"]["ndcg@20"]
    assert abs(found["mean"]["ndcg@20"] - winner["test"]["ndcg@20"]) < 3 * found["deviation"]["ndcg@20"]
    assert "Over three seeds of the training" in (finished.path / "report.html").read_text()


def test_the_study_is_an_ordinary_optuna_study(finished: nas.Run) -> None:
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{finished.path / 'study.db'}")
    assert len(study.trials) == 24
    assert study.metric_names == ["ndcg@20", "refresh_macs"]
    best = {tuple(trial.values) for trial in study.best_trials}
    assert best == {(c["values"]["ndcg@20"], c["values"]["refresh_macs"]) for c in finished.pareto}


def test_test_data_is_read_once(finished: nas.Run) -> None:
    (reading,) = json.loads((finished.path / "test_reads.json").read_text())
    assert reading["by"] == "search"


def test_the_winner_is_the_best_retrained_on_validation(finished: nas.Run) -> None:
    results = [json.loads(path.read_text()) for path in finished.path.glob("retrained/*/result.json")]
    best = max(results, key=lambda result: result["validation"]["ndcg@20"])
    assert len(results) == finished.summary["retrain"]["candidates"] == 3, "two, and the better one tuned"
    assert finished.summary["winner"]["name"] == best["name"]


def test_lightgcn_competes_where_the_space_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.experiment import pipeline as stages

    best, asked = stages.retrain_best, list[Any]()

    def without_lightgcn(context: Any, *words: Any) -> Any:
        # The search finds it, too: what it found is put aside, so that it has to come by itself.
        chosen = context.folder.read_json("recipe.json")["architecture"]
        asked.extend(best(context, *words))
        return [result for result in asked if result["architecture"] != chosen]

    monkeypatch.setattr(stages, "retrain_best", without_lightgcn)
    settings = TINY | {"search_space": "lightgcn_like", "recipe": {"trials": 2}}
    run = nas.search(settings, tmp_path / "run", ("search.trials=9", "supernet.epochs=1"))
    lightgcn = run.folder.read_json("recipe.json")
    # Those of the search that are no LightGCN, one of them tuned, and LightGCN.
    others = [result for result in asked if result["architecture"] != lightgcn["architecture"]]
    assert run.summary["retrain"]["candidates"] == len(others) + 2
    assert run.summary["winner"]["validation"]["ndcg@20"] >= lightgcn["validation"]["ndcg@20"]


def test_the_artefact_recommends_what_the_network_ranks(finished: nas.Run) -> None:
    recommender = nas.Recommender.load(finished.path / "recommender")
    listed = recommender.recommend("user-3", k=5)
    assert len({one.item for one in listed}) == 5
    assert listed[0].title is not None
    assert [one.score for one in listed] == sorted((one.score for one in listed), reverse=True)


def test_a_finished_run_is_left_alone(finished: nas.Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*") if path.is_file()}
    before.pop(finished.path / ".lock")
    again = nas.search(TINY, finished.path)
    assert again.summary == finished.summary
    after = {path: path.stat().st_mtime_ns for path in before}
    assert after == before
    assert nas.search(run=finished.path).summary == finished.summary


def test_same_seed_same_run_other_seed_other_trials(finished: nas.Run, tmp_path: Path) -> None:
    same = nas.search(TINY, tmp_path / "same")
    assert trials(same.path) == trials(finished.path)
    for key in ("id", "validation", "test"):
        assert same.summary["winner"][key] == finished.summary["winner"][key]
    assert [row["test"] for row in same.summary["baselines"]] == [
        row["test"] for row in finished.summary["baselines"]
    ]
    ids = [row["id"] for row in trials(finished.path)]
    for override in ("search.seed=1", "search.sampler=random"):
        other = nas.search(TINY, tmp_path / override, (override,))
        assert [row["id"] for row in trials(other.path)] != ids


def test_another_experiment_is_refused_and_nothing_lost(finished: nas.Run) -> None:
    before = (finished.path / "experiment.yaml").read_bytes()
    with pytest.raises(UserError, match=r"search\.trials is 24 there, 25 here"):
        nas.search(TINY, finished.path, ("search.trials=25",))
    assert (finished.path / "experiment.yaml").read_bytes() == before


def test_changed_data_is_refused(tmp_path: Path) -> None:
    csv = tmp_path / "events.csv"
    csv.write_text("user,item\n" + "".join(f"{u},{(u + n) % 11}\n" for u in range(20) for n in range(8)))
    experiment = TINY | {"data": {"path": str(csv)}, "search": {"trials": 4, "population": 4}}
    run = nas.search(experiment, tmp_path / "run")
    (run.path / "summary.json").unlink()
    csv.write_text(csv.read_text() + "0,10\n")
    with pytest.raises(UserError, match="the data changed"):
        nas.search(experiment, tmp_path / "run")
    with pytest.raises(UserError, match=r"holds another experiment \(.*data\.source"):
        nas.search(TINY, tmp_path / "run")


def test_runs_that_share_a_database_have_studies_of_their_own(tmp_path: Path) -> None:
    csv, lines = tmp_path / "events.csv", [f"{u},{(u + n) % 11}" for u in range(20) for n in range(8)]
    search = {"storage": f"sqlite:///{tmp_path / 'shared.db'}"}
    experiment = Experiment.parse(TINY | {"data": {"path": str(csv)}, "search": search}, "here", tmp_path)

    def name(run: str, lines: list[str]) -> str:
        csv.write_text("\n".join(["user,item", *lines]) + "\n")
        context = Context.open(experiment, tmp_path / run)
        return study_name(context.experiment, context.folder, "search")

    first = name("one", lines)
    assert name("one", lines) == first, "it goes on where it stopped"
    assert name("two", lines) != first
    shutil.rmtree(tmp_path / "one")
    assert name("one", [*lines, "0,10"]) != first


def test_a_search_begins_by_saying_what_it_does_and_where(
    finished: nas.Run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "nas"):
        nas.search(run=finished.path)
    assert f"experiment tiny, run folder {finished.path}" in caplog.messages


def test_retrain_and_export_another_architecture(finished: nas.Run, tmp_path: Path) -> None:
    known = {path.name for path in (finished.path / "retrained").iterdir()}
    other = next(row["id"] for row in trials(finished.path) if row["id"] not in known)
    with pytest.raises(UserError, match=f"nas retrain .* --architecture {other}"):
        finished.export(tmp_path / "out", other)
    assert finished.retrain(other)["id"] == other
    manifest = json.loads((finished.export(tmp_path / "out", other) / "manifest.json").read_text())
    assert manifest["architecture"]["id"] == other
    assert "test" not in manifest["metrics"], "test data judges the winner only"
    # As the report names what a network among the baselines became.
    named = next(name for name in sorted(known) if "-" in name)
    manifest = json.loads((finished.export(tmp_path / "out", named) / "manifest.json").read_text())
    assert manifest["architecture"]["id"] == named.partition("-")[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nas.Run, "opened", None)  # it is told before any data is read
        with pytest.raises(UserError, match="no trial"):
            finished.retrain("0000000000")
        with pytest.raises(UserError, match="trained already; `nas export` takes it"):
            finished.retrain(named)
        with pytest.raises(UserError, match="which is no part of an artefact"):
            finished.export(finished.path)


def test_an_export_is_reproducible(finished: nas.Run, tmp_path: Path) -> None:
    finished.export(tmp_path / "again")
    for path in (finished.path / "recommender").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("cost", ["refresh_macs", "refresh_seconds"])
def test_baselines_are_offered_at_once_unless_a_time_is_measured(
    cost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: dict[str, set[str]] = {}

    def watched(name: str) -> Callable[..., Any]:
        make = getattr(pipeline, name)

        def watch(context: Context, *words: Any) -> Any:
            offered[name] = {job.make.__name__ for job in context.team.posted(JOBS)}
            return make(context, *words)

        return watch

    for name in ("train_supernet", "run_search", "retrain_best"):
        monkeypatch.setattr(pipeline, name, watched(name))
    settings = TINY | {"search": {"trials": 4, "population": 4, "objectives": ["ndcg@20", cost]}}
    nas.search(settings, tmp_path / "run", ("retrain.top=1", "retrain.tuned=0"))
    at_once = {"tune_baseline"} if cost == "refresh_macs" else set()
    assert offered == {"train_supernet": at_once, "run_search": at_once, "retrain_best": {"tune_baseline"}}


def test_what_passed_between_processes_is_removed_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = pipeline.retrain_best

    def late(context: Context, *words: Any) -> Any:
        # A worker had begun it when the search stood still.
        context.folder.write_json("candidates/late.json", {})
        return best(context, *words)

    monkeypatch.setattr(pipeline, "retrain_best", late)
    few = TINY | {"search": {"trials": 4, "population": 4}}
    run = nas.search(few, tmp_path / "run", ("retrain.top=1", "retrain.tuned=0"))
    assert not {path.name for path in run.path.iterdir()} & {"jobs", "trainings", "candidates"}


def test_two_processes_do_not_share_a_folder(finished: nas.Run) -> None:
    with finished.folder.locked(), pytest.raises(UserError, match="another process"):
        nas.search(TINY, finished.path)


@pytest.mark.timeout(280)
def test_killed_again_and_again_it_ends_with_all_trials(finished: nas.Run, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    run = tmp_path / "run"
    command = [
        sys.executable,
        "-c",
        "from nas.cli import main; main()",
        "search",
        "tiny.yaml",
        "--run",
        str(run),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    moments = random.Random(7)
    kills = 0
    while kills < 4:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        # Random moments of the work, not of Python's imports: the clock starts with the first progress.
        process.stderr.readline()
        time.sleep(moments.uniform(0.0, 0.7))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        if (run / "summary.json").exists():
            break
    assert kills >= 3, "the run ended before it could be killed often enough to mean anything"
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert trials(run) == trials(finished.path)
    assert nas.Run(run).summary["winner"]["test"] == finished.summary["winner"]["test"]


def test_ctrl_c_is_resumable(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    command = [
        sys.executable,
        "-c",
        "from nas.cli import main; main()",
        "search",
        "tiny.yaml",
        "--run",
        "run",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "run the same command again" in err
