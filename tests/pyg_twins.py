"""PyG's own layers with our tensors in them: the oracle of every aggregator that PyG has too."""

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from nas.graph import Graph

Tensors = dict[str, Tensor]
# PyG's layer, and the name of each of its parameters -> the expression of ours that it stands for.
Twin = tuple[torch.nn.Module, Tensors]


def edge_index(graph: Graph) -> Tensor:
    """PyG's (2, E): sources, then targets."""
    return torch.stack([graph.edges.column.long(), graph.edges.row.long()])


def lightgcn(pyg: ModuleType, _tensors: Tensors, _graph: Graph, _heads: int) -> Twin:
    return pyg.nn.LGConv(), {}


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
    "gcn": gcn,
    "sage": sage,
    "gat": gat,
    "gatv2": gatv2,
    "gin": gin,
}
