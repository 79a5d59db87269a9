import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from nas.graph import Graph, Operator


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()


def dense(operator: Operator) -> Tensor:
    """The operator's matrix, by its definition."""
    pattern = operator.pattern
    matrix = torch.zeros(pattern.n_nodes, pattern.n_nodes, dtype=torch.float64)
    matrix[pattern.row.long(), pattern.column.long()] = 1.0
    matrix += operator.loops * torch.eye(pattern.n_nodes, dtype=torch.float64)
    if operator.rows is not None:
        matrix = operator.rows[:, None] * matrix
    return matrix if operator.columns is None else matrix * operator.columns


def operators(graph: Graph) -> list[Operator]:
    rows, columns = (numbers(graph.n_nodes, seed=seed).detach() for seed in (8, 9))
    scales = [(None, None), (rows, None), (None, columns), (rows, columns), (rows, rows)]
    return [Operator(graph.edges, *pair, loops=loops) for pair in scales for loops in (0.0, 0.7)]


@pytest.mark.parametrize("case", range(10))
def test_a_product_is_the_dense_product_and_passes_gradcheck(graph: Graph, case: int) -> None:
    operator, x = operators(graph)[case], numbers(graph.n_nodes, 4, seed=1)
    torch.testing.assert_close((operator @ x), dense(operator) @ x)
    torch.testing.assert_close(operator.transpose @ x.detach(), dense(operator).t() @ x.detach())
    assert gradcheck(lambda x: operator @ x, (x,))


@pytest.mark.parametrize("columns", [1, 2, 3, 7, 8, 15, 16, 33, 64, 127, 128, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number_of_columns(graph: Graph, columns: int, dtype: torch.dtype) -> None:
    operator, x = operators(graph)[7], numbers(graph.n_nodes, columns, dtype=dtype).detach()
    found = operator @ x
    assert found.dtype == dtype
    torch.testing.assert_close(found, (dense(operator) @ x.double()).to(dtype))


def test_a_product_takes_slices_and_gradients_that_are_not_contiguous(graph: Graph) -> None:
    operator, x = operators(graph)[6], numbers(graph.n_nodes, 6, seed=1)
    for piece in (slice(0, 3), slice(2, 5), slice(0, 6, 2)):
        expected = torch.autograd.grad((dense(operator) @ x[:, piece]).t().square().sum(), x)
        torch.testing.assert_close(
            torch.autograd.grad((operator @ x[:, piece]).t().square().sum(), x), expected
        )
    upstream = torch.ones(()).expand(graph.n_nodes, 6).double()
    (gradient,) = torch.autograd.grad((operator @ x), x, upstream)
    torch.testing.assert_close(gradient, dense(operator).t() @ upstream)


def test_a_slice_of_the_product_is_the_product_of_the_slice_to_the_bit(graph: Graph) -> None:
    x = numbers(graph.n_nodes, 100, dtype=torch.float32).detach()
    wide = graph.symmetric @ x
    for size in (1, 16, 31, 64, 96):
        assert torch.equal(wide[:, :size], graph.symmetric @ x[:, :size])


def test_self_loops_of_a_learned_weight_pass_gradcheck(graph: Graph) -> None:
    x, loops = numbers(graph.n_nodes, 4), torch.tensor([1.3], dtype=torch.float64, requires_grad=True)
    found = graph.sum.with_loops(x, loops)
    torch.testing.assert_close(found, dense(graph.sum) @ x + loops * x)
    assert gradcheck(graph.sum.with_loops, (x, loops))
    with pytest.raises(ValueError, match="without scales"):
        graph.mean.with_loops(x, loops)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_values_and_gradients(graph: Graph) -> None:
    x = numbers(graph.n_nodes, 4)
    for operator in operators(graph):
        scales = [None if s is None else s.cuda() for s in (operator.rows, operator.columns)]
        there = Operator(operator.pattern.to("cuda"), *scales, loops=operator.loops)
        out = there @ x.cuda()
        torch.testing.assert_close(out.cpu(), (operator @ x))
        found = torch.autograd.grad(out.square().sum(), x)
        torch.testing.assert_close(found, torch.autograd.grad((operator @ x).square().sum(), x))
