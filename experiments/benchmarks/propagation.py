"""One layer, forward and backward: our aggregators against PyG's layers with the same weights."""

from collections.abc import Callable, Iterator
from types import ModuleType

import torch
from generated import datasets
from pyg_twins import TWINS, Tensors, adjacency, edge_index, import_pyg, normalised
from side_by_side import (
    Data,
    Json,
    Out,
    Repetitions,
    Row,
    Threads,
    interleaved,
    largest,
    largest_difference,
    report,
    run,
)
from torch import Tensor

from nas.data import Interactions
from nas.graph import Graph
from nas.graph.aggregators import AGGREGATORS

COLUMNS = 64

# Name of the row -> aggregator and heads.
OPERATORS: dict[str, tuple[str, int]] = {
    "lightgcn": ("lightgcn", 1),
    "mean": ("mean", 1),
    "gcn": ("gcn", 1),
    "sage": ("sage", 1),
    "gin": ("gin", 1),
    "gat-1": ("gat", 1),
    "gat-4": ("gat", 4),
    "gat-8": ("gat", 8),
    "gatv2-4": ("gatv2", 4),
}

# PyG's layers that take a sparse matrix for the edges, and then gather and scatter nothing.
TAKE_SPARSE = {"lightgcn", "mean", "gcn", "sage", "gin"}

# A layer and what its forward takes beside x.
Call = tuple[torch.nn.Module, tuple[Tensor, ...]]


def rows(
    name: str, interactions: Interactions, repetitions: int, operators: dict[str, tuple[str, int]] = OPERATORS
) -> Iterator[Row]:
    """Yield one row an operator on one data set."""
    pyg, graph = import_pyg(), Graph.from_interactions(interactions)
    for operator, (aggregator, heads) in operators.items():
        tensors, x, upstream = random_tensors(aggregator, heads, graph)
        ours = _ours(aggregator, heads, graph, tensors, x, upstream)
        calls = pyg_calls(pyg, aggregator, tensors, graph, heads)
        theirs = {key: _theirs(*call, x, upstream) for key, call in calls.items()}
        # Whatever is timed has to agree: the states, then the gradient of x.
        found = ours()
        outcomes = [way() for way in theirs.values()]
        difference = largest(largest_difference(found[:1], outcome[:1]) for outcome in outcomes)
        of_x = largest(largest_difference(found[1:2], outcome[1:2]) for outcome in outcomes)
        of_tensors = _gradients_difference(pyg, aggregator, heads, graph, tensors, x, upstream)
        del found, outcomes
        times = interleaved({"ours_ms": ours, **theirs}, repetitions)
        extra = {
            "max_abs_difference_of_gradients": largest([of_x, of_tensors]),
            "theirs_cached_ms": times.get("theirs_cached_ms"),
            "theirs_sparse_ms": times.get("theirs_sparse_ms"),
        }
        yield Row(operator, name, times["ours_ms"], times["theirs_ms"], difference, extra)


def random_tensors(aggregator: str, heads: int, graph: Graph) -> tuple[Tensors, Tensor, Tensor]:
    """Return weights, x (N, D) and the gradient of the output (N, D), such that results are of size 1."""
    generator = torch.Generator().manual_seed(heads)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    parameters = AGGREGATORS[aggregator].parameters(COLUMNS, heads)
    tensors = {key: (normal(*p.shape) / p.shape[-1] ** 0.5).requires_grad_() for key, p in parameters.items()}
    x = normal(graph.n_nodes, COLUMNS).requires_grad_()
    # The gradients of weights are sums over the nodes.
    return tensors, x, normal(graph.n_nodes, COLUMNS) / graph.n_nodes**0.5


def pyg_calls(
    pyg: ModuleType, aggregator: str, tensors: Tensors, graph: Graph, heads: int
) -> dict[str, Call]:
    """Return the ways to use PyG's layer, by the key under which each is timed.

    `theirs_ms` is the layer on an edge index, as PyG's documentation shows it. LGConv and GCNConv then normalise in
    every forward; `theirs_cached_ms` has that done once. `theirs_sparse_ms` has it done once too and takes the edges as
    a torch CSR matrix, the fastest that PyG has without further packages.
    """

    def layer() -> torch.nn.Module:
        made, twin = TWINS[aggregator](pyg, tensors, graph, heads)
        made.load_state_dict({key: tensor.detach() for key, tensor in twin.items()})
        return made

    calls: dict[str, Call] = {"theirs_ms": (layer(), (edge_index(graph),))}
    if aggregator == "lightgcn":
        index, weights = normalised(pyg, graph)
        calls["theirs_cached_ms"] = (pyg.nn.LGConv(normalize=False), (index, weights))
        calls["theirs_sparse_ms"] = (pyg.nn.LGConv(normalize=False), (adjacency(graph, weights),))
    elif aggregator in TAKE_SPARSE:
        calls["theirs_sparse_ms"] = (layer(), (adjacency(graph),))
    if aggregator == "gcn":
        calls["theirs_cached_ms"] = (layer(), (edge_index(graph),))
        for key in ("theirs_cached_ms", "theirs_sparse_ms"):
            calls[key][0].cached = True
    return calls


def _ours(
    aggregator: str, heads: int, graph: Graph, tensors: Tensors, x: Tensor, upstream: Tensor
) -> Callable[[], tuple[Tensor, ...]]:
    def forward_backward() -> tuple[Tensor, ...]:
        out = AGGREGATORS[aggregator].apply(x, tensors, graph, heads)
        return out.detach(), *torch.autograd.grad(out, [x, *tensors.values()], upstream)

    return forward_backward


def _theirs(
    layer: torch.nn.Module, edges: tuple[Tensor, ...], x: Tensor, upstream: Tensor
) -> Callable[[], tuple[Tensor, ...]]:
    def forward_backward() -> tuple[Tensor, ...]:
        out = layer(x, *edges)
        return out.detach(), *torch.autograd.grad(out, [x, *layer.parameters()], upstream)

    return forward_backward


def _gradients_difference(
    pyg: ModuleType, aggregator: str, heads: int, graph: Graph, tensors: Tensors, x: Tensor, upstream: Tensor
) -> float:
    # PyG's layer runs on our tensors here, so that autograd carries its gradients to our leaves.
    layer, twin = TWINS[aggregator](pyg, tensors, graph, heads)
    out = torch.func.functional_call(layer, twin, (x, edge_index(graph)))
    leaves = [x, *tensors.values()]
    expected = torch.autograd.grad(out, leaves, upstream)
    return largest_difference(_ours(aggregator, heads, graph, tensors, x, upstream)()[1:], expected)


def main(
    data: Data = None,
    threads: Threads = 2,
    repetitions: Repetitions = 5,
    as_json: Json = False,
    out: Out = None,
) -> None:
    """One layer, forward and backward: our aggregators against PyG's layers with the same weights."""
    torch.set_num_threads(threads)
    measured = (row for name, interactions in datasets(data) for row in rows(name, interactions, repetitions))
    report(measured, as_json, out)


if __name__ == "__main__":
    run(main)
