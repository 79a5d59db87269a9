import json
import time
from pathlib import Path

import pytest

from nas.experiment import clock
from nas.experiment.clock import Clock
from nas.experiment.folder import RunFolder


def test_the_parts_of_a_run_add_up_and_the_pauses_do_not(tmp_path: Path) -> None:
    first = Clock(RunFolder(tmp_path))
    with first.running():
        time.sleep(0.2)
    time.sleep(0.3)
    second = Clock(RunFolder(tmp_path))
    with second.running():
        time.sleep(0.1)
        assert 0.3 <= second.seconds < 0.5
    assert 0.3 <= json.loads((tmp_path / "clock.json").read_text())["seconds"] < 0.5


def test_a_part_that_is_killed_counts_up_to_the_last_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "_SECONDS_BETWEEN_WRITES", 0.02)
    with Clock(RunFolder(tmp_path)).running():
        time.sleep(0.2)
        # As a process that is killed here leaves it.
        held = (tmp_path / "clock.json").read_text()
    (tmp_path / "clock.json").write_text(held)
    assert Clock(RunFolder(tmp_path)).seconds >= 0.15


def test_a_full_disk_does_not_end_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_SECONDS_BETWEEN_WRITES", 0.01)
    folder, tries = RunFolder(tmp_path), list[str]()

    def full(name: str, _value: object) -> None:
        tries.append(name)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(folder, "write_json", full)
        with pytest.raises(OSError, match="No space"), Clock(folder).running():
            time.sleep(0.2)
    assert len(tries) > 2


def test_an_interruption_is_written_down(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Clock(RunFolder(tmp_path)).running():
            time.sleep(0.1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert 0.1 <= Clock(RunFolder(tmp_path)).seconds < 0.3
