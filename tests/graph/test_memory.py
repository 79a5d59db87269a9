import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.graph.memory import keep_freed_memory

# Pages of 4 KB that are touched for the first time while 64 MB are made and dropped ten times, after ten times before.
FAULTS = """
import resource
import torch
from nas.graph.memory import keep_freed_memory
kept = keep_freed_memory()
def work():
    torch.ones(16, 2**20).add_(1)
for _ in range(10):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is told by glibc's mallopt")


@glibc
def test_freed_memory_is_used_again() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", FAULTS]
    kept, count = subprocess.run(
        command, capture_output=True, text=True, check=True, env=clean
    ).stdout.split()
    assert kept == "1"
    assert int(count) < 50_000, "mapped anew, ten times 64 MB are 163,840 pages"


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "1000000"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1000000")],
)
def test_what_the_user_set_is_left_alone(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert keep_freed_memory() is False


def test_whoever_opens_an_experiment_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[bool] = []
    monkeypatch.setattr("nas.experiment.context.keep_freed_memory", lambda: called.append(True))
    planted = {"users": 60, "items": 50, "interactions_per_user": 10}
    values = {"data": {"source": "planted", "planted": planted}, "search_space": "graph"}
    Context.open(Experiment.parse(values, "here", tmp_path), tmp_path / "run")
    assert called == [True]
