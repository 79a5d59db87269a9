"""Where a run's Optuna studies are stored: the search in a database, each tuning in a journal of its own."""

import hashlib
import json
import os
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from nas.errors import UserError
from nas.experiment.config import Experiment
from nas.experiment.folder import RunFolder

optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_storage(experiment: Experiment, run: Path) -> BaseStorage:
    """Return `search.storage`, or `study.db` in the run folder; UserError if the database cannot be opened."""
    url = experiment.search.storage
    if url is None:
        return RDBStorage(f"sqlite:///{run.resolve() / 'study.db'}")
    try:
        return RDBStorage(url)
    except Exception as error:  # every driver raises exceptions of its own
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"search.storage: {url!r} cannot be opened ({reason}); expected a database URL such as sqlite:///study.db"
        ) from None


def open_journal(experiment: Experiment, run: Path, name: str) -> BaseStorage:
    """Return where a tuning is stored: `search.storage`, or a file in the run folder.

    SQLite is for one process, and several may tune at once; a journal also takes a tenth of the time.
    """
    if experiment.search.storage is not None:
        return open_storage(experiment, run)
    path = run / "tunings" / f"{name}.journal"
    path.parent.mkdir(exist_ok=True)
    # A journal is one process's at a time, by the lock of its run or its job. Optuna's own lock, a link that a killed
    # process leaves behind, would be waited for without end.
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.exists():
        # A process that was killed while it wrote, or a full disk, leaves half a line, which Optuna would not read past.
        held = path.read_bytes()
        os.truncate(path, held.rfind(b"\n") + 1)
    return JournalStorage(JournalFileBackend(str(path)))


def study_name(experiment: Experiment, folder: RunFolder, kind: str) -> str:
    """Name a study: plain in the run's own database; in a shared one, by settings, data and folder.

    Values are only worth something beside the supernet and the recipe that found them, and these are the
    folder's. A run whose folder is moved before its end searches anew.
    """
    if experiment.search.storage is None:
        return kind
    run = [experiment.resolved(), folder.read_json("data.json"), str(folder.path.resolve())]
    digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
    return f"{experiment.name}-{kind}-{digest[:8]}"
