"""Full ranking, the 20 best unseen items of every user: ours against implicit's, and against plain torch."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from generated import datasets
from implicit.cpu.topk import topk
from numpy.typing import NDArray
from scipy import sparse
from side_by_side import Data, Json, Out, Repetitions, Row, Threads, interleaved, largest, report, run
from threadpoolctl import ThreadpoolController
from torch import Tensor

from nas.data import Interactions
from nas.graph import Graph
from nas.graph.aggregators import AGGREGATORS
from nas.model.ranking import dot_scorer, top_items

K = 20
COLUMNS = 64
USERS_A_BLOCK = 1024

# (n_users, K) items, best first; -1 where no unseen item is left.
Lists = NDArray[np.int32]


def rows(name: str, interactions: Interactions, repetitions: int) -> Iterator[Row]:
    """Yield the one row of a data set."""
    users, items = final_states(interactions)
    everybody = np.arange(interactions.n_users)
    ways: dict[str, Callable[[], Lists]] = {
        "ours_ms": lambda: top_items(dot_scorer(users, items), everybody, interactions, K),
        **implicit_ways(users, items, interactions),
        "torch_ms": plain_torch(users, items, interactions),
    }
    lists = {key: way() for key, way in ways.items()}
    scores = {key: scores_of(found, users, items) for key, found in lists.items()}
    times = interleaved(ways, repetitions, warm_up=1)
    # The faster of implicit's ways is what ours has to beat.
    theirs = min((key for key in times if key.startswith("implicit")), key=times.__getitem__)
    extra = {
        "torch_ms": times["torch_ms"],
        "theirs_way": theirs,
        "share_of_equal_lists": float((lists["ours_ms"] == lists[theirs]).all(1).mean()),
    }
    difference = largest(np.abs(scores["ours_ms"] - score).max() for score in scores.values())
    yield Row("full-ranking", name, times["ours_ms"], times[theirs], difference, extra)


def final_states(interactions: Interactions) -> tuple[Tensor, Tensor]:
    """Return states of users (U, D) and items (I, D), two propagations of noise: neighbours are alike in them."""
    graph = Graph.from_interactions(interactions)
    states = torch.randn(graph.n_nodes, COLUMNS, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        states = states + AGGREGATORS["lightgcn"].apply(states, {}, graph, 1)
    states /= states.square().sum(1).mean().sqrt()
    return states[: graph.n_users].contiguous(), states[graph.n_users :].contiguous()


def implicit_ways(users: Tensor, items: Tensor, seen: Interactions) -> dict[str, Callable[[], Lists]]:
    """Return implicit's ranking, once with one BLAS thread in each of its threads, once with all.

    `topk` is what `recommend(filter_already_liked_items=True)` of its models calls and nothing is faster in it.
    """
    threads, controller = torch.get_num_threads(), ThreadpoolController()
    shape, values = (seen.n_users, seen.n_items), np.ones(len(seen), dtype=np.float32)
    liked = sparse.csr_matrix((values, seen.item, seen.offsets), shape=shape)
    user_factors, item_factors = users.numpy(), items.numpy()

    def ranking(blas_threads: int) -> Lists:
        with controller.limit(limits=blas_threads, user_api="blas"):
            found, scores = topk(item_factors, user_factors, K, filter_query_items=liked, num_threads=threads)
        # A seen item fills the list with the lowest of scores where nothing else is left.
        return np.where(scores > np.finfo(np.float32).min, found, -1).astype(np.int32)

    return {f"implicit, BLAS threads {n}": lambda n=n: ranking(n) for n in sorted({1, threads})}


def plain_torch(users: Tensor, items: Tensor, seen: Interactions) -> Callable[[], Lists]:
    """Return the loop that one writes without a library: a product a block, seen items masked, torch.topk."""
    offsets, item = seen.offsets, torch.from_numpy(seen.item.astype(np.int64))
    user = torch.from_numpy(seen.user.astype(np.int64))

    def ranking() -> Lists:
        blocks = []
        for begin in range(0, len(users), USERS_A_BLOCK):
            scores = users[begin : begin + USERS_A_BLOCK] @ items.t()
            rows_of_block = slice(offsets[begin], offsets[begin + len(scores)])
            scores[user[rows_of_block] - begin, item[rows_of_block]] = -torch.inf
            best = torch.topk(scores, min(K, scores.shape[1]), dim=1)
            blocks.append(torch.where(best.values > -torch.inf, best.indices, -1).int().numpy())
        return np.concatenate(blocks)

    return ranking


def scores_of(lists: Lists, users: Tensor, items: Tensor) -> NDArray[np.float64]:
    """Return each listed item's score, (n_users, K), 0 for none: what has to agree where equal scores may swap.

    An item that one list has and the other has not shows as a difference unless its score is equal.
    """
    wide_users, wide_items = users.double().numpy(), items.double().numpy()
    scores = np.empty(lists.shape)
    for column, listed in enumerate(lists.T):
        scores[:, column] = np.einsum("ud,ud->u", wide_users, wide_items[listed])
    return np.where(lists >= 0, scores, 0.0)


def main(
    data: Data = None,
    threads: Threads = 2,
    repetitions: Repetitions = 5,
    as_json: Json = False,
    out: Out = None,
) -> None:
    """Full ranking, the 20 best unseen items of every user: ours against implicit's, and against plain torch."""
    torch.set_num_threads(threads)
    measured = (row for name, interactions in datasets(data) for row in rows(name, interactions, repetitions))
    report(measured, as_json, out)


if __name__ == "__main__":
    run(main)
