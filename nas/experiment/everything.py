"""All data to learn from: for a recommender that goes into service, when its architecture is chosen and judged."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from nas.data import DataConfig, Interactions, Split, load
from nas.errors import UserError
from nas.experiment.context import Context
from nas.model.item_weights import item_obstacle
from nas.randomness import stream
from nas.space.architecture import Architecture

# Of the interactions, which are learned from like all others; what rounding to fewer digits does is told by these.
_VALID = 0.1


def with_everything(context: Context, data: Path | None = None) -> Context:
    """Return a run's context in which nothing is held out: training and validation part together are all interactions.

    Args:
        context: of the run.
        data: a file of interactions to take instead of the run's, in the same format and with the same columns; None
            takes the run's own, the test part among them.

    Raises:
        UserError: the file cannot be read, or lacks ratings or times where the run has them.
    """
    interactions = replace(context.interactions, part=None) if data is None else _newer(context, data)
    rows = stream(context.experiment.search.seed, "everything").permutation(len(interactions))
    part = np.zeros(len(interactions), dtype=bool)
    part[rows[: round(_VALID * len(rows))]] = True
    train, valid, test = (interactions.select(mask) for mask in (~part, part, np.zeros_like(part)))
    return replace(context, interactions=interactions, _split=Split(train, valid, test))


def check_fits(architecture: Architecture, context: Context) -> None:
    """Raise UserError where an architecture cannot be fitted on data that has grown."""
    branch = architecture.item
    if branch is not None and (obstacle := item_obstacle(branch.kind, context.interactions)):
        raise UserError(
            f"the winner's item branch cannot be fitted on this data: {obstacle}; search anew with it"
        )


def _newer(context: Context, path: Path) -> Interactions:
    old, config = context.interactions, context.experiment.data
    origin = {"source": None, "planted": None, "train": None, "valid": None, "test": None, "path": path}
    interactions = load(DataConfig.model_validate(config.model_dump() | origin), Path())
    for column in ("rating", "timestamp"):
        if getattr(old, column) is not None and getattr(interactions, column) is None:
            raise UserError(f"{path}: no column of {column}s, which the data of {context.folder.path} has")
    return interactions
