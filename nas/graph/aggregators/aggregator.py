"""What an aggregator is: the operation of one layer, the tensors it needs, and what it costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from nas.graph.bipartite import Graph


@dataclass(frozen=True, slots=True)
class Parameter:
    """A tensor that a network learns.

    Attributes:
        shape: its shape; a supernet holds the largest and hands out leading slices.
        start: how it begins: `identity` (plus small noise; a layer then starts as plain propagation, and a slice
            of it does too), `noise` (small), `zeros` or `ones`.
        gain: factor of an `identity`; where an aggregator adds two terms, halves keep the states' length.
    """

    shape: tuple[int, ...]
    start: Literal["identity", "noise", "zeros", "ones"]
    gain: float = 1.0


@dataclass(frozen=True, slots=True)
class Aggregator:
    """One layer's operation on node states x (N, d) -> (N, d).

    Attributes:
        apply: (x, tensors by name, graph, heads) -> states of the same shape.
        parameters: (hidden size, heads) -> the tensors that `apply` needs.
        macs: (hidden size, heads, nodes N, directed edges E) -> multiply-accumulates of one application.
        linear: acts on each column alone and learns nothing: the layer takes no activation.
        attention: has heads; their number divides the hidden size.
    """

    apply: Callable[[Tensor, Mapping[str, Tensor], Graph, int], Tensor]
    parameters: Callable[[int, int], dict[str, Parameter]]
    macs: Callable[[int, int, int, int], int]
    linear: bool = False
    attention: bool = False


def no_parameters(_hidden_size: int, _heads: int) -> dict[str, Parameter]:
    """Return the parameters of an aggregator that learns nothing."""
    return {}
