import pytest
import torch
from torch import Tensor

from nas.graph.pairs import add_weighted_rows, dots

pytestmark = pytest.mark.usefixtures("threads")


def pairs(n: int, columns: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Rows of a and b that repeat, and a weight a pair."""
    generator = torch.Generator().manual_seed(n + columns)
    a, b = (torch.randn(size, columns, generator=generator, dtype=dtype) for size in (5, 7))
    rows = [torch.randint(size, (n,), generator=generator) for size in (5, 7)]
    return a, rows[0], b, rows[1], torch.randn(n, generator=generator, dtype=dtype)


@pytest.mark.parametrize("n", [0, 1, 40])
@pytest.mark.parametrize("columns", [1, 7, 64, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dots_and_weighted_sums_are_those_of_gathered_rows(n: int, columns: int, dtype: torch.dtype) -> None:
    a, a_row, b, b_row, weight = pairs(n, columns, dtype)
    torch.testing.assert_close(dots(a, a_row, b, b_row), (a[a_row] * b[b_row]).sum(1))
    found, expected = a.clone(), a.clone()
    add_weighted_rows(found, a_row, weight, b, b_row)
    torch.testing.assert_close(found, expected.index_add_(0, a_row, weight[:, None] * b[b_row]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same() -> None:
    a, a_row, b, b_row, weight = (t.cuda() for t in pairs(40, 16, torch.float32))
    torch.testing.assert_close(
        dots(a, a_row, b, b_row).cpu(), dots(a.cpu(), a_row.cpu(), b.cpu(), b_row.cpu())
    )
    found = a.clone()
    add_weighted_rows(found, a_row, weight, b, b_row)
    torch.testing.assert_close(found, a.clone().index_add_(0, a_row, weight[:, None] * b[b_row]))
