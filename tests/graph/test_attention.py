"""The fused kernels against the same attention made of operations on edges, which has tests of its own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck

from nas.graph import Graph, Pattern, gat, gatv2
from nas.graph.edgewise import edge_softmax, gatv2_logits, propagate_edges

# Heads and columns a head; 3 heads have no fused kernel, and 10 and 21 columns are no whole number of vectors.
SHAPES = [(1, 8), (1, 5), (2, 5), (4, 4), (8, 2), (8, 1), (3, 7), (2, 64), (4, 40)]
SLOPE = 0.2


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()


def on_edges(pattern: Pattern, logits: Tensor, x: Tensor) -> Tensor:
    states = x.view(len(x), logits.shape[1], -1)
    return propagate_edges(pattern, edge_softmax(pattern, logits), states).reshape(x.shape)


def gat_on_edges(pattern: Pattern, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
    return on_edges(pattern, F.leaky_relu(source[pattern.column] + target[pattern.row], SLOPE), x)


def gatv2_on_edges(pattern: Pattern, x: Tensor, target: Tensor, attention: Tensor) -> Tensor:
    return on_edges(pattern, gatv2_logits(pattern, x, target, attention, SLOPE), x)


def gat_inputs(n: int, heads: int, size: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    return (
        numbers(n, heads * size, dtype=dtype),
        numbers(n, heads, seed=1, dtype=dtype),
        numbers(n, heads, seed=2, dtype=dtype),
    )


def gatv2_inputs(n: int, heads: int, size: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    return (
        numbers(n, heads * size, dtype=dtype),
        numbers(n, heads * size, seed=1, dtype=dtype),
        numbers(heads, size, seed=2, dtype=dtype),
    )


KINDS = {"gat": (gat, gat_on_edges, gat_inputs), "gatv2": (gatv2, gatv2_on_edges, gatv2_inputs)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("heads", "size"), SHAPES)
@pytest.mark.parametrize("looped", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_the_operations_on_edges(
    graph: Graph, kind: str, heads: int, size: int, looped: bool, dtype: torch.dtype
) -> None:
    fused, plain, make = KINDS[kind]
    # Without loops there are rows without edges.
    pattern = graph.loops if looped else graph.edges
    inputs = make(graph.n_nodes, heads, size, dtype)
    upstream = numbers(graph.n_nodes, heads * size, seed=3, dtype=dtype).detach()
    found, expected = fused(pattern, *inputs), plain(pattern, *inputs)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("heads", "size"), [(1, 3), (2, 2), (8, 1)])
def test_gradcheck(graph: Graph, kind: str, heads: int, size: int) -> None:
    fused, _plain, make = KINDS[kind]
    assert gradcheck(lambda *inputs: fused(graph.edges, *inputs), make(graph.n_nodes, heads, size))


@pytest.mark.parametrize("scale", [1.0, 40.0, 1e4])
@pytest.mark.parametrize("kind", KINDS)
def test_stable_however_large_the_logits(graph: Graph, kind: str, scale: float) -> None:
    fused, plain, make = KINDS[kind]
    x, second, third = make(graph.n_nodes, 2, 4, torch.float32)
    inputs = (x, (scale * second).detach().requires_grad_(), (scale * third).detach().requires_grad_())
    found = fused(graph.loops, *inputs)
    # Weighted means of the gathered states: never larger than the largest of them.
    assert bool((found.abs() <= x.abs().max() + 1e-4).all())
    torch.testing.assert_close(found, plain(graph.loops, *inputs), rtol=1e-3, atol=1e-3)
    gradients = torch.autograd.grad(found.square().sum(), inputs)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_not_a_number_is_not_hidden(graph: Graph, kind: str) -> None:
    fused, _plain, make = KINDS[kind]
    x, second, third = make(graph.n_nodes, 1, 8, torch.float32)
    spoilt = second.detach().clone()
    node = int(graph.edges.column[0])
    spoilt[node] = torch.nan
    assert bool(torch.isnan(fused(graph.loops, x, spoilt, third)[node]).any())


@pytest.mark.parametrize("kind", KINDS)
def test_threads_change_nothing(graph: Graph, kind: str) -> None:
    fused, _plain, make = KINDS[kind]
    inputs, before = make(graph.n_nodes, 4, 4, torch.float32), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            out = fused(graph.loops, *inputs)
            found.append((out, *torch.autograd.grad(out.square().sum(), inputs)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_cuda_gives_the_same(graph: Graph, kind: str) -> None:
    fused, _plain, make = KINDS[kind]
    inputs = make(graph.n_nodes, 2, 4)
    there = fused(graph.loops.to("cuda"), *(t.cuda() for t in inputs))
    torch.testing.assert_close(there.cpu(), fused(graph.loops, *inputs))
