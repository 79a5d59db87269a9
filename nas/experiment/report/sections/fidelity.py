"""How far the supernet's ranking agrees with training, where that was measured."""

from typing import Any

import plotly.graph_objects as go

from nas.experiment.report.chart import COLOURS, MARKERS, chart
from nas.experiment.report.evidence import Evidence
from nas.experiment.report.markup import Html, element, paragraph, table, titled
from nas.experiment.report.wording import NOTHING, count, counted, decimal, interval, metric_name


def section(evidence: Evidence) -> Html:
    """Return scatter and table of the measurement, or how to make one."""
    found = evidence.fidelity
    if found is None:
        return titled(
            "fidelity",
            "Can the supernet be believed?",
            paragraph(
                "Not measured in this run. ",
                element("code", "nas fidelity RUN"),
                " draws architectures, trains each alone, and compares.",
            ),
        )
    each = found["seconds_each"]
    return titled(
        "fidelity",
        "Can the supernet be believed?",
        paragraph(
            f"{counted(found['n'], 'architecture').capitalize()}, drawn by seed {found['seed']} before any was trained, "
            f"each trained alone {counted(found['seeds'], 'time')} with the run's recipe. To train one took "
            f"{decimal(each['training'], 1)} s, to judge it on the supernet {decimal(each['supernet'], 3)} s. "
            f"{_verdict(found)}"
        ),
        _scatter(found),
        table(
            "Kendall's tau-b against the mean of the trainings, with 95 % intervals by a bootstrap over architectures",
            ["ranked", "by", "tau"],
            _rows(found),
        ),
    )


def _verdict(found: dict[str, Any]) -> str:
    rivals = {name: row for name, row in found["trivial"].items() if row["kendall_tau"] is not None}
    if not rivals or found["kendall_tau"] is None:
        return ""
    name = max(rivals, key=lambda key: abs(rivals[key]["kendall_tau"]))
    low, mean, _ = rivals[name]["lead"]
    shown = name.replace("_", " ") + (" (the less, the better)" if rivals[name]["kendall_tau"] < 0 else "")
    if low > 0:
        return f"It knows more than the best trivial predictor, {shown}: its tau is higher by {decimal(mean, 2)}."
    return (
        f"That it knows more than the best trivial predictor, {shown}, is not shown by these architectures."
    )


def _rows(found: dict[str, Any]) -> list[list[str]]:
    def tau(value: float | None, ends: list[float] | None = None) -> str:
        return (
            NOTHING
            if value is None
            else decimal(value, 2) + (f" {interval(ends[0], ends[1], 2)}" if ends else "")
        )

    rows = [["all", "the supernet", tau(found["kendall_tau"], found["interval"])]]
    if found["ceiling"] is not None:
        rows.append(["all", "another training seed", tau(found["ceiling"], found["ceiling_interval"])])
    for name, row in found["trivial"].items():
        rows.append(["all", name.replace("_", " "), tau(row["kendall_tau"])])
    rows.append(["the best quarter", "the supernet", tau(found["top_quarter"])])
    for name, row in found["strata"].items():
        rows.append([f"{name} ({count(row['n'])})", "the supernet", tau(row["kendall_tau"])])
    return rows


def _scatter(found: dict[str, Any]) -> Html:
    metric, figure = metric_name(found["metric"]), go.Figure()
    for number, size in enumerate(sorted({row["hidden size"] for row in found["rows"]})):
        rows = [row for row in found["rows"] if row["hidden size"] == size]
        means = [sum(row["trained"]) / len(row["trained"]) for row in rows]
        figure.add_trace(
            go.Scatter(
                x=[row["supernet"] for row in rows],
                y=means,
                error_y={
                    "array": [max(row["trained"]) - m for row, m in zip(rows, means, strict=True)],
                    "arrayminus": [m - min(row["trained"]) for row, m in zip(rows, means, strict=True)],
                    "thickness": 1,
                    "width": 0,
                },
                mode="markers",
                name=f"{size} columns",
                marker={
                    "size": 9,
                    "color": COLOURS[number % len(COLOURS)],
                    "symbol": MARKERS[number % len(MARKERS)],
                },
                text=[f"{row['id']}: {row['description']}" for row in rows],
                hovertemplate="%{text}<br>supernet %{x:.4f}, trained %{y:.4f}<extra></extra>",
            )
        )
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title_text=f"{metric} with the supernet's weights")
    figure.update_yaxes(title_text=f"{metric} trained alone")
    return chart(
        figure,
        "Each architecture on validation data; bars span its trainings. On a line: a faithful ranking.",
    )
