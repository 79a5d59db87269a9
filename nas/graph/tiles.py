"""The edges of a pattern in the order in which a product reads them, so that what it reads is near.

A product adds up rows of a table that is larger than the cache nearest to a core, and may be far larger than all of them
(35 MB for 140,000 users and 64 columns). So the targets are cut into bands and the sources into blocks, and edges are
kept band by band, within it block by block, within that row by row. A row's edges within a block are a run. Sources
still come in increasing order for each row, and sums are the same to the bit.

A product of 64 columns on 2 threads of an AMD EPYC, against one block of all sources: on ML-1M 2.1 ms instead of 2.6, on
5 million generated interactions (30,000 x 10,000) 15 instead of 20, on 20 million (138,493 x 26,744) 80 instead of 330
(the latter by an earlier kernel). Where runs would be short, blocks are larger; what is left to gain there comes from the
bands: a thread that is done takes the next one.

Shape suffixes: N nodes, E directed edges, B bands, R runs.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.graph.compiled import compiled

# Rows of 64 float32 columns are 256 bytes: a block of 512 is an eighth of a megabyte.
_SMALLEST_BLOCK, _LARGEST_BLOCK = 2**9, 2**14
# Blocks up to here are in reach of a core: rows are packed for it, and to ask for them before their turn would only cost
# instructions. Beyond, packing costs more than it brings (Gowalla: 7 ms a product without, 9 with).
_NEAR_BLOCK = 2**11
# Each run reads and writes the sum so far: mean number of edges from which that does not matter.
_LONG_RUN = 16
# Edges between a row's fetch into the cache and its use: on Gowalla's graph 9 ms instead of 15 a sum.
AHEAD = 16
_BANDS, _SMALLEST_BAND, _LARGEST_BAND = 32, 2**9, 2**12


@dataclass(frozen=True, eq=False)
class Tiles:
    """Runs of edges, in order.

    Attributes:
        bands: (B + 1,) int64, the rows at which each band starts.
        runs: (B + 1,) int64, the run at which each band starts.
        row: (R,) int32, the target of each run.
        pointer: (R + 1,) int32, where the edges of each run start.
        source: (R,) int32, the first node of the block that the run's sources are in.
        place: (E + AHEAD,) uint16, how far from there the source of each edge is; what comes after the edges is
            only asked for in advance.
        far: whether blocks are larger than what is in reach of a core.
    """

    bands: NDArray[np.int64]
    runs: NDArray[np.int64]
    row: NDArray[np.int32]
    pointer: NDArray[np.int32]
    source: NDArray[np.int32]
    place: NDArray[np.uint16]
    far: bool

    @classmethod
    def of(cls, pointer: NDArray[np.int32], column: NDArray[np.int32]) -> "Tiles":
        """Cut a CSR pattern, (N + 1,) and (E,), whose columns increase within a row."""
        nodes, block = len(pointer) - 1, _SMALLEST_BLOCK
        while block < min(nodes, _LARGEST_BLOCK) and len(column) < _LONG_RUN * _count_runs(
            pointer, column, block
        ):
            block *= 2
        height = min(max(nodes // _BANDS, _SMALLEST_BAND), _LARGEST_BAND)
        return cls.cut(pointer, column, height, block)

    @classmethod
    def cut(cls, pointer: NDArray[np.int32], column: NDArray[np.int32], height: int, block: int) -> "Tiles":
        """Cut it into bands of `height` rows and blocks of `block` columns, 2**16 at most."""
        nodes = len(pointer) - 1
        bands = np.minimum(np.arange(0, nodes + height, height), nodes)
        tiled = _tile(pointer, column, bands, block, _count_runs(pointer, column, block))
        return cls(bands, *tiled, block > _NEAR_BLOCK)

    @cached_property
    def shares(self) -> list[tuple[int, int]]:
        """The bands one by one, those with the most edges first, so that threads end at about the same time."""
        edges = np.diff(self.pointer[self.runs])
        return [(int(band), int(band) + 1) for band in np.argsort(-edges, kind="stable")]


@compiled
def _count_runs(pointer, column, block):
    count = 0
    for row in range(len(pointer) - 1):
        limit = 0
        for edge in range(pointer[row], pointer[row + 1]):
            if column[edge] >= limit:
                count += 1
                limit = (column[edge] // block + 1) * block
    return count


@compiled
def _tile(pointer, column, bands, block, n_runs):
    nodes = len(pointer) - 1
    runs = np.zeros(len(bands), np.int64)
    row, source = np.empty(n_runs, np.int32), np.empty(n_runs, np.int32)
    starts = np.empty(n_runs + 1, np.int32)
    ordered, begin = np.zeros(len(column) + AHEAD, np.uint16), pointer.copy()
    run, place = 0, 0
    for band in range(len(bands) - 1):
        for first in range(0, nodes, block):
            for r in range(bands[band], bands[band + 1]):
                edge, end = begin[r], pointer[r + 1]
                if edge == end or column[edge] >= first + block:
                    continue
                row[run], source[run], starts[run] = r, first, place
                run += 1
                while edge < end and column[edge] < first + block:
                    ordered[place] = column[edge] - first
                    place += 1
                    edge += 1
                begin[r] = edge
        runs[band + 1] = run
    starts[run] = place
    return runs, row, starts, source, ordered
