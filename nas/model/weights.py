"""Where a network's tensors come from: owned, or sliced out of a supernet's.

`propagate` asks a store for each tensor by name and shape. A stand-alone network owns tensors of just that shape; a
supernet owns the largest shapes of its space and hands out leading slices. Nothing else differs between the two.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nas.graph import Graph
from nas.graph.aggregators import AGGREGATORS, Parameter
from nas.model.spectral import singular_vectors
from nas.randomness import stream
from nas.space.architecture import Architecture, GraphBranch
from nas.space.graph_space import GraphSpace

_NOISE = 0.01
# Length of a row of singular vectors, whose mean is 1, below which it is none.
_REAL = 1e-3


class Weights:
    """Named tensors, handed out in the shape that is asked for."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Own `tensors`; they become leaves that learn."""
        self.tensors = {name: tensor.detach().clone().requires_grad_() for name, tensor in tensors.items()}

    def __call__(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return the leading slice of tensor `name` that has `shape`: a view, the whole where the shapes agree."""
        tensor = self.tensors[name]
        if tensor.shape == shape:
            return tensor
        return tensor[tuple(slice(size) for size in shape)]

    def extract(self, architecture: Architecture, graph: Graph) -> "Weights":
        """Return a store that owns copies of just the tensors of one architecture."""
        wanted = parameters_of(architecture.learned, graph.n_users, graph.n_items)
        return Weights({name: self(name, parameter.shape) for name, parameter in wanted.items()})

    def state(self) -> dict[str, Tensor]:
        """Return detached contiguous copies on the CPU, ready to be saved."""
        return {name: t.detach().to("cpu", copy=True).contiguous() for name, t in self.tensors.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Overwrite the tensors in place with those of `state()`."""
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(state[name])


def parameters_of(branch: GraphBranch, n_users: int, n_items: int) -> dict[str, Parameter]:
    """Return every tensor that an architecture needs, by the name under which `propagate` asks for it."""
    size = branch.hidden_size
    found = {
        "users": Parameter((n_users, size), "noise"),
        "items": Parameter((n_items, size), "noise"),
    }
    for n, layer in enumerate(branch.layers):
        for name, parameter in AGGREGATORS[layer.aggregator].parameters(size, layer.heads).items():
            found[f"{n}.{layer.aggregator}.{name}"] = parameter
    if branch.readout == "learned":
        found["readout"] = Parameter((len(branch.layers) + 1,), "ones")
    return found


def parameters_of_space(space: GraphSpace, n_users: int, n_items: int) -> dict[str, Parameter]:
    """Return the tensors of a supernet: for each name that any architecture asks for, the largest shape."""
    found: dict[str, Parameter] = {}
    widest = max(int(size) for size in space.hidden_size.choices)
    for aggregator in space.aggregator.choices:
        for heads in space.heads_for(widest) or (1,):
            branch = GraphBranch.model_validate(
                {
                    "hidden_size": widest,
                    "layers": [{"aggregator": aggregator, "heads": heads}] * space.most_layers,
                    "readout": "learned" if "learned" in space.readout.choices else "last",
                }
            )
            for name, parameter in parameters_of(branch, n_users, n_items).items():
                old = found.get(name, parameter)
                shape = tuple(max(a, b) for a, b in zip(old.shape, parameter.shape, strict=True))
                found[name] = replace(parameter, shape=shape)
    return found


def start(parameters: Mapping[str, Parameter], graph: Graph, embeddings: str, seed: int) -> Weights:
    """Make a store with every tensor at its start.

    Args:
        parameters: what to make.
        graph: the training graph; the embeddings' singular vectors are its own.
        embeddings: `svd` or `noise`, how `users` and `items` begin.
        seed: equal seeds give equal tensors; each tensor has a stream of its own.
    """
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        noise = stream(seed, f"start/{name}").normal(0.0, _NOISE, parameter.shape).astype(np.float32)
        if parameter.start == "identity":
            noise += parameter.gain * np.eye(*parameter.shape, dtype=np.float32)
        elif parameter.start == "zeros":
            noise[...] = 0.0
        elif parameter.start == "ones":
            noise[...] = 1.0
        tensors[name] = torch.from_numpy(noise)
    if embeddings == "svd":
        users, items = singular_vectors(graph, parameters["users"].shape[1], seed)
        for name, vectors in (("users", users), ("items", items)):
            # Rows of nodes without interactions are rounding errors, whose cosines have gradients of any size.
            real = vectors.norm(dim=1) > _REAL
            tensors[name][real, : vectors.shape[1]] = vectors[real]
    return Weights({name: tensor.to(graph.device) for name, tensor in tensors.items()})


def count(parameters: Iterable[Parameter]) -> int:
    """Return how many numbers these tensors hold."""
    return sum(int(np.prod(parameter.shape)) for parameter in parameters)
