"""PyG's own layers with our tensors in them: the oracle of every aggregator that PyG has too, and its rival."""

import warnings
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from nas.graph import Graph

Tensors = dict[str, Tensor]
# PyG's layer, and the name of each of its parameters -> the expression of ours that it stands for.
Twin = tuple[torch.nn.Module, Tensors]


def import_pyg() -> ModuleType:
    """Return PyG; its import warns of torch's deprecations and takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch_geometric
        import torch_geometric.metrics
        import torch_geometric.nn.models
    return torch_geometric


def edge_index(graph: Graph) -> Tensor:
    """PyG's (2, E): sources, then targets."""
    return torch.stack([graph.edges.column.long(), graph.edges.row.long()])


def normalised(pyg: ModuleType, graph: Graph) -> tuple[Tensor, Tensor]:
    """PyG's (2, E) and the (E,) weights D^-1/2 A D^-1/2 that LGConv otherwise makes anew in every forward."""
    index, weights = pyg.nn.conv.gcn_conv.gcn_norm(
        edge_index(graph), num_nodes=graph.n_nodes, add_self_loops=False
    )
    return index, weights


def adjacency(graph: Graph, values: Tensor | None = None) -> Tensor:
    """(N, N) torch CSR, `values` (E,) or ones on the edges: PyG's message passing is one sparse product with it."""
    edges, size = graph.edges, (graph.n_nodes, graph.n_nodes)
    # PyG makes further such matrices of it, and torch warns where the checks are neither chosen nor declined.
    torch.sparse.check_sparse_tensor_invariants.disable()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            edges.pointer.long(),
            edges.column.long(),
            torch.ones(edges.n_edges) if values is None else values,
            size,
        )


def lightgcn(pyg: ModuleType, _tensors: Tensors, _graph: Graph, _heads: int) -> Twin:
    return pyg.nn.LGConv(), {}


def mean(pyg: ModuleType, _tensors: Tensors, _graph: Graph, _heads: int) -> Twin:
    return pyg.nn.SimpleConv(aggr="mean"), {}


def gcn(pyg: ModuleType, tensors: Tensors, _graph: Graph, _heads: int) -> Twin:
    size = len(tensors["weight"])
    layer = pyg.nn.GCNConv(size, size)
    return layer, {"lin.weight": tensors["weight"].t(), "bias": tensors["bias"]}


def sage(pyg: ModuleType, tensors: Tensors, _graph: Graph, _heads: int) -> Twin:
    size = len(tensors["weight"])
    return pyg.nn.SAGEConv(size, size, aggr="mean"), {
        "lin_l.weight": tensors["weight"].t(),
        "lin_l.bias": tensors["bias"],
        "lin_r.weight": tensors["weight_self"].t(),
    }


def gat(pyg: ModuleType, tensors: Tensors, _graph: Graph, heads: int) -> Twin:
    size = len(tensors["weight"])
    return pyg.nn.GATConv(size, size // heads, heads=heads, concat=True), {
        "lin.weight": tensors["weight"].t(),
        "att_src": tensors["attention_source"].view(1, heads, -1),
        "att_dst": tensors["attention_target"].view(1, heads, -1),
        "bias": tensors["bias"],
    }


def gatv2(pyg: ModuleType, tensors: Tensors, _graph: Graph, heads: int) -> Twin:
    size = len(tensors["weight_source"])
    return pyg.nn.GATv2Conv(size, size // heads, heads=heads, concat=True), {
        "lin_l.weight": tensors["weight_source"].t(),
        "lin_l.bias": tensors["bias_source"],
        "lin_r.weight": tensors["weight_target"].t(),
        "lin_r.bias": tensors["bias_target"],
        "att": tensors["attention"].view(1, heads, -1),
        "bias": tensors["bias"],
    }


def gin(pyg: ModuleType, tensors: Tensors, graph: Graph, _heads: int) -> Twin:
    size = len(tensors["weight_in"])
    mlp = torch.nn.Sequential(torch.nn.Linear(size, size), torch.nn.ReLU(), torch.nn.Linear(size, size))
    # Our constant belongs to PyG's first weight.
    return pyg.nn.GINConv(mlp, train_eps=True), {
        "eps": tensors["eps"],
        "nn.0.weight": tensors["weight_in"].t() / (1 + graph.mean_neighbour_degree),
        "nn.0.bias": tensors["bias_in"],
        "nn.2.weight": tensors["weight_out"].t(),
        "nn.2.bias": tensors["bias_out"],
    }


TWINS: dict[str, Callable[[ModuleType, Tensors, Graph, int], Twin]] = {
    "lightgcn": lightgcn,
    "mean": mean,
    "gcn": gcn,
    "sage": sage,
    "gat": gat,
    "gatv2": gatv2,
    "gin": gin,
}
