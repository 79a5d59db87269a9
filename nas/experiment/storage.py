"""The database of a run's Optuna studies."""

import optuna
from optuna.storages import BaseStorage, RDBStorage

from nas.errors import UserError
from nas.experiment.context import Context


def open_storage(context: Context) -> BaseStorage:
    """Return `search.storage`, or `study.db` in the run folder; UserError if the database cannot be opened."""
    url = context.experiment.search.storage
    if url is None:
        return RDBStorage(f"sqlite:///{context.folder.path.resolve() / 'study.db'}")
    try:
        return RDBStorage(url)
    except Exception as error:  # noqa: BLE001  # every driver has exceptions of its own
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"search.storage: {url!r} cannot be opened ({reason}); expected a database URL such as sqlite:///study.db"
        ) from None


def study_name(context: Context, kind: str) -> str:
    """Name a study: plain in the run's own database, with the run's name in a shared one."""
    return kind if context.experiment.search.storage is None else f"{context.experiment.name}-{kind}"


optuna.logging.set_verbosity(optuna.logging.WARNING)
