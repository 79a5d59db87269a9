"""The aggregators, one a file; an addition is its file and its line here."""

from nas.graph.aggregators.aggregator import Aggregator, Parameter
from nas.graph.aggregators.gat import GAT
from nas.graph.aggregators.gatv2 import GATV2
from nas.graph.aggregators.gcn import GCN
from nas.graph.aggregators.gin import GIN
from nas.graph.aggregators.identity import IDENTITY
from nas.graph.aggregators.lightgcn import LIGHTGCN
from nas.graph.aggregators.mean import MEAN
from nas.graph.aggregators.ngcf import NGCF
from nas.graph.aggregators.sage import SAGE

AGGREGATORS: dict[str, Aggregator] = {
    "identity": IDENTITY,
    "lightgcn": LIGHTGCN,
    "mean": MEAN,
    "gcn": GCN,
    "sage": SAGE,
    "gin": GIN,
    "ngcf": NGCF,
    "gat": GAT,
    "gatv2": GATV2,
}

__all__ = ["AGGREGATORS", "Aggregator", "Parameter"]
