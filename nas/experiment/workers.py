"""The processes of a run on this machine: their beginning and end."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.experiment.context import Context
from nas.experiment.crew import crew_of, with_threads

logger = logging.getLogger("nas.workers")

_COMMAND = "import sys; from nas.experiment.worker import work_for; work_for(int(sys.argv[1]), sys.argv[2])"


@contextmanager
def at_work(context: Context, asked: int | None) -> Iterator[int]:
    """Let others work in the folder while the block runs, all with equal threads; yield how many processes in all."""
    crew = crew_of(context, asked)
    with with_threads(crew.threads):
        context.team.gather(crew.threads)
        others = [_begin(context.folder.path, number, crew.threads) for number in range(1, crew.processes)]
        try:
            yield crew.processes
        finally:
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
