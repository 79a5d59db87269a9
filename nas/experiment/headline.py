"""What a recommender is worth, in the words of those who receive it."""

from collections.abc import Mapping, Sequence
from typing import Any


def headline(
    metric: str,
    users: int,
    test: Mapping[str, float],
    baselines: Sequence[Mapping[str, Any]],
    *,
    judged: bool = True,
) -> str:
    """Say how a winner and its baselines did on test data.

    Args:
        metric: the quality that the search was for.
        users: how many were judged.
        test: the winner's metrics.
        baselines: rows {name, test, difference}, the last of (low, mean, high) by metric; those that were skipped have
            nothing in either, and the reason under `skipped`.
        judged: whether what is handed over is what was judged, and not the same fitted on more.
    """
    rows = [row for row in baselines if "skipped" not in row]
    words = [
        f"Judged once, on a test part that no choice was made on, with all items ranked but those of the history: "
        f"{metric.upper()} is {test[metric]:.4f}, the mean over {users:,} users."
    ]
    if rows:
        best = max(rows, key=lambda row: row["test"][metric])
        low, mean, high = best["difference"][metric]
        words.append(
            f"The best of {len(rows)} other models that were tuned on the same data, {best['name']}, has "
            f"{best['test'][metric]:.4f}: a lead of {mean:+.4f}, with 95 % confidence between {low:+.4f} and {high:+.4f} "
            "(paired bootstrap over users)."
        )
    words += [
        f"Recommending what is most popular has {row['test'][metric]:.4f}."
        for row in rows
        if row["name"] == "popularity"
    ]
    words.append(
        "What was judged are the very numbers in this folder, fitted on everything but the test part."
        if judged
        else "What was judged was fitted on everything but the test part; the numbers in this folder were then fitted by the "
        "same settings on all data, and nothing is left to judge them by."
    )
    return " ".join(words)
