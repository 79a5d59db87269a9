"""The candidates that were trained from scratch."""

from typing import Any

import plotly.graph_objects as go

from nas.experiment.report.chart import COLOURS, MARKERS, chart
from nas.experiment.report.evidence import Evidence, training_name
from nas.experiment.report.markup import Html, paragraph, table, titled
from nas.experiment.report.wording import NOTHING, count, counted, decimal, duration, metric_name, size

_LINES = 12


def section(evidence: Evidence) -> Html:
    """Return what the supernet promised and what training from scratch gave, with learning curves."""
    metric, results = evidence.objectives[0], evidence.retrained
    shown = metric_name(metric)
    winners = frozenset(
        n for n, result in enumerate(results) if training_name(result) == evidence.winner_name
    )
    later = len(results) - evidence.summary["retrain"]["candidates"]
    extra = f" {counted(later, 'more').capitalize()} trained later, on request." if later == 1 else ""
    extra = f" {later} more were trained later, on request." if later > 1 else extra
    table_header = [
        "architecture",
        "id",
        f"{shown} of its network in the supernet",
        "trained",
        "with all branches",
        "epochs",
        "parameters",
        "MACs a refresh",
        "time",
    ]
    return titled(
        "retrained",
        "Trained from scratch",
        paragraph(
            f"The graph branches with the best {shown} by themselves were trained from scratch; the best of these and of what competed with them won on validation data.{extra}"
        ),
        table(
            f"{shown} on validation data: of the graph branch alone, as the search had it and trained from scratch, and "
            "of the whole, its branches weighed anew",
            table_header,
            [_row(evidence, result, n in winners) for n, result in enumerate(results)],
            winners,
        ),
        _curves(evidence),
    )


def _row(evidence: Evidence, result: dict[str, Any], won: bool) -> list[str]:
    metric, trial = evidence.objectives[0], evidence.trial(result["id"])
    promised = evidence.promised(result)
    costs = (trial or {}) | result.get("costs", {})
    spread = result.get("spread", {}).get(metric, 0.0)
    several = len(result.get("seeds", [])) > 1
    return [
        "\u2605 " * won + result["description"],
        training_name(result),
        NOTHING if promised is None else decimal(promised),
        NOTHING if result.get("graph") is None else decimal(result["graph"][metric]),
        decimal(result["validation"][metric]) + (f" \u00b1 {decimal(spread)}" if several else ""),
        count(result["epochs"]),
        count(costs["parameters"]) if "parameters" in costs else NOTHING,
        size(costs["refresh_macs"]) if "refresh_macs" in costs else NOTHING,
        duration(result["seconds"]),
    ]


def _curves(evidence: Evidence) -> Html:
    metric = metric_name(evidence.objectives[0])
    figure = go.Figure()
    for number, result in enumerate(evidence.retrained[:_LINES]):
        won = training_name(result) == evidence.winner_name
        colour, symbol = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        figure.add_trace(
            go.Scatter(
                x=[epoch for epoch, _ in result["curve"]],
                y=[value for _, value in result["curve"]],
                mode="lines+markers",
                name="\u2605 " * won + training_name(result),
                line={
                    "color": colour,
                    "width": 3 if won else 2,
                    "dash": "solid" if number < len(COLOURS) else "dot",
                },
                marker={"size": 6, "symbol": symbol},
                hovertemplate=f"{training_name(result)}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
            )
        )
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title_text="epoch", rangemode="tozero")
    figure.update_yaxes(title_text=f"{metric} on validation")
    first = f" of the best {_LINES}" if len(evidence.retrained) > _LINES else ""
    return chart(
        figure, f"Learning curves{first}, first seed of each; training stops when they stay flat.", 400
    )
