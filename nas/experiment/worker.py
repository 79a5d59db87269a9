"""What a worker does: the jobs that a run posts, as long as somebody holds its folder."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas.errors import UserError
from nas.experiment.context import Context
from nas.experiment.crew import with_threads
from nas.experiment.folder import RunFolder
from nas.experiment.stages.baselines import tune_baseline
from nas.experiment.stages.branches import climb_kind
from nas.experiment.stages.contest import tune_and_retrain
from nas.experiment.stages.fidelity import trained_alone
from nas.experiment.stages.retrain import retrain
from nas.experiment.stages.search import judge_candidate
from nas.experiment.stages.test import keep_refit
from nas.experiment.stages.tuning import keep_fit
from nas.experiment.team import Job, Team

logger = logging.getLogger("nas.worker")

_JOBS: tuple[Callable[..., object], ...] = (
    tune_baseline,
    climb_kind,
    judge_candidate,
    retrain,
    tune_and_retrain,
    keep_fit,
    keep_refit,
    trained_alone,
)
JOBS = {make.__name__: make for make in _JOBS}
"""What can be shared out."""

_PAUSE = 0.01
_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True, slots=True)
class Worked:
    """What a worker did.

    Attributes:
        jobs: done.
        failed: tried in vain, and left to the search, which does them and tells its user what is wrong.
    """

    jobs: int
    failed: int


def work(path: Path | str) -> Worked:
    """Do what the run in a folder posts, beside the process that holds it, until that ends.

    Raises:
        UserError: it is no run folder, or nobody works in it.
    """
    folder = RunFolder(Path(path))
    experiment = folder.experiment()
    if not folder.held:
        raise UserError(f"{path}: nobody works in it; start `nas search --run {path}` first")
    context = Context.open(experiment, folder.path)
    with with_threads(context.team.threads):
        return _work_as_long_as_it_is_held(context)


def work_for(parent: int, path: str) -> None:
    """Work as a child of the process that searches, and end at once when that is no more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        work(path)
    except KeyboardInterrupt:
        sys.exit(130)
    except UserError as error:
        sys.exit(str(error))


def _work_as_long_as_it_is_held(context: Context) -> Worked:
    team, folder, done, looked, failed = context.team, context.folder, 0, 0.0, set[str]()
    while True:
        if any(_attempted(team, job, failed) for job in team.posted(JOBS)):
            done += 1
            continue
        if time.monotonic() - looked > _SECONDS_BETWEEN_LOOKS:
            looked = time.monotonic()
            if not folder.held:
                return Worked(done, len(failed))
        time.sleep(_PAUSE)


def _attempted(team: Team, job: Job, failed: set[str]) -> bool:
    if job.file in failed:
        return False
    try:
        return team.attempt(job)
    except Exception as error:
        # Whoever posted it finds it not done, does it, and tells its user.
        logger.error(
            "%s failed here (%s: %s) and is left to the search", job.file, type(error).__name__, error
        )
        failed.add(job.file)
        return False
