"""What a recommender is worth, in the words of those who receive it."""

from collections.abc import Mapping, Sequence
from typing import Any


def headline(
    metric: str,
    users: int,
    test: Mapping[str, float],
    baselines: Sequence[Mapping[str, Any]],
) -> str:
    """Say how a winner and its baselines did on test data.

    Args:
        metric: the quality that the search was for.
        users: how many were judged.
        test: the winner's metrics.
        baselines: rows {name, test, difference}, the last of (low, mean, high) by metric; those that were skipped have
            nothing in either, and the reason under `skipped`.
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
    return " ".join(words)


def fitted_on(everything: str | None) -> str:
    """Say what the numbers that are handed over were fitted on.

    Args:
        everything: what all of the data is; None where a test part was held out of it.
    """
    if everything is None:
        return "What was judged are the very numbers in this folder, fitted on everything but the test part."
    return (
        f"The numbers in this folder were fitted by the same settings on all {everything}, after what was judged was fitted "
        "on the search's training and validation part: nothing is left to judge them by."
    )
