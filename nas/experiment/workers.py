"""The processes of a run on this machine: how many, and their beginning and end."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from nas.errors import UserError
from nas.experiment.context import Context
from nas.model.training import epoch_cost
from nas.search.objectives import MEASURED

logger = logging.getLogger("nas.workers")

# Edges of an epoch below which a run ends before a process more has begun. ML-100K has 600,000.
_SMALL = 100_000
# A process of a run of Gowalla's size.
_BYTES = 5 * 2**30
# What is shared out at a time is about 40 candidates.
_MOST = 16
_COMMAND = "import sys; from nas.experiment.worker import work_for; work_for(int(sys.argv[1]), sys.argv[2])"


def check_workers(asked: int | None) -> None:
    """Raise UserError if no such number of processes can share the work."""
    if asked is not None and (type(asked) is not int or asked < 1):
        raise UserError(f"workers: expected a whole number of at least 1, but got {asked!r}")


def workers_of(context: Context, asked: int | None = None) -> int:
    """Return how many processes share the work: what is asked for, or one a core as far as memory reaches.

    Two threads train a network of ML-100K 1.2 to 1.4 times as fast as one does; two processes train two at once. One
    process alone works where the graph is small, on a GPU, and where a time is among the objectives.
    """
    if asked is not None:
        return asked
    experiment, data = context.experiment, context.interactions
    measured = set(MEASURED) & set(experiment.search.objectives)
    small = epoch_cost(data.n_users, data.n_items, len(data)) < _SMALL
    if small or measured or context.device.type != "cpu":
        return 1
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = torch.get_num_threads() // (experiment.threads or 1)
    return max(1, min(cores, memory // _BYTES, _MOST))


@contextmanager
def at_work(context: Context, asked: int | None) -> Iterator[int]:
    """Let others work in the folder while the block runs, each with its share of the threads; yield how many in all."""
    workers = workers_of(context, asked)
    before = torch.get_num_threads()
    if context.experiment.threads is None and workers > 1:
        torch.set_num_threads(max(1, before // workers))
    threads = torch.get_num_threads()
    with threadpool_limits(threads if workers > 1 else None, "blas"):
        context.team.gather(threads)
        others = [_begin(context.folder.path, number, threads) for number in range(1, workers)]
        try:
            yield workers
        finally:
            torch.set_num_threads(before)
            for process, log in others:
                _end(process, log)


def _begin(run: Path, number: int, threads: int) -> tuple[subprocess.Popen[bytes], Path]:
    log = run / "jobs" / f".worker-{number}.log"
    log.parent.mkdir(exist_ok=True)
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, "-P", "-c", _COMMAND, str(os.getpid()), str(run)]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=os.environ | limits,
        )
    return process, log


def _end(process: subprocess.Popen[bytes], log: Path) -> None:
    ended = process.poll()
    if ended is None:
        process.terminate()
        process.wait()
    elif ended < 0:
        logger.warning("a worker was ended by signal %d; its work was done without it", -ended)
    elif ended not in (0, 130):
        told = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        logger.warning("a worker ended early (%s); its work was done without it", told[-1] if told else ended)
