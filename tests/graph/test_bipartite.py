from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nas.data import Interactions
from nas.graph import Graph, Operator

Dense = NDArray[np.float64]


def adjacency(interactions: Interactions) -> Dense:
    users, nodes = interactions.n_users, interactions.n_users + interactions.n_items
    dense = np.zeros((nodes, nodes))
    dense[interactions.user, users + interactions.item] = 1.0
    return dense + dense.T


def scaled(matrix: Dense, left: float, right: float) -> Dense:
    """D^left M D^right, 0 where a degree is 0."""
    degree = matrix.sum(1)
    safe = np.where(degree > 0, degree, 1.0)
    return safe[:, None] ** left * matrix * safe[None, :] ** right


EXPECTED: dict[str, Callable[[Dense], Dense]] = {
    "sum": lambda a: a,
    "mean": lambda a: scaled(a, -1.0, 0.0),
    "symmetric": lambda a: scaled(a, -0.5, -0.5),
    "symmetric_with_loops": lambda a: scaled(a + np.eye(len(a)), -0.5, -0.5),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_operator_is_its_formula_and_knows_its_transpose(
    name: str, graph: Graph, tiny: Interactions
) -> None:
    operator: Operator = getattr(graph, name)
    expected = EXPECTED[name](adjacency(tiny))
    one = torch.eye(graph.n_nodes)
    np.testing.assert_allclose((operator @ one).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose((operator.transpose @ one).numpy(), expected.T, rtol=1e-6)


@pytest.mark.parametrize("name", ["sum", "mean", "symmetric"])
def test_isolated_nodes_receive_nothing(name: str, graph: Graph) -> None:
    out = getattr(graph, name) @ torch.ones(graph.n_nodes, 3)
    isolated = [graph.n_users - 1, graph.n_nodes - 1]
    assert torch.equal(out[isolated], torch.zeros(2, 3))
    assert bool(torch.isfinite(out).all())


def test_a_graph_holds_the_interactions_it_was_given_and_nothing_else(
    graph: Graph, tiny: Interactions
) -> None:
    from_users = graph.edges.row < graph.n_users
    held = set(
        zip(
            graph.edges.row[from_users].tolist(),
            (graph.edges.column[from_users] - graph.n_users).tolist(),
            strict=True,
        )
    )
    assert held == set(zip(tiny.user.tolist(), tiny.item.tolist(), strict=True))
    assert graph.n_edges == 2 * len(tiny)
    assert graph.loops.n_edges == graph.n_edges + graph.n_nodes
    degree = np.concatenate(
        [np.bincount(tiny.user, minlength=tiny.n_users), np.bincount(tiny.item, minlength=tiny.n_items)]
    )
    assert graph.mean_neighbour_degree == pytest.approx((degree**2).sum() / degree.sum())
