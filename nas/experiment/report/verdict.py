"""What the comparison with the baselines allows to be said."""

from typing import Any, Literal

from nas.experiment.report.wording import counted, decimal, interval, listed, name_of

Outcome = Literal["winner", "baseline", "neither", "same"]

METRIC = "ndcg@20"
"""The metric of the verdict."""
MARKS: dict[Outcome, str] = {
    "winner": "\u25b2 winner better",
    "baseline": "\u25bc baseline better",
    "neither": "\u2248 undecided",
    "same": "= same scores",
}


def outcome(difference: list[float]) -> Outcome:
    """Read [low, mean, high] of winner minus baseline: who is better by the whole interval."""
    low, _, high = difference
    if low == high == 0:
        return "same"
    return "winner" if low > 0 else "baseline" if high < 0 else "neither"


def ranked(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the baselines that ran, best test NDCG@20 first."""
    return sorted((row for row in summary["baselines"] if row["test"]), key=lambda row: -row["test"][METRIC])


def skipped(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the baselines that did not run; each has its reason under `skipped`."""
    return [row for row in summary["baselines"] if not row["test"]]


def verdict(summary: dict[str, Any]) -> tuple[list[str], bool]:
    """Return the sentences, the worst news first, and whether the winner beats every baseline that ran."""
    groups: dict[Outcome, list[dict[str, Any]]] = {"baseline": [], "neither": [], "same": [], "winner": []}
    rows = ranked(summary)
    for row in rows:
        groups[outcome(row["difference"][METRIC])].append(row)
    sentences = [f"{name_of(row['name'])} is better by {_lead(row, -1)}." for row in groups["baseline"]]
    if groups["neither"]:
        rivals = [f"{name_of(row['name'])} ({_lead(row, 1)})" for row in groups["neither"]]
        sentences.append(f"Against {listed(rivals)} no difference can be claimed.")
    if groups["same"]:
        names = listed([name_of(row["name"]) for row in groups["same"]])
        sentences.append(
            f"The winner scores every test user exactly as {names}: the search found the same model."
        )
    if groups["winner"]:
        beaten = listed([f"{name_of(row['name'])} (by {_lead(row, 1)})" for row in groups["winner"]])
        sentences.append(f"The winner beats {beaten}, each with the whole 95 % interval above 0.")
    if not rows:
        sentences.append("No baseline was run, so nothing says whether the winner is good.")
    missing = skipped(summary)
    if missing:
        names = listed([name_of(row["name"]) for row in missing])
        sentences.append(f"{counted(len(missing), 'baseline').capitalize()} ({names}) did not run.")
    return sentences, bool(rows) and len(groups["winner"]) == len(rows)


def _lead(row: dict[str, Any], sign: int) -> str:
    low, mean, high = sorted(sign * value for value in row["difference"][METRIC])
    return f"{decimal(mean)} {interval(low, high)}"
