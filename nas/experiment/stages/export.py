"""Hand over a retrained architecture as a recommender that runs without nas and without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from nas.experiment.closed_forms import Part
from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.service_costs import SIMILARITY_COLUMNS
from nas.experiment.stages.fold_in import RIDGES, choose_ridge
from nas.experiment.stages.retrain import refitted, refitting, trained
from nas.graph import Graph
from nas.graph.aggregators import AGGREGATORS
from nas.model.evaluation import final_states
from nas.model.fitting import refit
from nas.model.history import HistoryModel
from nas.model.metrics import evaluated_users, per_user
from nas.model.nearest_users import NearestUsers
from nas.model.network import layer_inputs
from nas.model.spectral import singular_vectors
from nas.model.via_users import ViaUsers
from nas.model.weights import Weights
from nas.recommender import neighbours, onnx_model
from nas.recommender.addition import Addable, library
from nas.recommender.contents import ArtefactContents
from nas.recommender.fold_in_map import fold_in_maps
from nas.recommender.writer import assembled, write_artefact
from nas.space.architecture import Architecture
from nas.space.picture import picture

_LENGTH = 20
_JUDGED = f"ndcg@{_LENGTH}"


def export(
    context: Context,
    result: dict[str, Any],
    metrics: dict[str, Any],
    folder: Path,
    precision: str = "float32",
    additions: Sequence[Addable] = (),
    evidence: str = "",
    everything: Context | None = None,
) -> int:
    """Write the artefact of a retrained architecture, fitted on train + validation; return its bytes.

    With `everything`, of `with_everything` or `with_newer`, it is fitted on all of the data of that instead; where the
    ridge is chosen already, `context` is not asked for data.

    Its metrics say as well how someone new is served, see `choose_ridge`, and with a precision other than float32, what
    that does to validation NDCG@20. `additions` are written into it too, and
    `evidence` is what its README says of its worth.

    Raises:
        UserError: `folder` holds something that is no artefact, there is no such precision, or an addition cannot be made.
    """
    weights, metrics, ridge = None, dict(metrics), RIDGES[0]
    if result["architecture"].get("graph"):
        chosen = context.done(ridge_file(result), partial(_chosen_ridge, context, result))
        ridge, metrics["new users"] = chosen["ridge"], chosen["new users"]
        weights = refitted(context, result) if everything is None else _fitted_anew(everything, result)
    context = everything or context
    contents = _contents(context, result, metrics, weights, "train and valid", ridge)
    contents = replace(contents, judged=everything is None)
    if precision != "float32":
        contents = replace(contents, precision=precision)
        fine, coarse = (_ndcg(context, one) for one in (replace(contents, precision="float32"), contents))
        found = {"float32": fine, precision: coarse, "lost": 1 - coarse / fine if fine else 0.0}
        contents = replace(contents, metrics={**metrics, "precision": {_JUDGED: found}})
        evidence = evidence and f"{evidence} Here they are rounded to {precision}."
    return write_artefact(folder, replace(contents, evidence=evidence), additions)


def ridge_file(result: Mapping[str, Any]) -> str:
    """Return the file of the run that holds how strong the ridge is by which someone new is folded in."""
    return f"retrained/{result['name']}/fold_in.json"


def additions_of(result: Mapping[str, Any], onnx: bool, ann: bool) -> list[Addable]:
    """Return what makes the files that are asked for; UserError, before all the work, if one cannot be made."""
    found: list[Addable] = []
    if onnx:
        library("onnx", "--onnx", onnx_model.PACKAGES)
        found.append(onnx_model.onnx_addition)
    if ann:
        neighbours.check_branches(Architecture.model_validate(result["architecture"]).weights)
        library("usearch.index", "--ann", neighbours.PACKAGES)
        found.append(neighbours.ann_addition)
    return found


def _fitted_anew(context: Context, result: dict[str, Any]) -> Weights:
    architecture, recipe, epochs, seed = refitting(result)
    with stage("fit on everything", None):
        # Runs of before have no steps in their results.
        steps = result.get("steps", 1)
        return refit(architecture, recipe, context.refitting, epochs=epochs, seed=seed, steps=steps)


def _chosen_ridge(context: Context, result: dict[str, Any]) -> dict[str, Any]:
    # Judged by what was fitted on the training part alone: the other has seen the validation items.
    contents = _contents(context, result, {}, trained(context, result), "train", RIDGES[0])
    ridge, found = choose_ridge(contents, context.valid, context.judged_users)
    return {"ridge": ridge, "new users": {f"validation {name}": value for name, value in found.items()}}


def _contents(
    context: Context,
    result: dict[str, Any],
    metrics: dict[str, Any],
    weights: Weights | None,
    part: Part,
    ridge: float,
) -> ArtefactContents:
    """Return what the artefact of a retrained architecture holds, by weights that were fitted on `part`."""
    architecture, branches = Architecture.model_validate(result["architecture"]), {}
    history, data = (
        (context.train, context.training) if part == "train" else (context.train_and_valid, context.refitting)
    )
    if weights is None:
        # Without a graph branch, singular vectors tell which items, and which users, are alike.
        states = singular_vectors(data.graph, SIMILARITY_COLUMNS, context.experiment.search.seed)
    else:
        states = final_states(architecture, weights, data.graph)[:2]
        branches["graph"] = graph_arrays(architecture, weights, data.graph)
    branches |= {name: _arrays(model) for name, model in context.closed_forms.of(architecture, part).items()}
    users, items = (state.cpu().numpy().astype(np.float32) for state in states)
    initial = branches.get("graph", {}).get("initial", users)
    return ArtefactContents(
        data_name=context.data_name,
        fingerprint=context.interactions.fingerprint(),
        architecture={**architecture.values(), "id": result["id"], "description": str(architecture)},
        recipe=result["recipe"] | {"epochs": result["epochs"]},
        metrics=metrics,
        user_ids=history.user_ids,
        item_ids=history.item_ids,
        user_embeddings=users,
        item_embeddings=items,
        seen_indptr=history.offsets,
        seen_items=history.item,
        fold_in=fold_in_maps(initial, items, history.offsets, history.item, [ridge])[0],
        fusion=architecture.weights,
        branches=branches,
        titles=history.items.title,
        genres=history.items.genres,
        picture=picture(architecture),
    )


def graph_arrays(architecture: Architecture, weights: Weights, graph: Graph) -> dict[str, NDArray[Any]]:
    """Return the arrays by which a recommender folds in as the network computes; none where embeddings are final ones."""
    branch, found = architecture.learned, dict[str, NDArray[Any]]()
    if not branch.layers and branch.readout != "learned":
        return found
    found["initial"] = _numbers(weights("users", (graph.n_users, branch.hidden_size)))
    if branch.readout == "learned":
        found["readout"] = _numbers(weights("readout", (len(branch.layers) + 1,)))
    inputs = layer_inputs(architecture, weights, graph)
    for n, (layer, states) in enumerate(zip(branch.layers, inputs, strict=True)):
        aggregator = AGGREGATORS[layer.aggregator]
        if layer.aggregator != "identity":
            found[f"{n}_items"] = _numbers(states[graph.n_users :])
        for key, parameter in aggregator.parameters(branch.hidden_size, layer.heads).items():
            found[f"{n}_{key}"] = _numbers(weights(f"{n}.{layer.aggregator}.{key}", parameter.shape))
        if layer.aggregator == "gin":
            found[f"{n}_weight_in"] /= np.float32(1 + graph.mean_neighbour_degree)
    return found


def _numbers(tensor: Tensor) -> NDArray[np.float32]:
    # A copy: what is made of it must not change the weights.
    return tensor.detach().cpu().numpy().astype(np.float32)


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
    if isinstance(weights, ViaUsers | NearestUsers):
        found |= {"item_shares": weights.item_shares, "user_shares": weights.user_shares}
        if isinstance(weights, NearestUsers):
            found["nearest"] = np.array([weights.neighbours, weights.power], dtype=np.float32)
    elif isinstance(weights, Tensor):
        found["dense"] = weights.numpy()
    elif isinstance(weights, csr_array):
        found |= {
            "indptr": weights.indptr.astype(np.int64),
            "items": weights.indices.astype(np.int32),
            "weights": weights.data.astype(np.float32),
        }
    if model.left is not None and model.right is not None:
        found |= {"left": model.left.numpy(), "right": model.right.numpy()}
    if model.counted:
        found["counts"] = model.histories.data
    if model.ages is not None:
        found |= {"ages": model.ages, "fade": np.atleast_1d(model.fade)}
    return found
