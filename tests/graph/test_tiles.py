from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from nas.graph import Operator, Pattern
from nas.graph.tiles import Tiles, _count_runs


def pattern_of(nodes: int, edges: int, seed: int) -> Pattern:
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, nodes, (2, edges)) if nodes else np.zeros((2, 0), dtype=np.int64)
    adjacency = sparse.coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(nodes, nodes))
    return Pattern.from_scipy(sparse.csr_array(adjacency + adjacency.T))


def columns(tiles: Tiles) -> NDArray[np.int64]:
    """The source of each edge."""
    return np.repeat(tiles.source, np.diff(tiles.pointer)) + tiles.place[: tiles.pointer[-1]].astype(np.int64)


def arrays(pattern: Pattern) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    return pattern.pointer.numpy(), pattern.column.numpy()


@given(st.integers(1, 30), st.integers(0, 200), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_tiles_hold_every_edge_once_band_by_band_and_block_by_block(
    nodes: int, edges: int, height: int, block: int, seed: int
) -> None:
    pattern = pattern_of(nodes, edges, seed)
    tiles = Tiles.cut(*arrays(pattern), height, block)
    row = np.repeat(tiles.row, np.diff(tiles.pointer))
    column = columns(tiles)
    tile = np.stack([row // height, column // block, row, column])
    assert np.array_equal(np.lexsort(tile[::-1]), np.arange(pattern.n_edges))
    assert sorted(zip(row, column, strict=True)) == sorted(
        zip(pattern.row.tolist(), pattern.column.tolist(), strict=True)
    )
    # No run is empty, or goes on in the next one.
    assert (np.diff(tiles.pointer) > 0).all()
    first = tiles.pointer[:-1]
    same = (np.diff(tiles.row) == 0) & (np.diff(column[first] // block) == 0)
    assert not same.any()
    assert len(tiles.row) == _count_runs(*arrays(pattern), block)


@given(st.integers(1, 30), st.integers(0, 200), st.integers(1, 40), st.integers(0, 2**31))
def test_bands_hold_the_runs_of_their_rows_and_each_is_shared_out_once(
    nodes: int, edges: int, height: int, seed: int
) -> None:
    tiles = Tiles.cut(*arrays(pattern_of(nodes, edges, seed)), height, 7)
    assert (tiles.bands[0], tiles.bands[-1], tiles.runs[0], tiles.runs[-1]) == (0, nodes, 0, len(tiles.row))
    for band, (begin, end) in enumerate(zip(tiles.bands[:-1], tiles.bands[1:], strict=True)):
        rows = tiles.row[tiles.runs[band] : tiles.runs[band + 1]]
        assert ((begin <= rows) & (rows < end)).all()
    assert sorted(tiles.shares) == [(band, band + 1) for band in range(len(tiles.bands) - 1)]
    edges_of = np.diff(tiles.pointer[tiles.runs])
    assert list(edges_of[[band for band, _ in tiles.shares]]) == sorted(edges_of, reverse=True)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("height", "block"), [(1, 1), (3, 4), (100, 5), (7, 100), (100, 100)])
def test_a_product_is_the_same_to_the_bit_however_it_is_cut(height: int, block: int, threads: int) -> None:
    pattern, whole = (pattern_of(60, 500, seed=1) for _ in range(2))
    scale = torch.rand(60, generator=torch.Generator().manual_seed(1))
    x = torch.randn(60, 21, generator=torch.Generator().manual_seed(2))
    whole.__dict__["tiles"] = Tiles.cut(*arrays(pattern), 60, 60)
    pattern.__dict__["tiles"] = Tiles.cut(*arrays(pattern), height, block)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for loops in (0.0, 1.0):
            found, expected = (Operator(p, scale, 2 * scale, loops) @ x for p in (pattern, whole))
            assert torch.equal(found, expected)
    finally:
        torch.set_num_threads(before)


def test_a_small_graph_is_one_block_and_runs_of_a_larger_one_are_long() -> None:
    small = pattern_of(500, 2000, seed=0)
    tiles = Tiles.of(*arrays(small))
    assert np.array_equal(columns(tiles), small.column.numpy())
    assert not tiles.far
    large = pattern_of(12_000, 1_200_000, seed=0)
    tiles, blocks = Tiles.of(*arrays(large)), -(-12_000 // 1024)
    assert 16 <= large.n_edges / len(tiles.row) < 2 * 16
    assert len(tiles.row) == _count_runs(*arrays(large), 1024) <= 12_000 * blocks
    assert not tiles.far
    sparse_one = pattern_of(40_000, 80_000, seed=0)
    tiles = Tiles.of(*arrays(sparse_one))
    assert len(tiles.row) == _count_runs(*arrays(sparse_one), 2**14)
    assert tiles.far


@pytest.mark.parametrize("scales", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("loops", [0.0, 1.5])
@pytest.mark.parametrize("size", [64, 71])
def test_far_blocks_give_the_same_to_the_bit(loops: float, scales: tuple[bool, bool], size: int) -> None:
    pattern, near = (pattern_of(3000, 5000, seed=3) for _ in range(2))
    pattern.__dict__["tiles"] = Tiles.cut(*arrays(pattern), 700, 2200)
    near.__dict__["tiles"] = Tiles.cut(*arrays(near), 500, 100)
    assert (pattern.tiles.far, near.tiles.far) == (True, False)
    rows, columns = (torch.rand(3000) if given else None for given in scales)
    x = torch.randn(3000, size)
    found, expected = (Operator(one, rows, columns, loops) @ x for one in (pattern, near))
    assert torch.equal(found, expected)
    dense = torch.eye(3000, dtype=torch.float64) * loops
    dense[pattern.row.long(), pattern.column.long()] += 1
    scaled = x.double() if columns is None else columns[:, None] * x.double()
    product = dense @ scaled if rows is None else rows[:, None] * (dense @ scaled)
    torch.testing.assert_close(found.double(), product, rtol=1e-4, atol=1e-5)
    # Rows of a wider table too.
    wide = torch.cat([x, x], 1)
    assert torch.equal(Operator(pattern, rows, columns, loops) @ wide[:, :size], found)


def test_products_at_the_same_time_do_not_share_memory() -> None:
    pattern = pattern_of(300, 3000, seed=4)
    x = torch.randn(8, 300, 40, generator=torch.Generator().manual_seed(4))
    operator = Operator(pattern, None, torch.rand(300))
    expected = [operator @ one for one in x]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(operator.__matmul__, [one for one in x for _ in range(20)]))
    assert all(torch.equal(found[20 * n + k], expected[n]) for n in range(8) for k in range(20))


def test_no_nodes_and_no_edges() -> None:
    for nodes in (0, 5):
        tiles = Tiles.of(*arrays(pattern_of(nodes, 0, seed=0)))
        assert tiles.bands[-1] == nodes
        assert len(tiles.row) == tiles.pointer[-1] == 0
