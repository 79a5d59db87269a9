"""The database of a run's Optuna studies."""

import hashlib
import json
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, RDBStorage

from nas.errors import UserError
from nas.experiment.config import Experiment

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


def study_name(experiment: Experiment, kind: str) -> str:
    """Name a study: plain in the run's own database; in a shared one, by the experiment with all its settings."""
    if experiment.search.storage is None:
        return kind
    settings = json.dumps(experiment.resolved(), sort_keys=True)
    return f"{experiment.name}-{kind}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"
