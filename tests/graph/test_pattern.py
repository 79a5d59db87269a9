import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from nas.graph import Pattern

edges = st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=30)


def symmetric(pairs: set[tuple[int, int]]) -> "sparse.csr_array":
    dense = np.zeros((9, 9), dtype=np.float32)
    for row, column in pairs:
        dense[row, column] = dense[column, row] = 1.0
    return sparse.csr_array(dense)


@given(edges)
@settings(max_examples=50)
def test_reverse_is_the_opposite_edge(pairs: set[tuple[int, int]]) -> None:
    pattern = Pattern.from_scipy(symmetric(pairs))
    assert torch.equal(pattern.row[pattern.reverse], pattern.column)
    assert torch.equal(pattern.column[pattern.reverse], pattern.row)


@given(edges)
@settings(max_examples=50)
def test_rows_and_columns_are_those_of_the_matrix_in_order(pairs: set[tuple[int, int]]) -> None:
    adjacency = symmetric(pairs)
    pattern = Pattern.from_scipy(adjacency)
    found = list(zip(pattern.row.tolist(), pattern.column.tolist(), strict=True))
    assert found == [(int(r), int(c)) for r, c in np.argwhere(adjacency.toarray())]
    assert np.array_equal(pattern.degree.numpy(), adjacency.toarray().sum(1))
    assert (pattern.n_nodes, pattern.n_edges) == (9, len(found))


def test_columns_of_an_unsorted_matrix_are_sorted() -> None:
    unsorted = sparse.csr_array(
        (np.ones(4, dtype=np.float32), np.array([2, 1, 0, 0]), np.array([0, 2, 3, 4])), shape=(3, 3)
    )
    pattern = Pattern.from_scipy(unsorted)
    assert pattern.column.tolist() == [1, 2, 0, 0]
    assert pattern.reverse.tolist() == [2, 3, 0, 1]


def test_indices_are_int32() -> None:
    pattern = Pattern.from_scipy(symmetric({(0, 1), (2, 3)}))
    assert {t.dtype for t in (pattern.pointer, pattern.column, pattern.row)} == {torch.int32}
