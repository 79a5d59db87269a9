"""Who is served by the winner and by the baselines."""

from typing import Any

from nas.experiment.report.evidence import Evidence
from nas.experiment.report.markup import Html, paragraph, table, titled
from nas.experiment.report.verdict import ranked
from nas.experiment.report.wording import NOTHING, count, decimal, metric_name, name_of

_BEYOND = ("coverage", "gini", "novelty", "diversity")


def section(evidence: Evidence) -> Html:
    """Return quality by users' activity and items' popularity, and what the lists are like beyond accuracy."""
    winner, metric = evidence.winner, evidence.objectives[0]
    length = metric.partition("@")[2]
    rows = [("\u2605 winner", winner), *((name_of(row["name"]), row) for row in ranked(evidence.summary))]
    shown = [key for name in _BEYOND if (key := f"{name}@{length}") in winner["test"]]
    parts = []
    if "groups" in winner:
        groups = winner["groups"]
        header = [f"{part['from']}\u2013{part['to']} interactions" for part in groups["activity"]]
        kinds = ["the most popular", "those between", "the long tail"]
        parts = [
            table(
                f"{metric_name(metric)} on test by quarters of the users, least active first",
                ["model", *header],
                [[name, *_cells(row, "activity", "mean")] for name, row in rows],
                frozenset({0}),
            ),
            table(
                f"Share of the test interactions that the lists of {length} hold, by thirds of the training interactions",
                [
                    "model",
                    *(
                        f"{kind}: {count(p['items'])}"
                        for kind, p in zip(kinds, groups["popularity"], strict=True)
                    ),
                ],
                [[name, *_cells(row, "popularity", "found")] for name, row in rows],
                frozenset({0}),
            ),
        ]
    return titled(
        "groups",
        "Who is served",
        *parts,
        table(
            "The lists beyond accuracy: share of the catalogue shown, how unequally (0 to 1), bits of surprise, and how "
            "unlike the items of a list are (0 to 1)",
            ["model", *(metric_name(key) for key in shown)],
            [[name, *(_value(row["test"].get(key)) for key in shown)] for name, row in rows],
            frozenset({0}),
        )
        if shown
        else paragraph("Nothing but accuracy was measured."),
    )


def _cells(row: dict[str, Any], group: str, key: str) -> list[str]:
    return [_value(part[key]) for part in row.get("groups", {}).get(group, [])]


def _value(value: float | None) -> str:
    return NOTHING if value is None else decimal(value)
