"""Progress of the stages: bars with the time left in a terminal, plain lines elsewhere; always on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_SECONDS_BETWEEN_LINES = 5.0


class Steps:
    """The steps of one stage."""

    def __init__(self, name: str, total: int | None) -> None:
        """Begin a stage of `total` steps, or of an unknown number."""
        self.name, self.total, self.done = name, total, 0
        self.started = self._said = time.monotonic()
        self._begun_at, self._note = 0, ""

    def begin_at(self, done: int) -> None:
        """Say that `done` steps are there already from an earlier run; they do not count for the time left."""
        self.done = self._begun_at = done
        if done:
            self.say("goes on")

    def advance(self, note: str = "") -> None:
        """Count one step; `note` is the best so far."""
        self.done += 1
        self._note = note
        now = time.monotonic()
        if now - self._said >= _SECONDS_BETWEEN_LINES or self.done == self._begun_at + 1:
            self._said = now
            self.say(note)

    def say(self, note: str = "") -> None:
        """Print one line."""
        count = f" {self.done}/{self.total}" if self.total else ""
        left = ""
        if self.total and self.done > self._begun_at:
            pace = (time.monotonic() - self.started) / (self.done - self._begun_at)
            left = f", {pace * (self.total - self.done):.0f} s left"
        told = note and f"{',' if count else ''} {note}"
        print(f"[{self.name}]{count}{left}{told}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Print how long it took, and the last note."""
        told = self._note and f", {self._note}"
        took = time.monotonic() - self.started
        print(f"[{self.name}] done in {took:.1f} s{told}", file=sys.stderr, flush=True)


class _Bar(Steps):
    def __init__(self, name: str, total: int | None, progress: Progress) -> None:
        super().__init__(name, total)
        self.progress = progress
        self.task: TaskID = progress.add_task(name, total=total, note="")

    def begin_at(self, done: int) -> None:
        super().begin_at(done)
        self.progress.update(self.task, completed=done)

    def advance(self, note: str = "") -> None:
        self.done += 1
        self.progress.update(self.task, completed=self.done, note=note)

    def say(self, note: str = "") -> None:
        self.progress.update(self.task, note=note)


@contextmanager
def stage(name: str, total: int | None = None) -> Iterator[Steps]:
    """Show the progress of a stage while the block runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        steps = Steps(name, total)
        steps.say("begins")
        yield steps
        steps.end()
        return
    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bar(name, total, progress)
