"""All data to learn from: for a recommender that goes into service, when its architecture is chosen and judged."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.data import DataConfig, Interactions, Split, load
from nas.data.item_features import item_features
from nas.data.load import item_table
from nas.data.readers import infer_format
from nas.errors import UserError
from nas.experiment.config import Experiment
from nas.experiment.context import Context, told_on_success
from nas.experiment.folder import RunFolder
from nas.graph.memory import keep_freed_memory
from nas.model.item_weights import item_obstacle
from nas.randomness import stream
from nas.space.architecture import Architecture

# Of the interactions, which are learned from like all others; what rounding to fewer digits does is told by these.
_VALID = 0.1


def with_everything(context: Context) -> Context:
    """Return a run's context in which nothing is held out: training and validation part together are all interactions."""
    return _whole(context.experiment, context.folder, replace(context.interactions, part=None))


def with_newer(experiment: Experiment, folder: RunFolder, path: Path, result: Mapping[str, Any]) -> Context:
    """Return a run's context with the interactions of another file in place of the run's, nothing of them held out.

    The file has the columns of the run's data and is read as that is. What the run reads of items is read
    again: from the table that lies beside the file or that the experiment names, else from the one beside the
    run's own data.

    Args:
        experiment: the run's.
        folder: the run's.
        path: of the file; the run's own data need not be there any more.
        result: of the architecture that is to learn from it.

    Raises:
        UserError: the file cannot be read, lacks ratings, times or features of items that the architecture
            needs, or has too many items for it.
    """
    if not path.is_file():
        raise UserError(f"--data {path}: no such file; expected events with the columns of the run's data")
    old = experiment.data
    origin: dict[str, Any] = {
        "source": None,
        "planted": None,
        "train": None,
        "valid": None,
        "test": None,
        "path": path.resolve(),
    }
    if own := old.path or old.train:
        # A run of `ratings.csv` reads MovieLens' form; the name of `ratings-tomorrow.csv` would not say so.
        origin["format"] = old.format or infer_format(own)
    config = DataConfig.model_validate(old.model_dump() | origin)
    if item_table(config, Path()) is None:
        config = config.model_copy(update={"items": item_table(old, Path())})
    keep_freed_memory()
    try:
        with told_on_success(logging.getLogger("nas.data")):
            interactions = load(config, Path())
    except UserError as error:
        raise UserError(f"--data needs a file like the run's own: {error}") from None
    architecture = Architecture.model_validate(result["architecture"])
    for column, users in _uses(architecture, result["recipe"]).items():
        if getattr(interactions, column) is None and users:
            raise UserError(
                f"--data {path}: no {column}s, by which {' and '.join(users)} counts; add that column"
            )
    branch = architecture.item
    known = interactions.items, interactions.n_items
    if branch is not None and branch.features and not item_features(*known).shape[1]:
        raise UserError(
            f"--data {path}: no table of the items with features that some share, by which the item branch "
            "counts; it is looked for beside the file, or where data.items says"
        )
    if branch is not None and (obstacle := item_obstacle(branch.kind, interactions)):
        raise UserError(f"--data {path}: too large for the item branch ({obstacle}); search anew")
    return _whole(experiment.model_copy(update={"data": config}), folder, interactions)


def _uses(architecture: Architecture, recipe: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the parts of an architecture that look at each column."""
    settings = {f"the {name} branch": dict(branch) for name, branch in architecture.closed_forms.items()}
    settings["the network"] = dict(recipe)
    by_time = ("recency", "proximity")
    return {
        "rating": [name for name, values in settings.items() if values.get("rating")],
        "timestamp": [
            name
            for name, values in settings.items()
            if values.get("kind") == "next" or any(values.get(one) for one in by_time)
        ],
    }


def _whole(experiment: Experiment, folder: RunFolder, interactions: Interactions) -> Context:
    rows = stream(experiment.search.seed, "everything").permutation(len(interactions))
    part = np.zeros(len(interactions), dtype=bool)
    part[rows[: round(_VALID * len(rows))]] = True
    train, valid, test = (interactions.select(mask) for mask in (~part, part, np.zeros_like(part)))
    return Context(experiment, folder, interactions, Split(train, valid, test))
