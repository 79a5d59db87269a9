"""Processes that share the work of a run, by files in its folder: any machine that sees the folder can join.

The process that holds the folder posts jobs, each of which ends in a file of the run. Whoever locks a job does it; a
process that dies locks nothing, so its job is free again. Nobody waits for a job of a batch that another does as long as
there are others left in it.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.experiment.folder import try_lock
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe

if TYPE_CHECKING:
    from nas.experiment.context import Context

_FOLDER = "jobs"
_TERMS = "jobs/team.json"
# Between two looks at what others do; a candidate takes some ten milliseconds or more.
_PAUSE = 0.01

_READERS: dict[str, Callable[[Any], Any]] = {
    "architecture": Architecture.model_validate,
    "recipe": Recipe.model_validate,
}


@dataclass(frozen=True)
class Job:
    """A piece of a run's work.

    Attributes:
        make: what does it, called with the context and the arguments; a worker knows it by its name.
        result: the file or folder of the run that it ends in.
        arguments: an architecture is called `architecture`, a recipe `recipe`; all others are plain values.
        rank: those of a lower one are done first; 0 is what the search waits for.
    """

    make: Callable[..., object]
    result: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    rank: int = 0

    @property
    def file(self) -> str:
        """The name under which it is posted; those that come first are done first."""
        return f"{self.rank}-{self.result.replace('/', '-')}"

    def write(self, path: Path) -> None:
        """Write it for others."""
        values = {name: _plain(value) for name, value in self.arguments.items()}
        path.write_text(json.dumps([self.make.__name__, self.result, values, self.rank]), encoding="utf-8")

    @classmethod
    def read(cls, path: Path, known: Mapping[str, Callable[..., object]]) -> "Job":
        """Read what another process wrote; `known` are functions by name."""
        make, result, values, rank = json.loads(path.read_text(encoding="utf-8"))
        arguments = {
            name: _READERS[name](value) if name in _READERS else value for name, value in values.items()
        }
        return cls(known[make], result, arguments, rank)


class Team:
    """All that work in a run folder, seen from one of them."""

    def __init__(self, context: "Context") -> None:
        """Join the work of a run."""
        self._context, self._folder = context, context.folder
        self._path = context.folder.path / _FOLDER

    def gather(self, threads: int) -> None:
        """Begin: nothing is posted yet, and everybody works with so many threads."""
        for path in self._posted():
            path.unlink(missing_ok=True)
        self._folder.write_json(_TERMS, {"threads": threads})

    @property
    def threads(self) -> int | None:
        """How many threads each process of the team uses; None as long as there is no team."""
        terms = self._folder.read_json(_TERMS)
        return terms["threads"] if terms else None

    def post(self, jobs: Iterable[Job]) -> None:
        """Let others do these jobs from now on."""
        for job in jobs:
            if not self._done(job):
                self._folder.write(f"{_FOLDER}/{job.file}", job.write)

    def posted(self, known: Mapping[str, Callable[..., object]]) -> Iterator[Job]:
        """Yield what is posted and not done, those of lower rank first; `known` are functions by name."""
        for path in self._posted():
            # What is done meanwhile is gone.
            with suppress(FileNotFoundError):
                yield Job.read(path, known)

    def each(self, jobs: Sequence[Job]) -> Iterator[None]:
        """Do the jobs together with whoever else is there; yield as often as there are any, when the next one is done.

        An exception comes out of whoever finds the job not done: a worker leaves what it cannot do. Who asks
        for no more takes back the jobs that nobody has begun.
        """
        self.post(jobs)
        try:
            for n, job in enumerate(jobs):
                while not self._done(job):
                    if not any(self.attempt(one) for one in jobs[n:]):
                        time.sleep(_PAUSE)
                yield
        finally:
            for job in jobs:
                (self._path / job.file).unlink(missing_ok=True)

    def attempt(self, job: Job) -> bool:
        """Do a job unless it is done or another process does it; return whether it was done here."""
        if self._done(job):
            return False
        with self._claimed(job) as mine:
            if not mine or self._done(job):
                return False
            job.make(self._context, **job.arguments)
            (self._path / job.file).unlink(missing_ok=True)
            return True

    def dismiss(self) -> None:
        """Take back everything that was posted: the run is at its end."""
        shutil.rmtree(self._path, ignore_errors=True)

    def _done(self, job: Job) -> bool:
        return (self._folder.path / job.result).exists()

    def _posted(self) -> list[Path]:
        return sorted(path for path in self._path.glob("[0-9]-*") if path.suffix != ".lock")

    @contextmanager
    def _claimed(self, job: Job) -> Iterator[bool]:
        self._path.mkdir(exist_ok=True)
        with (self._path / f"{job.file}.lock").open("w") as lock:
            yield try_lock(lock)


def _plain(value: Any) -> Any:
    if isinstance(value, Architecture):
        return value.values()
    return value.model_dump(mode="json") if isinstance(value, Recipe) else value
