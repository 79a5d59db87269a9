"""Answers of an exported recommender: ours against implicit's `recommend` and faiss's flat index, on the same factors."""

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from evaluation import final_states
from generated import datasets
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy import sparse
from side_by_side import Data, Json, Out, Repetitions, Row, Threads, interleaved, largest, report, run
from threadpoolctl import threadpool_limits

from nas.data import Interactions
from nas.recommender import Recommender, recommender
from nas.recommender.contents import ArtefactContents
from nas.recommender.recommender import Best, Ranking
from nas.recommender.writer import write_artefact

K = 10
ASKED = 200  # different users of the rows for one user
IN_A_ROW = 20  # of their questions, to one way before the next has its turn

# (B, K) scores of the answers, best first.
Scores = NDArray[np.float32]
# Of some users, by place.
Answer = Callable[[NDArray[np.int64]], object]


def rows(name: str, seen: Interactions, repetitions: int, threads: int) -> Iterator[Row]:
    """Yield one user, all users, loading, and the whole process, on one data set."""
    users, items = (states.numpy() for states in final_states(seen))
    with tempfile.TemporaryDirectory() as folder:
        artefact = Path(folder) / "artefact"
        size = write_artefact(artefact, contents_of(name, users, items, seen))
        yield from questions(name, artefact, users, items, seen, repetitions, threads)
        loading = interleaved({"ours": lambda: Recommender.load(artefact)}, repetitions)
        yield Row("load", name, loading["ours"], None, None, {"artefact_bytes": size})
        command = [sys.executable, artefact / "recommender.py", "recommend", "--user", seen.user_ids[0]]
        ways = {
            "ours": lambda: subprocess.run(command, check=True, capture_output=True),
            "numpy": lambda: subprocess.run([sys.executable, "-c", "import numpy"], check=True),
        }
        times = interleaved(ways, repetitions, warm_up=1)
        yield Row("process", name, times["ours"], None, None, {"numpy_alone_ms": times["numpy"]})


def questions(
    name: str,
    artefact: Path,
    users: NDArray[np.float32],
    items: NDArray[np.float32],
    seen: Interactions,
    repetitions: int,
    threads: int,
) -> Iterator[Row]:
    """Yield the rows that others answer too; faiss leaves no seen items out, which is less work.

    One user is asked for by id and answered with names, titles and scores. All users are asked for as implicit and
    faiss are, from places to places and scores; `named_ms` is what ids, titles and names take as well.
    """
    import faiss

    model = Recommender.load(artefact)
    shape, values = (seen.n_users, seen.n_items), np.ones(len(seen), dtype=np.float32)
    liked = sparse.csr_matrix((values, seen.item, seen.offsets), shape=shape)
    index = faiss.IndexFlatIP(items.shape[1])
    with threadpool_limits(1, "blas"):  # implicit's own advice, for it has threads of its own
        theirs = AlternatingLeastSquares(num_threads=threads)
    theirs.user_factors, theirs.item_factors = users, items
    index.add(items)
    faiss.omp_set_num_threads(threads)
    histories = np.split(seen.item, seen.offsets[1:-1])

    def named_for(chosen: NDArray[np.int64]) -> list[Ranking]:
        return model.recommend_many([model.user_ids[user] for user in chosen], K)

    def one_for(chosen: NDArray[np.int64]) -> Ranking:
        return model.recommend(model.user_ids[chosen[0]], K)

    def ours_for(chosen: NDArray[np.int64]) -> list[Best]:
        return list(model.best_items(chosen, K, [histories[user] for user in chosen]))

    def implicit_for(chosen: NDArray[np.int64]) -> Scores:
        with threadpool_limits(1, "blas"):
            return np.asarray(theirs.recommend(chosen, liked[chosen], K)[1])

    def faiss_for(chosen: NDArray[np.int64]) -> Scores:
        return np.asarray(index.search(users[chosen], K)[0])

    everybody = np.arange(seen.n_users)
    drawn = np.random.default_rng(0).choice(seen.n_users, ASKED)
    one = itertools.cycle(drawn)
    others: dict[str, Answer] = {"theirs": implicit_for, "faiss": faiss_for}
    single: dict[str, Answer] = {"ours": one_for} | others
    together: dict[str, Answer] = {"ours": ours_for, "named": named_for} | others
    times = interleaved(
        {key: lambda way=way: way(np.array([next(one)])) for key, way in single.items()},
        -(-ASKED // IN_A_ROW),
        warm_up=1,
        calls=IN_A_ROW,
    )
    alone = _scores([one.score for one in one_for(drawn[n:])] for n in range(ASKED))
    yield _row("one user", name, times, largest(np.abs(alone - implicit_for(drawn)).ravel()))
    ways = {key: lambda way=way: way(everybody) for key, way in together.items()}
    times, all_scores = (
        interleaved(ways, repetitions, warm_up=1),
        _scores(one for _, one in ours_for(everybody)),
    )
    yield _row("all users", name, times, largest(np.abs(all_scores - implicit_for(everybody)).ravel()))


def _scores(lists: Iterable[Sequence[float] | Scores]) -> Scores:
    """Return (B, K); implicit fills a list with the lowest of scores where nothing is left, and so does this."""
    lowest = np.finfo(np.float32).min
    return np.array(
        [np.pad(one, (0, K - len(one)), constant_values=lowest) for one in lists], dtype=np.float32
    )


def _row(operator: str, name: str, times: dict[str, float], difference: float) -> Row:
    further = {f"{key}_ms": times[key] for key in ("named", "faiss") if key in times}
    extra = {"theirs_way": "implicit"} | further
    return Row(operator, name, times["ours"], times["theirs"], difference, extra)


def contents_of(
    name: str, users: NDArray[np.float32], items: NDArray[np.float32], seen: Interactions
) -> ArtefactContents:
    """Return what an export of these factors would hold."""
    return ArtefactContents(
        data_name=name,
        fingerprint=seen.fingerprint(),
        architecture={"factors": users.shape[1]},
        recipe={},
        metrics={},
        user_ids=seen.user_ids,
        item_ids=seen.item_ids,
        user_embeddings=users,
        item_embeddings=items,
        seen_indptr=seen.offsets,
        seen_items=seen.item,
        fold_in=np.eye(users.shape[1], dtype=np.float32),
    )


def main(
    data: Data = None,
    threads: Threads = 2,
    repetitions: Repetitions = 5,
    as_json: Json = False,
    out: Out = None,
) -> None:
    """Answers of an exported recommender: one user's ten best, all users', loading it, and a whole process."""
    torch.set_num_threads(threads)
    recommender.THREADS = threads
    with threadpool_limits(threads, "blas"):
        measured = (
            row
            for name, interactions in datasets(data)
            for row in rows(name, interactions, repetitions, threads)
        )
        report(measured, as_json, out)


if __name__ == "__main__":
    run(main)
