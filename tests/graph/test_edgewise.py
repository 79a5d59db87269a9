import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from nas.graph import Graph, Pattern, edgewise
from nas.graph.edgewise import edge_softmax, gatv2_logits, propagate_edges

HEADS = [1, 2, 3]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def dense(pattern: Pattern, values: Tensor) -> Tensor:
    """The (N, N) matrix with `values` (E,) on `pattern`, differentiable."""
    empty = torch.zeros(pattern.n_nodes, pattern.n_nodes, dtype=values.dtype)
    return empty.index_put((pattern.row.long(), pattern.column.long()), values)


@pytest.fixture
def pattern(graph: Graph) -> Pattern:
    """Without loops, so that it has empty rows."""
    return graph.edges


@pytest.mark.parametrize("heads", HEADS)
def test_propagate_edges_is_a_dense_product_a_head(pattern: Pattern, heads: int) -> None:
    values, x = numbers(pattern.n_edges, heads), numbers(pattern.n_nodes, heads, 2, seed=1)
    expected = torch.stack([dense(pattern, values[:, h]) @ x[:, h] for h in range(heads)], dim=1)
    torch.testing.assert_close(propagate_edges(pattern, values, x), expected)
    assert gradcheck(lambda v, x: propagate_edges(pattern, v, x), (values, x))


@pytest.mark.parametrize("heads", HEADS)
def test_edge_softmax_is_a_dense_softmax_of_each_row(pattern: Pattern, heads: int) -> None:
    logits = numbers(pattern.n_edges, heads)
    nowhere = dense(pattern, torch.ones(pattern.n_edges)) == 0
    for h in range(heads):
        rows = dense(pattern, logits[:, h]).masked_fill(nowhere, -torch.inf).softmax(1)
        torch.testing.assert_close(
            edge_softmax(pattern, logits)[:, h], rows[pattern.row.long(), pattern.column.long()]
        )
    assert gradcheck(lambda x: edge_softmax(pattern, x), (logits,))


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_edge_softmax_sums_to_one_however_large_the_logits(pattern: Pattern, scale: float) -> None:
    logits = (scale * numbers(pattern.n_edges, 2).sign()).float().requires_grad_()
    weights = edge_softmax(pattern, logits)
    sums = torch.zeros(pattern.n_nodes, 2).index_add_(0, pattern.row, weights.detach())
    torch.testing.assert_close(sums, (pattern.degree > 0).float()[:, None].expand(-1, 2))
    (gradient,) = torch.autograd.grad(weights.square().sum(), logits)
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("chunk", [1, 7, 10_000])
def test_gatv2_logits_are_their_formula_in_chunks_of_any_size(
    pattern: Pattern, heads: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edgewise, "_EDGES_PER_CHUNK", chunk)
    source, target = numbers(pattern.n_nodes, 2 * heads), numbers(pattern.n_nodes, 2 * heads, seed=1)
    attention = numbers(heads, 2, seed=2)

    def formula(source: Tensor, target: Tensor, attention: Tensor) -> Tensor:
        joined = source[pattern.column.long()] + target[pattern.row.long()]
        active = torch.where(joined > 0, joined, 0.2 * joined).view(-1, heads, 2)
        return (active * attention).sum(-1)

    inputs = (source, target, attention)
    torch.testing.assert_close(gatv2_logits(pattern, *inputs), formula(*inputs))
    upstream = numbers(pattern.n_edges, heads, seed=3).detach()
    for found, expected in zip(
        torch.autograd.grad(gatv2_logits(pattern, *inputs), inputs, upstream),
        torch.autograd.grad(formula(*inputs), inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


def test_gatv2_logits_pass_gradcheck(pattern: Pattern, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edgewise, "_EDGES_PER_CHUNK", 7)
    inputs = (numbers(pattern.n_nodes, 4), numbers(pattern.n_nodes, 4, seed=1), numbers(2, 2, seed=2))
    assert gradcheck(lambda s, t, a: gatv2_logits(pattern, s, t, a), inputs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_values_and_gradients(pattern: Pattern) -> None:
    logits, attention = numbers(pattern.n_edges, 2), numbers(2, 2, seed=2)
    x = numbers(pattern.n_nodes, 4, seed=1)

    def everything(device: str) -> list[Tensor]:
        here = pattern.to(device)
        leaves = [t.detach().to(device).requires_grad_() for t in (x, logits, attention)]
        states, scores, vector = leaves
        edges = edge_softmax(here, scores + gatv2_logits(here, states, states, vector))
        out = propagate_edges(here, edges, states.view(here.n_nodes, 2, 2))
        return [t.cpu() for t in (out, *torch.autograd.grad(out.square().sum(), leaves))]

    for found, expected in zip(everything("cuda"), everything("cpu"), strict=True):
        torch.testing.assert_close(found, expected)
