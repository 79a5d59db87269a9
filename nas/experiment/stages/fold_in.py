"""How far the estimate of someone's initial embedding is trusted: chosen on validation data."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nas.data.interactions import Interactions
from nas.experiment.progress import stage
from nas.model.metrics import per_user
from nas.recommender import Recommender
from nas.recommender.contents import ArtefactContents
from nas.recommender.fold_in_map import fold_in_maps
from nas.recommender.recommender import Ranking
from nas.recommender.writer import assembled

# Relative to the mean squared length of a history's mean.
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_K = 20
_JUDGED = f"ndcg@{_K}"
# At most, and on how large catalogues fewer: on Gowalla's 41,000 items a list takes up to 26 ms.
_MOST_USERS, _LEAST_USERS, _SCORES = 500, 200, 10_000_000


def choose_ridge(
    contents: ArtefactContents, held: Interactions, users: NDArray[np.int64]
) -> tuple[float, dict[str, float]]:
    """Return the ridge by which users rank best when they are folded in from the histories that they were trained on.

    An embedding that was trained may know its user's history by heart. An estimate then imitates what does not
    generalise, and the less of it the better: on ML-1M, users whom NGCF had never seen had an NDCG@20 of .269 with
    a ridge of .03, of .302 with 100, and .288 when trained; LightGCN is best at .1. Trained users, judged on items that
    the training had not, find the same ridges, so nobody has to be kept out of it.

    Args:
        contents: of a network that has not seen `held`; its `fold_in` is not looked at.
        held: items that the lists are judged by.
        users: who may be asked, each with a history; at most 500 of them are, of large catalogues 200.

    Returns:
        The ridge, of RIDGES, and the NDCG@20 of these users: "ndcg@20" when folded in, "ndcg@20 if trained" otherwise.
    """
    count = min(_MOST_USERS, max(_LEAST_USERS, _SCORES // len(contents.item_ids)), len(users))
    chosen = users[np.linspace(0, len(users) - 1, count).astype(np.int64)]
    initial = contents.branches.get("graph", {}).get("initial", contents.user_embeddings)
    maps = fold_in_maps(initial, contents.item_embeddings, contents.seen_indptr, contents.seen_items, RIDGES)
    index = {item: n for n, item in enumerate(contents.item_ids)}

    def quality(rankings: list[Ranking]) -> float:
        ranked = np.full((len(chosen), _K), -1, dtype=np.int32)
        for row, ranking in zip(ranked, rankings, strict=True):
            row[: len(ranking)] = [index[one.item] for one in ranking]
        return float(per_user(ranked, chosen, held, (_K,))[_JUDGED].mean())

    def folded(model: Recommender) -> list[Ranking]:
        return [model.fold_in([contents.item_ids[item] for item in history(user)], _K) for user in chosen]

    def history(user: int) -> NDArray[np.int32]:
        part = slice(contents.seen_indptr[user], contents.seen_indptr[user + 1])
        # Where order counts, as they were had.
        ages = next((branch["ages"] for branch in contents.branches.values() if "ages" in branch), None)
        order = slice(None) if ages is None else np.argsort(-ages[part], kind="stable")
        return contents.seen_items[part][order]

    found = []
    with stage("new users", len(maps)) as steps:
        # One recommender at a time: each makes large tables of its own.
        for one in maps:
            found.append(quality(folded(assembled(replace(contents, fold_in=one)))))
            steps.advance(f"best {_JUDGED} {max(found):.4f}")
    best = int(np.argmax(found))
    own = assembled(contents).recommend_many([contents.user_ids[user] for user in chosen], _K)
    return RIDGES[best], {_JUDGED: found[best], f"{_JUDGED} if trained": quality(own)}
