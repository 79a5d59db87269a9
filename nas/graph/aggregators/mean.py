"""Mean of the neighbours: x' = D^-1 A x."""

from nas.graph.aggregators.aggregator import Aggregator, no_parameters

MEAN = Aggregator(
    apply=lambda x, _tensors, graph, _heads: graph.mean @ x,
    parameters=no_parameters,
    macs=lambda size, _heads, _nodes, edges: edges * size,
    linear=True,
)
