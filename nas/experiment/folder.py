"""The run folder: every file is written whole or not at all. One process holds it; others may help (see `team`)."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from nas.errors import UserError
from nas.experiment.config import Experiment
from nas.yaml_file import read_yaml

_EXPERIMENT = "experiment.yaml"
# Differences that a line tells of.
_TOLD = 3
# Tries to hold a folder, and the pause after each: a worker that looks whether anybody does holds it for a moment.
_TRIES, _PAUSE = 5, 0.02
# It can only be read by setting it.
_UMASK = os.umask(0)
os.umask(_UMASK)


class RunFolder:
    """Where a run keeps what it has done."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is read or made yet."""
        self.path = path

    @property
    def started(self) -> bool:
        """Whether the folder holds a run."""
        return (self.path / _EXPERIMENT).is_file()

    def experiment(self) -> Experiment:
        """Return the experiment of the run that the folder holds; UserError if it holds none."""
        if not self.started:
            raise UserError(
                f"{self.path}: not a run folder (no {_EXPERIMENT}); expected one that `nas search` made"
            )
        path = self.path / _EXPERIMENT
        held = Experiment.parse(read_yaml(path), str(path), self.path)
        # Set as a whole: a setting that is younger than the run must not follow the size of the data.
        return Experiment.parse(held.resolved(), str(path), self.path)

    def claim(self, experiment: Experiment) -> None:
        """Make the folder this experiment's; UserError, and nothing written, if it is already something else's."""
        wanted = experiment.resolved()
        if self.started:
            held = self.experiment().resolved()
            differences = list(_differences(held, wanted))
            if differences:
                raise UserError(
                    f"{self.path}: holds another experiment ({_told(differences)}); leave out experiment and --set to go on "
                    "with that one, or give another folder with --run"
                )
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UserError(f"{self.path}: exists and is no run folder; give a new folder with --run")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be made ({error.strerror}); give another folder with --run"
            ) from None
        text = yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
        self.write(_EXPERIMENT, lambda path: path.write_text(text, encoding="utf-8"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; UserError if another one holds it. A killed process holds nothing."""
        with (self.path / ".lock").open("w") as lock:
            for _ in range(_TRIES):
                if try_lock(lock):
                    break
                time.sleep(_PAUSE)
            else:
                raise UserError(
                    f"{self.path}: another process is working in it; wait for it to end, or help it by `nas worker`"
                )
            yield

    @property
    def held(self) -> bool:
        """Whether a process holds the folder."""
        path = self.path / ".lock"
        if not path.exists():
            return False
        with path.open() as lock:
            return not try_lock(lock, shared=True)

    def write(self, name: str, fill: Callable[[Path], object]) -> None:
        """Let `fill` write a file (or a folder) beside `name`, then move it into place."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.draft")
        _remove(draft)
        try:
            fill(draft)
            _share(draft)
            if target.is_dir():
                _remove(target)
            draft.replace(target)
        finally:
            _remove(draft)

    def write_json(self, name: str, value: Any) -> None:
        """Write plain values as JSON; NaN is refused, since no reader of JSON has to take it."""
        text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
        self.write(name, lambda path: path.write_text(text + "\n", encoding="utf-8"))

    def read_json(self, name: str) -> Any:
        """Return what `write_json` wrote, or None if there is no such file."""
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def try_lock(file: IO[str], *, shared: bool = False) -> bool:
    """Lock a file until it is closed, unless another process has; return whether it is locked."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _share(path: Path) -> None:
    """Give files the mode that new files have: safetensors writes some that their owner alone can read."""
    for one in (path, *path.rglob("*")):
        if one.is_file():
            one.chmod(0o666 & ~_UMASK)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _differences(held: Any, wanted: Any, key: str = "") -> Iterator[str]:
    if isinstance(held, dict) and isinstance(wanted, dict):
        for name in sorted({*held, *wanted}, key=str):
            inner = f"{key}.{name}" if key else str(name)
            if name in held and name in wanted:
                yield from _differences(held[name], wanted[name], inner)
            else:
                yield f"{inner} is set only {'there' if name in held else 'here'}"
    elif held != wanted:
        yield f"{key} is {_short(held)} there, {_short(wanted)} here"


def _told(differences: list[str]) -> str:
    # What is called otherwise, or reads other data, was meant to be another experiment.
    ordered = sorted(
        differences, key=lambda text: (not text.startswith("name "), not text.startswith("data."))
    )
    rest = len(ordered) - _TOLD
    return "; ".join(ordered[:_TOLD]) + (f"; and {rest} more" if rest > 0 else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."
