"""The compiled top k against a sort of the whole row, and the full ranking on any blocks and threads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nas.data import Interactions
from nas.model import ranking
from nas.model.ranking import DivergedError, dot_scorer, top_items
from nas.model.topk import top_unseen

Case = tuple[NDArray[Any], NDArray[np.bool_]]
MakeInteractions = Callable[..., Interactions]

LEVELS = {
    "ties": [-1.0, 0.0, -0.0, 2.0],
    "one": [0.0],
    "infinite": [-np.inf, -1.0, 1.0, np.inf],
    "nothing but infinity": [-np.inf, np.inf],
    "hardly any finite": [-np.inf] * 30 + [3.0, 5e-324],
    "many": [],
}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Scores with ties and infinities; which of them are seen: by nobody, by some, all by some."""
    n_users = draw(st.integers(1, 5))
    # Below and above a chunk, a lane round, and multiples of both.
    n_items = draw(st.integers(1, 12) | st.integers(60, 70) | st.integers(500, 1100) | st.just(1024))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = LEVELS[draw(st.sampled_from(sorted(LEVELS)))]
    shape = (n_users, n_items)
    scores = rng.choice(levels, shape) if levels else rng.normal(size=shape)
    if draw(st.booleans()):
        scores.sort()
    seen = rng.random(shape) < rng.choice([0, 0.3, 1], (n_users, 1))
    return scores.astype(draw(st.sampled_from([np.float32, np.float64]))), seen


def pairs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    return [(int(u), int(i)) for u, i in np.argwhere(mask)]


def oracle(scores: NDArray[Any], seen: NDArray[np.bool_], k: int) -> list[list[int]]:
    """The first k of each row's unseen items sorted by (-score, index), -inf left out, filled with -1."""
    ranked = []
    for row, mask in zip(scores.tolist(), seen, strict=True):
        left = [i for i in range(len(row)) if not mask[i] and row[i] > -np.inf]
        best = sorted(left, key=lambda i: (-row[i], i))[:k]
        ranked.append(best + [-1] * (k - len(best)))
    return ranked


def run(scores: NDArray[Any], seen: NDArray[np.bool_], k: int) -> tuple[bool, list[list[int]]]:
    ends = seen.sum(1).cumsum()
    best = np.full((len(scores), k), 7, dtype=np.int32)
    item = np.nonzero(seen)[1].astype(np.int32)
    numbers = top_unseen(scores.copy(), ends - seen.sum(1), ends, item, best)
    return numbers, best.tolist()


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


@given(case=cases(), k=st.integers(1, 25) | st.sampled_from([600, 1200]))
@settings(max_examples=300)
def test_the_list_is_the_head_of_the_sorted_row(case: Case, k: int) -> None:
    scores, seen = case
    numbers, best = run(scores, seen, k)
    assert numbers
    assert best == oracle(scores, seen, k)


