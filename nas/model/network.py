"""The one network: any architecture of the space, on any weight store.

Shape suffixes: U users, I items, N = U + I nodes, d hidden size, D final size.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.graph import Graph
from nas.graph.aggregators import AGGREGATORS
from nas.model.weights import Weights, parameters_of
from nas.space.architecture import Architecture, GraphBranch

# APPNP's teleport probability (Klicpera et al., ICLR 2019).
_TELEPORT = 0.1

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "elu": F.elu,
    "tanh": torch.tanh,
}


def propagate(
    architecture: Architecture,
    weights: Weights,
    graph: Graph,
    *,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the final states of users (U, D) and items (I, D); a user's score of an item is their dot product.

    For cosine scores the states have length 1. `dropout` hides that share of the embeddings' entries, drawn from
    `generator`; leave it 0 to score.
    """
    branch = architecture.graph
    parameters = parameters_of(branch, graph.n_users, graph.n_items)

    def tensor(name: str) -> Tensor:
        return weights(name, parameters[name].shape)

    x = torch.cat([tensor("users"), tensor("items")])
    if dropout:
        keep = torch.rand(x.shape, generator=generator, device=x.device) >= dropout
        x = x * keep / (1 - dropout)
    states = [x]
    for n, layer in enumerate(branch.layers):
        aggregator = AGGREGATORS[layer.aggregator]
        prefix = f"{n}.{layer.aggregator}."
        tensors = {name.removeprefix(prefix): tensor(name) for name in parameters if name.startswith(prefix)}
        inward = torch.stack(states).mean(0) if branch.skip == "dense" else states[-1]
        out = aggregator.apply(inward, tensors, graph, layer.heads)
        if branch.activated(n):
            out = ACTIVATIONS[branch.activation](out)
        if branch.skip == "residual":
            out = (out + inward) / 2
        elif branch.skip == "initial":
            out = (1 - _TELEPORT) * out + _TELEPORT * states[0]
        states.append(out)
    final = _readout(branch, states, tensor)
    if branch.score == "cosine":
        final = F.normalize(final, dim=1)
    return final[: graph.n_users], final[graph.n_users :]


def _readout(branch: GraphBranch, states: list[Tensor], tensor: Callable[[str], Tensor]) -> Tensor:
    if branch.readout == "last":
        return states[-1]
    if branch.readout == "concat":
        return torch.cat(states, dim=1)
    stacked = torch.stack(states)
    if branch.readout == "mean":
        return stacked.mean(0)
    weighted: Tensor = torch.tensordot(tensor("readout") / len(states), stacked, dims=1)
    return weighted
