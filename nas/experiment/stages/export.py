"""Hand over a retrained architecture as a recommender that runs without nas and without torch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nas.experiment.context import Context
from nas.experiment.service_costs import SIMILARITY_COLUMNS
from nas.experiment.stages.retrain import refitted_states
from nas.model.history import HistoryModel
from nas.model.metrics import evaluated_users, per_user
from nas.model.spectral import singular_vectors
from nas.model.via_users import ViaUsers
from nas.recommender.writer import ArtefactContents, assembled, fit_fold_in, write_artefact
from nas.space.architecture import Architecture
from nas.space.picture import picture

# Relative to the mean squared length of a history's mean; it only keeps the least squares well-posed.
_RIDGE = 0.01
_LENGTH = 20
_JUDGED = f"ndcg@{_LENGTH}"


def export(
    context: Context,
    result: dict[str, Any],
    metrics: dict[str, Any],
    folder: Path,
    precision: str = "float32",
) -> int:
    """Write the artefact of a retrained architecture, fitted on train + validation; return its bytes.

    With a precision other than float32, its metrics say what that does to validation NDCG@20.

    Raises:
        UserError: `folder` holds something that is no artefact, or there is no such precision.
    """
    architecture = Architecture.model_validate(result["architecture"])
    # Without a graph branch, singular vectors tell which items, and which users, are alike.
    states = refitted_states(context, result) or singular_vectors(
        context.refitting.graph, SIMILARITY_COLUMNS, context.experiment.search.seed
    )
    users, items = (state.cpu().numpy().astype(np.float32) for state in states)
    history = context.train_and_valid
    contents = ArtefactContents(
        data_name=context.data_name,
        fingerprint=context.interactions.fingerprint(),
        interactions=len(history),
        architecture={**architecture.values(), "id": result["id"], "description": str(architecture)},
        recipe=result["recipe"] | {"epochs": result["epochs"]},
        metrics=metrics,
        user_ids=history.user_ids,
        item_ids=history.item_ids,
        user_embeddings=users,
        item_embeddings=items,
        seen_indptr=history.offsets,
        seen_items=history.item,
        fold_in=fit_fold_in(users, items, history.offsets, history.item, _RIDGE),
        fusion=architecture.weights,
        branches={
            name: _arrays(model)
            for name, model in context.closed_forms.of(architecture, "train and valid").items()
        },
        titles=history.items.title,
        genres=history.items.genres,
        picture=picture(architecture),
    )
    if precision != "float32":
        contents = replace(contents, precision=precision)
        fine, coarse = (_ndcg(context, one) for one in (replace(contents, precision="float32"), contents))
        found = {"float32": fine, precision: coarse, "lost": 1 - coarse / fine if fine else 0.0}
        contents = replace(contents, metrics={**metrics, "precision": {_JUDGED: found}})
    return write_artefact(folder, contents)


def _ndcg(context: Context, contents: ArtefactContents) -> float:
    """Return the NDCG@20 of the validation part, whose items the lists may hold though the fit has seen them.

    So it says nothing of quality, but the same of both precisions; test data is not read again for it.
    """
    valid, train = context.valid, context.train
    users = evaluated_users(valid, train)
    left_out = [train.item[train.offsets[user] : train.offsets[user + 1]] for user in users]
    lists = np.full((len(users), _LENGTH), -1, dtype=np.int32)
    for row, (items, _) in zip(lists, assembled(contents).best_items(users, _LENGTH, left_out), strict=True):
        row[: len(items)] = items
    return float(per_user(lists, users, valid, (_LENGTH,))[_JUDGED].mean())


def _arrays(model: HistoryModel) -> dict[str, NDArray[Any]]:
    """Return a fitted closed-form branch as the arrays of an artefact."""
    weights, found = model.weights, dict[str, NDArray[Any]]()
    if isinstance(weights, ViaUsers):
        found |= {"item_shares": weights.item_shares, "user_shares": weights.user_shares}
    elif isinstance(weights, Tensor):
        found["dense"] = weights.numpy()
    else:
        found |= {
            "indptr": weights.indptr.astype(np.int64),
            "items": weights.indices.astype(np.int32),
            "weights": weights.data.astype(np.float32),
        }
    if model.left is not None and model.right is not None:
        found |= {"left": model.left.numpy(), "right": model.right.numpy()}
    if model.counted:
        found["counts"] = model.histories.data
    return found
