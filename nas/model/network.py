"""The one network: any architecture of the space, on any weight store.

Shape suffixes: U users, I items, N = U + I nodes, d hidden size, D final size.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.graph import Graph
from nas.graph.aggregators import AGGREGATORS
from nas.model.sharing import Memory, SharedProducts
from nas.model.weights import Weights
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


def propagate(architecture: Architecture, weights: Weights, graph: Graph) -> tuple[Tensor, Tensor]:
    """Return the final states of users (U, D) and items (I, D); a user's score of an item is their dot product.

    For cosine scores the states have length 1.
    """
    return Propagation(weights, graph, architecture.learned.hidden_size)(architecture)


@torch.no_grad()
def layer_inputs(architecture: Architecture, weights: Weights, graph: Graph) -> list[Tensor]:
    """Return the states (N, d) that go into each layer, users first."""
    branch = architecture.learned
    states = Propagation(weights, graph, branch.hidden_size).states(branch)
    return [_input(branch, states[: n + 1]) for n in range(len(branch.layers))]


class Propagation:
    """Final states of any number of architectures on one weight store; what they share is computed once.

    Architectures that begin with the same layers share the states after them. As long as all layers are linear, each
    column depends on itself alone, so a narrower architecture takes a slice of a wider one's states, and the products
    of the graph with a state are shared by all aggregators that need them. Results are the same, to the bit, as those
    of each architecture alone. The weights must stand still.
    """

    def __init__(
        self,
        weights: Weights,
        graph: Graph,
        widest: int,
        *,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
        most_bytes: int = 0,
    ) -> None:
        """Share among architectures of hidden size `widest` and below.

        Args:
            weights: tensors by name.
            graph: the training graph.
            widest: columns of the embeddings to begin with.
            dropout: share of the embeddings' entries to hide.
            generator: where dropout draws from.
            most_bytes: memory for shared states; what was not used for longest is forgotten.
        """
        self._weights, self._graph, self._memory = weights, graph, Memory(most_bytes)
        users = weights("users", (graph.n_users, widest))
        self._embeddings = torch.cat([users, weights("items", (graph.n_items, widest))])
        if dropout:
            self._embeddings = self._embeddings * _kept(self._embeddings, dropout, generator)

    def __call__(self, architecture: Architecture) -> tuple[Tensor, Tensor]:
        """Return the final states of users (U, D) and items (I, D)."""
        branch, n_users = architecture.learned, self._graph.n_users
        final = _readout(branch, self.states(branch), self._weights)
        if branch.score == "cosine":
            final = F.normalize(final, dim=1)
        return final[:n_users], final[n_users:]

    def states(self, branch: GraphBranch) -> list[Tensor]:
        """Return the embeddings, then the states (N, d) after each layer."""
        states = [_columns(self._embeddings, branch.hidden_size)]
        for n in range(len(branch.layers)):
            layer = partial(self._layer, branch, n, states)
            states.append(self._memory.get(_prefix(branch, n + 1), branch.hidden_size, layer))
        return states

    def _layer(self, branch: GraphBranch, n: int, states: list[Tensor]) -> Tensor:
        """Return the states (N, d) that layer n (from 0) makes of those before it."""
        layer = branch.layers[n]
        aggregator, name = AGGREGATORS[layer.aggregator], f"{n}.{layer.aggregator}."
        inward = _input(branch, states)
        tensors = {
            key: self._weights(name + key, parameter.shape)
            for key, parameter in aggregator.parameters(branch.hidden_size, layer.heads).items()
        }
        products = cast(Graph, SharedProducts(self._graph, self._memory, _prefix(branch, n), inward))
        out = aggregator.apply(inward, tensors, products, layer.heads)
        if branch.activated(n):
            out = ACTIVATIONS[branch.activation](out)
        if branch.skip == "residual":
            return (out + inward) / 2
        if branch.skip == "initial":
            return (1 - _TELEPORT) * out + _TELEPORT * states[0]
        return out


def _input(branch: GraphBranch, states: list[Tensor]) -> Tensor:
    """Return what goes into the layer after these states."""
    return _mean(states) if branch.skip == "dense" else states[-1]


def _prefix(branch: GraphBranch, n: int) -> tuple[object, ...]:
    """Return what the states after n layers depend on, beside the weights and, where it is left out, the width."""
    if not n:
        return ()
    layers = branch.layers[:n]
    if all(AGGREGATORS[layer.aggregator].linear for layer in layers):
        return (layers, branch.skip)
    activated = tuple(branch.activated(m) for m in range(n))
    return (layers, branch.skip, branch.activation if any(activated) else None, activated, branch.hidden_size)


def _columns(x: Tensor, size: int) -> Tensor:
    # Contiguous, because a dense product may round otherwise where the rows lie further apart.
    return x if x.shape[1] == size else x[:, :size].contiguous()


def _kept(x: Tensor, dropout: float, generator: torch.Generator | None) -> Tensor:
    """Return what dropout multiplies `x` with: 0, or 1 / (1 - dropout)."""
    if x.device.type != "cpu":
        hidden = torch.rand(x.shape, generator=generator, device=x.device) < dropout
    else:
        # Two random bytes an entry: a third of the time that torch takes for its numbers.
        seed = int(torch.randint(2**62, (), generator=generator))
        drawn = np.random.Generator(np.random.SFC64(seed)).bytes(2 * x.numel())
        hidden = torch.from_numpy(np.frombuffer(drawn, np.uint16) < dropout * 2**16).view(x.shape)
    return (~hidden).to(x.dtype).div_(1 - dropout)


def _readout(branch: GraphBranch, states: list[Tensor], weights: Weights) -> Tensor:
    if branch.readout == "last":
        return states[-1]
    if branch.readout == "concat":
        return torch.cat(states, dim=1)
    if branch.readout == "mean":
        return _mean(states)
    shares = weights("readout", (len(states),)) / len(states)
    return _sum([share * state for share, state in zip(shares, states, strict=True)])


def _mean(states: list[Tensor]) -> Tensor:
    return _sum(states) / len(states)


def _sum(states: list[Tensor]) -> Tensor:
    # One by one: a stack would hold every state a second time.
    return reduce(torch.add, states)
