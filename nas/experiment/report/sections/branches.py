"""The closed-form branches, as they were settled before the search."""

from typing import Any

from nas.experiment.report.architecture_words import branches_of, weights_of
from nas.experiment.report.evidence import Evidence
from nas.experiment.report.markup import Html, paragraph, table, titled
from nas.experiment.report.wording import NOTHING, count, decimal, duration, listed, metric_name, name_of


def section(evidence: Evidence) -> Html:
    """Return what each branch is worth alone and beside the tuned LightGCN, and its weight in the winner."""
    branches: dict[str, dict[str, Any]] = evidence.summary.get("branches") or {}
    if not branches:
        return Html("")
    metric = evidence.objectives[0]
    winner = evidence.winner["architecture"]
    weights = weights_of(winner) or dict.fromkeys(branches_of(winner), 1.0)
    rows = [_row(name, result, metric, weights.get(name, 0.0)) for name, result in branches.items()]
    return titled(
        "branches",
        "Branches beside the graph branch",
        paragraph(
            "Their settings were chosen on validation data, before the search, by what each is worth beside the tuned "
            f"LightGCN, the user branch beside the others as well, or alone, whichever is more.{_kinds(branches.get('item', {}))}"
            f"{_together(branches)}"
        ),
        table(
            f"{metric_name(metric)} on validation data of the branches as they were settled, and their weights in the winner",
            [
                "branch",
                "alone",
                "beside others, or alone",
                "weight in the winner",
                "settings",
                "tried",
                "time",
            ],
            rows,
        ),
    )


def _row(name: str, result: dict[str, Any], metric: str, weight: float) -> list[str]:
    if "skipped" in result:
        return [name, *[NOTHING] * 3, f"skipped: {result['skipped']}", NOTHING, duration(result["seconds"])]
    return [
        name,
        decimal(result["alone"][metric]),
        decimal(result["validation"][metric]),
        f"{weight:.3g}" if weight else NOTHING,
        _settings(result["settings"]),
        count(result["tried"]),
        duration(result["seconds"]),
    ]


def _kinds(item: dict[str, Any]) -> str:
    found = item.get("beside_all")
    if not found:
        return ""
    ordered = sorted(found.items(), key=lambda one: -one[1])
    told = listed([f"{name_of(kind)} {decimal(value)}" for kind, value in ordered])
    return f" Beside all branches, the kinds of item weights that come close have {told}."


def _together(branches: dict[str, dict[str, Any]]) -> str:
    changed = {name: result["together"] for name, result in branches.items() if "together" in result}
    if not changed:
        return ""
    told = listed(
        [f"{name} ({decimal(before)}, then {decimal(after)})" for name, (before, after) in changed.items()]
    )
    return f" Chosen once more, by what all branches are worth together, were the settings of: {told}."


def _settings(settings: dict[str, Any]) -> str:
    """Return what is switched on: 0 means that a setting does nothing, or keeps all."""
    kind = str(settings.get("kind", ""))
    shown = {key: value for key, value in settings.items() if value and key != "kind"}
    if kind != "slim":
        shown.pop("l1", None)
    return ", ".join(
        [name_of(kind)] * bool(kind) + [f"{k.replace('_', ' ')} {v:g}" for k, v in shown.items()]
    )
