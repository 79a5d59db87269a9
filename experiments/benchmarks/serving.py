"""Answers of an exported recommender: ours against implicit's `recommend` and faiss's flat index, on the same factors."""

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
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
from nas.recommender.writer import ArtefactContents, write_artefact

K = 10
ASKED = 200  # different users of the rows for one user
IN_A_ROW = 20  # of their questions, to one way before the next has its turn

# (B, K) scores of the answers, best first.
Scores = NDArray[np.float32]


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
    """Yield the rows that others answer too; faiss leaves no seen items out, which is less work."""
    import faiss

    model = Recommender.load(artefact)
    shape, values = (seen.n_users, seen.n_items), np.ones(len(seen), dtype=np.float32)
    liked = sparse.csr_matrix((values, seen.item, seen.offsets), shape=shape)
    theirs, index = AlternatingLeastSquares(num_threads=threads), faiss.IndexFlatIP(items.shape[1])
    theirs.user_factors, theirs.item_factors = users, items
    index.add(items)
    faiss.omp_set_num_threads(threads)
    everybody = np.arange(seen.n_users)

    def ours_for(chosen: NDArray[np.int64]) -> Scores:
        found = model.recommend_many([model.user_ids[user] for user in chosen], K)
        # implicit fills a list with the lowest of scores where nothing is left; so do we, to compare.
        scores = np.full((len(chosen), K), np.finfo(np.float32).min)
        for row, ranking in zip(scores, found, strict=True):
            row[: len(ranking)] = [one.score for one in ranking]
        return scores

    def implicit_for(chosen: NDArray[np.int64]) -> Scores:
        with threadpool_limits(1, "blas"):  # implicit's own advice, for it has threads of its own
            return np.asarray(theirs.recommend(chosen, liked[chosen], K)[1])

    def faiss_for(chosen: NDArray[np.int64]) -> Scores:
        return np.asarray(index.search(users[chosen], K)[0])

    drawn = np.random.default_rng(0).choice(seen.n_users, ASKED)
    turns = (("one user", drawn, -(-ASKED // IN_A_ROW), IN_A_ROW), ("all users", everybody, repetitions, 1))
    for operator, asked, times, calls in turns:
        one = itertools.cycle(drawn)
        chosen = (lambda one=one: np.array([next(one)])) if operator == "one user" else (lambda: everybody)
        ways: dict[str, Callable[[], Scores]] = {
            "ours": lambda chosen=chosen: ours_for(chosen()),
            "implicit": lambda chosen=chosen: implicit_for(chosen()),
            "faiss": lambda chosen=chosen: faiss_for(chosen()),
        }
        median = interleaved(ways, times, warm_up=1, calls=calls)
        difference = largest(np.abs(ours_for(asked) - implicit_for(asked)).ravel())
        extra = {"theirs_way": "implicit", "faiss_ms": median["faiss"]}
        yield Row(operator, name, median["ours"], median["implicit"], difference, extra)


def contents_of(
    name: str, users: NDArray[np.float32], items: NDArray[np.float32], seen: Interactions
) -> ArtefactContents:
    """Return what an export of these factors would hold."""
    return ArtefactContents(
        data_name=name,
        fingerprint=seen.fingerprint(),
        interactions=len(seen),
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
