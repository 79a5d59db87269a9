"""Hand over a retrained architecture as a recommender that runs without nas and without torch."""

from pathlib import Path
from typing import Any

import numpy as np

from nas.experiment.context import Context
from nas.experiment.stages.retrain import refitted_weights
from nas.model.evaluation import final_states
from nas.recommender.writer import ArtefactContents, fit_fold_in, write_artefact
from nas.space.architecture import Architecture

# Relative to the mean squared length of a history's mean; it only keeps the least squares well-posed.
_RIDGE = 0.01


def export(context: Context, result: dict[str, Any], metrics: dict[str, Any], folder: Path) -> int:
    """Write the artefact of a retrained architecture, fitted on train + validation; return its bytes.

    Raises:
        UserError: `folder` holds something that is no artefact.
    """
    architecture = Architecture.model_validate(result["architecture"])
    states = final_states(architecture, refitted_weights(context, result), context.refitting.graph)
    users, items = (state.cpu().numpy().astype(np.float32) for state in states[:2])
    history = context.train_and_valid
    contents = ArtefactContents(
        data_name=context.data_name,
        fingerprint=context.interactions.fingerprint(),
        interactions=len(history),
        architecture={**result["architecture"], "id": result["id"], "description": str(architecture)},
        recipe=result["recipe"] | {"epochs": result["epochs"]},
        metrics=metrics,
        user_ids=history.user_ids,
        item_ids=history.item_ids,
        user_embeddings=users,
        item_embeddings=items,
        seen_indptr=history.offsets,
        seen_items=history.item,
        fold_in=fit_fold_in(users, items, history.offsets, history.item, _RIDGE),
        titles=history.items.title,
        genres=history.items.genres,
    )
    return write_artefact(folder, contents)
