import fcntl
import json
import threading
import time
from pathlib import Path

import pytest
from tiny_experiment import TINY

from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.team import Job, Team
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context.open(Experiment.parse(TINY, "here", Path()), tmp_path / "run")


def note(context: Context, name: str, seconds: float = 0.0) -> None:
    """Write who did it."""
    time.sleep(seconds)
    context.folder.write_json(f"notes/{name}.json", threading.get_ident())


def refuse(_context: Context, name: str) -> None:
    raise ValueError(name)


def job(name: str, rank: int = 0, seconds: float = 0.0) -> Job:
    return Job(note, f"notes/{name}.json", {"name": name, "seconds": seconds}, rank)


KNOWN = {"note": note, "refuse": refuse}


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    architecture = SearchSpace.load("presets/lightgcn").decode({})
    arguments = {"architecture": architecture, "recipe": Recipe(temperature=0.31), "seed": 3, "of": "x"}
    made = Job(note, "notes/a/b.json", arguments, rank=2)
    made.write(tmp_path / "job")
    found = Job.read(tmp_path / "job", KNOWN)
    assert found == made
    assert isinstance(found.arguments["architecture"], Architecture)
    assert found.file == "2-notes-a-b.json"


def test_jobs_are_done_once_in_order_and_are_posted_no_longer(context: Context) -> None:
    jobs = [job("c"), job("a"), job("b")]
    seen = [list(context.folder.path.glob("notes/*.json")) for _ in context.team.each(jobs)]
    assert [len(files) for files in seen] == [1, 2, 3]
    assert seen[0][0].name == "c.json"
    assert not list(context.team.posted(KNOWN))
    before = [(context.folder.path / one.result).stat().st_mtime_ns for one in jobs]
    assert len(list(context.team.each(jobs))) == 3
    assert [(context.folder.path / one.result).stat().st_mtime_ns for one in jobs] == before


def test_lower_ranks_are_offered_first(context: Context) -> None:
    context.team.post([job("a", rank=2), job("c", rank=0), job("b", rank=1)])
    assert [one.arguments["name"] for one in context.team.posted(KNOWN)] == ["c", "b", "a"]
    context.team.gather(3)
    assert not list(context.team.posted(KNOWN))
    assert context.team.threads == 3
    context.team.dismiss()
    assert context.team.threads is None


def test_two_share_what_there_is_and_none_waits_while_there_is_work(context: Context) -> None:
    jobs = [job(str(n), seconds=0.1) for n in range(8)]
    context.team.post(jobs)

    def help_out() -> None:
        team = Team(context)
        while any(team.attempt(one) for one in team.posted(KNOWN)):
            pass

    helper = threading.Thread(target=help_out)
    helper.start()
    yielded = [
        (context.folder.path / job.result).exists()
        for job, _ in zip(jobs, context.team.each(jobs), strict=True)
    ]
    helper.join()
    assert all(yielded)
    by = [json.loads((context.folder.path / one.result).read_text()) for one in jobs]
    assert len(set(by)) == 2
    assert min(by.count(one) for one in set(by)) >= 2


def test_what_another_process_does_is_waited_for_and_taken_over_when_it_dies(context: Context) -> None:
    held = job("a")
    context.team.post([held])
    lock = (context.folder.path / "jobs" / f"{held.file}.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert not context.team.attempt(held)
    assert not (context.folder.path / held.result).exists()
    dies = threading.Timer(0.3, lock.close)
    dies.start()
    started = time.monotonic()
    list(context.team.each([held, job("b")]))
    assert time.monotonic() - started >= 0.25
    assert (context.folder.path / held.result).exists()


def test_a_failure_comes_out_and_leaves_the_job_free(context: Context) -> None:
    bad = Job(refuse, "notes/bad.json", {"name": "bad"})
    with pytest.raises(ValueError, match="bad"):
        list(context.team.each([bad]))
    with pytest.raises(ValueError, match="bad"):
        Team(context).attempt(bad)


def test_whoever_asks_for_no_more_takes_back_the_rest(context: Context) -> None:
    later = job("later", rank=1)
    context.team.post([later])
    for _ in context.team.each([job("a"), job("b"), job("c")]):
        break
    assert [one.result for one in context.team.posted(KNOWN)] == [later.result]
    assert [path.name for path in context.folder.path.glob("notes/*")] == ["a.json"]
