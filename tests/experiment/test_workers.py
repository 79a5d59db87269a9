import json
import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tiny_experiment import TINY

import nas
from nas.cli import main
from nas.errors import UserError
from nas.experiment import worker, workers
from nas.experiment.config import Experiment
from nas.experiment.context import Context

# Long enough for a worker to join in.
LONGER = TINY | {
    "search": {"trials": 60, "population": 20},
    "supernet": {"epochs": 3},
    "baselines": {"names": ["popularity", "ease", "mf-bpr", "gat"], "recipes": 3},
}


def outcome(run: nas.Run) -> Any:
    """What a run found, without times."""
    summary = run.summary
    table = pl.read_parquet(run.path / "trials.parquet").select("number", "id", "ndcg@20", "refresh_macs")
    models = [summary["winner"], *summary["baselines"]]
    return table.to_dicts(), run.pareto, [model["test"] for model in models], summary["winner"]["repeats"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> nas.Run:
    return nas.search(LONGER, tmp_path_factory.mktemp("alone") / "run", workers=1)


def begun(path: Path) -> subprocess.Popen[bytes]:
    """A search by itself."""
    command = f"import nas; nas.search({LONGER!r}, {str(path)!r}, workers=1)"
    return subprocess.Popen([sys.executable, "-c", command], stderr=subprocess.DEVNULL)


def worker_of(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from nas.cli import main; main()", "worker", str(path), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    ends = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < ends, f"no {path}"
        time.sleep(0.005)


def test_workers_change_nothing_but_the_time(alone: nas.Run, tmp_path: Path) -> None:
    found = nas.search(LONGER, tmp_path / "run", workers=3)
    assert outcome(found) == outcome(alone)
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["workers"] == 3
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not left & {"jobs", "trainings", "candidates"}


def test_another_process_can_help_a_search_and_ends_with_it(alone: nas.Run, tmp_path: Path) -> None:
    search = begun(tmp_path / "run")
    wait_for(tmp_path / "run" / "jobs" / "team.json")
    helper = worker_of(tmp_path / "run")
    assert search.wait(120) == 0
    out, errors = helper.communicate(timeout=30)
    assert helper.returncode == 0, errors
    assert json.loads(out)["jobs"] > 0
    assert outcome(nas.Run(tmp_path / "run")) == outcome(alone)


def test_what_a_killed_worker_leaves_is_done_by_others(alone: nas.Run, tmp_path: Path) -> None:
    search = begun(tmp_path / "run")
    wait_for(tmp_path / "run" / "jobs" / "team.json")
    helper = worker_of(tmp_path / "run")
    wait_for(tmp_path / "run" / "candidates")
    helper.kill()
    helper.communicate()
    assert search.wait(120) == 0
    assert outcome(nas.Run(tmp_path / "run")) == outcome(alone)


def test_a_search_that_is_killed_is_resumed_with_workers(alone: nas.Run, tmp_path: Path) -> None:
    search = begun(tmp_path / "run")
    wait_for(tmp_path / "run" / "candidates")
    search.send_signal(signal.SIGKILL)
    search.wait()
    assert outcome(nas.search(run=tmp_path / "run", workers=2)) == outcome(alone)


def test_a_worker_ends_in_the_middle_of_a_job_with_the_search_that_began_it(tmp_path: Path) -> None:
    busy = (
        "import os, time; from nas.experiment import worker; "
        f"worker.work = lambda path: (open({str(tmp_path / 'began')!r}, 'w').write(str(os.getpid())), time.sleep(600)); "
        "worker.work_for(os.getppid(), 'run')"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    search = subprocess.Popen([sys.executable, "-c", parent])
    wait_for(tmp_path / "began")
    time.sleep(0.2)
    child = Path("/proc") / (tmp_path / "began").read_text()
    assert child.exists()
    search.kill()
    search.wait()
    ends = time.monotonic() + 30
    # One that ended, and that nobody has asked for its exit code, is still listed, without a command.
    while child.exists() and (child / "cmdline").read_bytes():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_without_a_search_there_is_nothing_to_help_with(finished: nas.Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nobody works in it; start `nas search --run"):
        nas.work(finished.path)
    with pytest.raises(UserError, match="not a run folder"):
        nas.work(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_search_has_one_process_at_least(tmp_path: Path) -> None:
    for start in (nas.search, nas.compare_baselines):
        for wrong in (0, -1, True, 2.5, "2"):
            with pytest.raises(UserError, match="workers: expected a whole number of at least 1, but got"):
                start(TINY, tmp_path / "run", workers=wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_worker_leaves_what_it_cannot_do_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    context = Context.open(Experiment.parse(TINY, "here", Path()), tmp_path / "run")

    def broken(_context: Context, name: str) -> None:
        raise ValueError(name)

    def fine(context: Context, name: str) -> None:
        context.folder.write_json(f"{name}.json", {})

    monkeypatch.setattr(worker, "JOBS", {"broken": broken, "fine": fine})
    done: list[worker.Worked] = []
    with context.folder.locked():
        context.team.gather(1)
        context.team.post([
            worker.Job(broken, "a.json", {"name": "a"}),
            worker.Job(fine, "b.json", {"name": "b"}),
        ])  # fmt: skip
        helper = threading.Thread(target=lambda: done.append(nas.work(tmp_path / "run")))
        helper.start()
        wait_for(tmp_path / "run" / "b.json")
        time.sleep(0.1)
    helper.join(30)
    assert done == [worker.Worked(jobs=1, failed=1)]
    assert caplog.text.count("0-a.json failed here (ValueError: a) and is left to the search") == 1
    assert [job.result for job in context.team.posted(worker.JOBS)] == ["a.json"]


@pytest.mark.parametrize(
    ("found", "code", "told"),
    [
        (worker.Worked(jobs=3, failed=0), 0, "3 jobs done\n"),
        (worker.Worked(jobs=0, failed=2), 1, "0 jobs done, 2 failed here and left to the search\n"),
    ],
)
def test_a_worker_that_could_not_do_something_says_so_by_its_exit_code(
    found: worker.Worked,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(nas, "work", lambda _path: found)
    monkeypatch.setattr(sys, "argv", ["nas", "worker", "run"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert capsys.readouterr().out == told
    monkeypatch.setattr(sys, "argv", ["nas", "worker", "run", "--json"])
    with pytest.raises(SystemExit):
        main()
    assert json.loads(capsys.readouterr().out) == {"jobs": found.jobs, "failed": found.failed}


def test_workers_run_the_code_of_the_search_and_not_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "nas.py").write_text("open('executed', 'w'); raise SystemExit('another nas')")
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.WARNING, "nas"):
        nas.search(TINY, tmp_path / "run", workers=2)
    assert not (tmp_path / "executed").exists()
    assert "a worker" not in caplog.text


def test_a_worker_that_cannot_begin_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "_COMMAND", "raise SystemExit('no room')")
    with caplog.at_level(logging.WARNING, "nas"):
        nas.search(LONGER, tmp_path / "run", workers=2)
    assert "a worker ended early (no room); its work was done without it" in caplog.text
