"""Each aggregator against PyG's own layer with the same weights, or, where PyG has none, its paper's formula."""

from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import pytest
import torch
from pyg_twins import TWINS, Tensors, edge_index
from torch import Tensor

from nas.data import Interactions
from nas.graph import Graph
from nas.graph.aggregators import AGGREGATORS

SIZE = 8


def mean_formula(x: Tensor, _tensors: Tensors, neighbours: list[list[int]]) -> Tensor:
    rows = [x[near].sum(0) / len(near) if near else torch.zeros(SIZE) for near in neighbours]
    return torch.stack(rows)


def ngcf_formula(x: Tensor, tensors: Tensors, neighbours: list[list[int]]) -> Tensor:
    """Equation 3: the node's own message, and one a neighbour, which affinity to the node enlarges."""
    weight_1, weight_2 = tensors["weight_sum"], tensors["weight_product"]
    rows = []
    for node, near in enumerate(neighbours):
        row = x[node] @ weight_1
        for other in near:
            decay = 1 / np.sqrt(len(near) * len(neighbours[other]))
            row = row + decay * (x[other] @ weight_1 + (x[other] * x[node]) @ weight_2)
        rows.append(row)
    return torch.stack(rows)


FORMULAS: dict[str, Callable[[Tensor, Tensors, list[list[int]]], Tensor]] = {
    "identity": lambda x, _tensors, _neighbours: x,
    "mean": mean_formula,
    "ngcf": ngcf_formula,
}


def heads_of(name: str) -> list[int]:
    return [1, 2, 4] if AGGREGATORS[name].attention else [1]


def random_tensors(name: str, heads: int) -> Tensors:
    generator = torch.Generator().manual_seed(heads)
    parameters = AGGREGATORS[name].parameters(SIZE, heads)
    return {key: torch.randn(p.shape, generator=generator).requires_grad_() for key, p in parameters.items()}


@pytest.fixture
def x(graph: Graph) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(graph.n_nodes, SIZE, generator=generator).requires_grad_()


def gradients(out: Tensor, leaves: Mapping[str, Tensor]) -> Tensors:
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(10))
    found = torch.autograd.grad(out, list(leaves.values()), upstream, allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(leaves.items(), found, strict=True)
    }


def test_every_aggregator_has_an_oracle() -> None:
    assert {*TWINS, *FORMULAS} == set(AGGREGATORS)


@pytest.mark.parametrize(("name", "heads"), [(name, heads) for name in TWINS for heads in heads_of(name)])
def test_an_aggregator_is_pygs_layer_forward_and_backward(
    name: str, heads: int, graph: Graph, x: Tensor, pyg: ModuleType
) -> None:
    tensors = random_tensors(name, heads)
    layer, twin = TWINS[name](pyg, tensors, graph, heads)
    own = dict(layer.named_parameters())
    assert {key: p.shape for key, p in own.items()} == {key: t.shape for key, t in twin.items()}
    # PyG's layer runs on our tensors, so that autograd carries its gradients to our leaves.
    expected = torch.func.functional_call(layer, twin, (x, edge_index(graph)))
    found = AGGREGATORS[name].apply(x, tensors, graph, heads)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    leaves = {"x": x, **tensors}
    expected_gradients = gradients(expected, leaves)
    for key, gradient in gradients(found, leaves).items():
        scale = max(1.0, float(expected_gradients[key].abs().max()))
        torch.testing.assert_close(gradient, expected_gradients[key], rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("name", FORMULAS)
def test_an_aggregator_is_its_formula_node_by_node(
    name: str, graph: Graph, tiny: Interactions, x: Tensor
) -> None:
    neighbours: list[list[int]] = [[] for _ in range(graph.n_nodes)]
    for user, item in zip(tiny.user.tolist(), tiny.item.tolist(), strict=True):
        neighbours[user].append(graph.n_users + item)
        neighbours[graph.n_users + item].append(user)
    tensors = random_tensors(name, 1)
    expected = FORMULAS[name](x, tensors, neighbours)
    found = AGGREGATORS[name].apply(x, tensors, graph, 1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    leaves = {"x": x, **tensors}
    expected_gradients = gradients(expected, leaves)
    for key, gradient in gradients(found, leaves).items():
        torch.testing.assert_close(gradient, expected_gradients[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_linear_means_that_columns_do_not_meet(name: str, graph: Graph, x: Tensor) -> None:
    tensors = random_tensors(name, 1)
    (reach,) = torch.autograd.grad(AGGREGATORS[name].apply(x, tensors, graph, 1)[:, 0].sum(), x)
    assert AGGREGATORS[name].linear == (not reach[:, 1:].any() and not tensors)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_isolated_nodes_stay_finite_and_states_keep_their_shape(name: str, graph: Graph, x: Tensor) -> None:
    for heads in heads_of(name):
        out = AGGREGATORS[name].apply(x, random_tensors(name, heads), graph, heads)
        assert out.shape == x.shape
        assert bool(torch.isfinite(out).all())


@pytest.mark.parametrize("name", AGGREGATORS)
def test_multiply_accumulates_grow_with_every_size(name: str) -> None:
    macs = AGGREGATORS[name].macs
    base = macs(16, 2, 100, 1000)
    larger = [macs(32, 2, 100, 1000), macs(16, 2, 100, 2000)]
    if name == "identity":
        assert [base, *larger] == [0, 0, 0]
    else:
        assert 0 < base < min(larger)
        assert base <= min(macs(16, 4, 100, 1000), macs(16, 2, 200, 1000))