@pytest.mark.parametrize("k", [1, 20, 100])
def test_the_order_of_the_scores_changes_nothing(k: int) -> None:
    rising = np.arange(5000, dtype=np.float32)
    # 512 lanes: the best scores all share the first one, and then the first 30.
    one_lane, some_lanes = (np.where(rising % 512 < n, rising, -rising) for n in (1, 30))
    scores = np.stack([rising, -rising, np.zeros_like(rising), one_lane, some_lanes, rising // 100])
    nothing = np.zeros(scores.shape, dtype=bool)
    assert run(scores, nothing, k) == (True, oracle(scores, nothing, k))


@given(case=cases(), data=st.data())
@settings(max_examples=200)
def test_one_score_that_is_not_a_number_is_found_wherever_it_is(case: Case, data: st.DataObject) -> None:
    scores, seen = case
    row, item = (data.draw(st.integers(0, size - 1)) for size in scores.shape)
    scores[row, item] = data.draw(st.sampled_from([np.nan, -np.nan]))
    assert not run(scores, seen, data.draw(st.integers(1, 25)))[0]


@given(
    case=cases(),
    k=st.integers(1, 25),
    rows=st.integers(1, 6),
    count=st.integers(1, 4),
    layout=st.sampled_from(["contiguous", "transposed", "sliced"]),
    seed=st.integers(0, 9),
)
@settings(max_examples=150)
def test_full_ranking_is_the_same_for_any_blocks_threads_and_layout(
    case: Case, k: int, rows: int, count: int, layout: str, seed: int, make_interactions: MakeInteractions
) -> None:
    scores, seen = case
    users = np.random.default_rng(seed).integers(0, len(scores), 7)
    table = torch.from_numpy(scores)

    def scorer(block: torch.Tensor) -> torch.Tensor:
        found = table[block]
        if layout == "transposed":
            return found.t().contiguous().t()
        return torch.cat([found, found], 1)[:, : found.shape[1]] if layout == "sliced" else found

    with threads(count), pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_BLOCK_USERS", rows)
        found = top_items(scorer, users, make_interactions(pairs(seen), *scores.shape), k)
    assert found.dtype == np.int32
    assert found.tolist() == oracle(scores[users], seen[users], k)


@given(case=cases(), k=st.integers(1, 25))
@settings(max_examples=50)
def test_scores_that_no_kernel_takes_are_ranked_by_torch(
    case: Case, k: int, make_interactions: MakeInteractions
) -> None:
    scores, seen = case
    half = torch.from_numpy(scores).half()
    found = top_items(
        half.__getitem__, np.arange(len(scores)), make_interactions(pairs(seen), *scores.shape), k
    )
    assert found.tolist() == oracle(half.double().numpy(), seen, k)


@pytest.mark.parametrize("count", [1, 2])
def test_divergence_in_any_block_raises_and_threads_come_back(
    count: int, make_interactions: MakeInteractions
) -> None:
    for bad in range(6):
        scores = torch.zeros(6, 4)
        scores[bad, 1] = torch.nan
        with threads(count), pytest.MonkeyPatch.context() as patch:
            patch.setattr(ranking, "_BLOCK_USERS", 1)
            with pytest.raises(DivergedError, match="diverged"):
                top_items(scores.__getitem__, np.arange(6), make_interactions([(0, 1)], 6, 4), 2)


def test_a_shared_row_of_scores_is_not_overwritten(make_interactions: MakeInteractions) -> None:
    row = torch.tensor([3.0, 2.0, 1.0])
    history = make_interactions([(0, 0), (1, 1)], 2, 3)
    found = top_items(lambda block: row.expand(len(block), 3), np.arange(2), history, 3)
    assert found.tolist() == [[1, 2, -1], [0, 2, -1]]
    assert row.tolist() == [3, 2, 1]


def test_nobody_is_ranked_where_nobody_is_asked_for(make_interactions: MakeInteractions) -> None:
    found = top_items(lambda block: torch.ones(len(block), 4), np.arange(0), make_interactions([], 3, 4), 2)
    assert found.shape == (0, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dot_scores_by_tiles_are_the_whole_product(
    dtype: torch.dtype, make_interactions: MakeInteractions
) -> None:
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(n, 3, generator=generator, dtype=dtype) for n in (300, 5000))
    scorer = dot_scorer(users, items)
    for block in (torch.arange(2), torch.arange(290, 300), torch.tensor([7])):
        torch.testing.assert_close(scorer(block), users[block] @ items.t())
    # Blocks of several threads at once: each thread writes into scores of its own.
    seen = make_interactions([(u, 3 * u) for u in range(300)], 300, 5000)
    product, mask = (users @ items.t()).numpy(), np.zeros((300, 5000), dtype=bool)
    mask[seen.user, seen.item] = True
    for count in (1, 3):
        with threads(count):
            found = top_items(dot_scorer(users, items), np.arange(300), seen, 5)
        assert found.tolist() == oracle(product, mask, 5)
