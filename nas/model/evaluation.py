"""What a model is worth: its ranking on held-out interactions, and what it costs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from nas.data.interactions import Interactions
from nas.graph import Graph
from nas.graph.aggregators import AGGREGATORS
from nas.model.history import HistoryModel
from nas.model.lists import LISTS, catalogue_of
from nas.model.metrics import Floats, evaluated_users, per_user
from nas.model.network import propagate
from nas.model.ranking import Scorer, dot_scorer, top_items
from nas.model.weights import Weights, count, parameters_of
from nas.randomness import stream
from nas.space.architecture import Architecture, GraphBranch


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model's full ranking of one held-out part.

    Attributes:
        users: (n,) int64, the users that were judged.
        ranked: (n, k) int32, their lists, best first; -1 where nothing is left to recommend.
        values: each metric, one value a user, (n,) float64.
        lists: what is said of all lists together, such as coverage.
    """

    users: NDArray[np.int64]
    ranked: NDArray[np.int32]
    values: dict[str, Floats]
    lists: dict[str, float]

    @property
    def means(self) -> dict[str, float]:
        """Mean of each metric over the users, and what is said of all lists together."""
        return {name: float(value.mean()) for name, value in self.values.items()} | self.lists


def evaluate(
    scorer: Scorer,
    history: Interactions,
    held_out: Interactions,
    ks: tuple[int, ...],
    users: NDArray[np.int64] | None = None,
) -> Evaluation:
    """Rank the whole catalogue for each user, what is in `history` left out, against `held_out`.

    Args:
        scorer: scores of all items for a block of users.
        history: what the model was fitted on.
        held_out: what it should find.
        ks: lengths of the lists.
        users: whom to judge; all with a history and something held out by default.
    """
    if users is None:
        users = evaluated_users(held_out, history)
    ranked = top_items(scorer, users, history, max(ks))
    items = catalogue_of(history)
    shown = {f"{name}@{k}": metric(ranked[:, :k], items) for name, metric in LISTS.items() for k in ks}
    return Evaluation(users, ranked, per_user(ranked, users, held_out, ks), shown)


def sample_users(held_out: Interactions, history: Interactions, most: int, seed: int) -> NDArray[np.int64]:
    """Return the users to judge candidates on: all, or `most` of them drawn once for the whole search."""
    users = evaluated_users(held_out, history)
    if len(users) <= most:
        return users
    return np.sort(stream(seed, "judged users").choice(users, most, replace=False))


@torch.no_grad()
def final_states(architecture: Architecture, weights: Weights, graph: Graph) -> tuple[Tensor, Tensor, float]:
    """Return the final states of users and items, and the seconds it took: what a refresh costs in service."""
    started = time.perf_counter()
    users, items = propagate(architecture, weights, graph)
    if graph.device.type == "cuda":
        torch.cuda.synchronize(graph.device)
    return users, items, time.perf_counter() - started


def scorer_of(architecture: Architecture, weights: Weights, graph: Graph) -> Scorer:
    """Return the scorer of a trained architecture."""
    users, items, _ = final_states(architecture, weights, graph)
    return dot_scorer(users, items)


def costs(
    architecture: Architecture,
    n_users: int,
    n_items: int,
    n_interactions: int,
    models: Mapping[str, HistoryModel] = MappingProxyType({}),
) -> dict[str, int]:
    """Return the costs that follow from the architecture and its fitted closed-form branches.

    Args:
        architecture: what is asked for.
        n_users: of the data.
        n_items: of the data.
        n_interactions: those that the branches are fitted on.
        models: the closed-form branches by name.

    Returns:
        `parameters`: numbers it learns, item-item weights and singular vectors included. `refresh_macs`:
        multiply-accumulates to follow new interactions without training anew: every final state of the graph branch,
        and every history times the weights of the other branches. `artefact_bytes`: bytes of the exported arrays.
    """
    histories = 2 * (n_users + 1) + n_interactions
    found = {"parameters": 0, "refresh_macs": 0, "artefact_bytes": 4 * (histories + n_items)}
    parts = [_graph_costs(architecture.graph, n_users, n_items, n_interactions)] if architecture.graph else []
    parts += [history_costs(model, n_users, n_items, n_interactions) for model in models.values()]
    for part in parts:
        found = {name: found[name] + part[name] for name in found}
    return found


def _graph_costs(branch: GraphBranch, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
    nodes, edges = n_users + n_items, 2 * n_interactions
    macs = sum(
        AGGREGATORS[layer.aggregator].macs(branch.hidden_size, layer.heads, nodes, edges)
        for layer in branch.layers
    )
    if branch.readout in ("mean", "learned"):
        macs += nodes * branch.hidden_size * (len(branch.layers) + 1)
    if branch.score == "cosine":
        macs += 2 * nodes * branch.final_size
    size = branch.final_size
    parameters = count(parameters_of(branch, n_users, n_items).values())
    # Final states and the map that folds in; with layers, what folding in runs them on.
    stored = nodes * size + size * branch.hidden_size
    if branch.layers:
        seen = sum(layer.aggregator != "identity" for layer in branch.layers)
        learned = parameters - nodes * branch.hidden_size
        stored += (n_users + seen * n_items) * branch.hidden_size + learned
    return {"parameters": parameters, "refresh_macs": macs, "artefact_bytes": 4 * stored}


def history_costs(model: HistoryModel, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
    """Return what a fitted closed-form branch adds to the `costs` of an architecture."""
    rank = 0 if model.left is None else model.left.shape[1]
    if isinstance(model.weights, Tensor):
        stored = n_items**2
    elif isinstance(model.weights, csr_array):
        stored = 2 * model.entries + 2 * (n_items + 1)
    else:
        stored = model.entries
    weighted = n_interactions * model.counted
    if model.ages is not None:
        # And how fast they fade.
        weighted += n_interactions + 1
    return {
        "parameters": model.entries + 2 * n_items * rank,
        "refresh_macs": model.macs + n_interactions * rank + n_users * n_items * rank,
        "artefact_bytes": 4 * (stored + 2 * n_items * rank + weighted),
    }
