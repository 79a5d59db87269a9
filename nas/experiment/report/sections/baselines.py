"""The winner among the baselines, whoever is ahead."""

from typing import Any

import plotly.graph_objects as go

from nas.experiment.report.chart import COLOURS, INK, chart
from nas.experiment.report.evidence import Evidence
from nas.experiment.report.markup import Html, element, paragraph, table, titled
from nas.experiment.report.verdict import MARKS, METRIC, outcome, ranked, skipped
from nas.experiment.report.wording import NOTHING, decimal, duration, interval, metric_name, name_of

_SHOWN = ("ndcg@20", "recall@20")


def section(evidence: Evidence) -> Html:
    """Return the table of all models and the plot of their intervals."""
    summary = evidence.summary
    rows = [_winner_row(evidence), *map(_row, ranked(summary)), *map(_skipped_row, skipped(summary))]
    header = ["model", "who is better"]
    for name in _SHOWN:
        header += [metric_name(name), "difference [95 % interval]"]
    plot = [_forest(evidence)] if ranked(summary) else []
    return titled(
        "baselines",
        "Baselines",
        paragraph(
            "A difference is winner minus baseline: above 0 the winner is better, below 0 the baseline is. LightGCN was "
            "tuned by the trials that chose the recipe."
        ),
        table(
            f"Test data, {summary['test_users']:,} users: the winner, then the baselines by {metric_name(METRIC)}",
            [*header, "settings", "tried", "time"],
            rows,
            frozenset({0}),
        ),
        *plot,
    )


def _winner_row(evidence: Evidence) -> list[str]:
    summary, winner = evidence.summary, evidence.winner
    seconds = summary.get("seconds", {})
    total = sum(seconds.get(stage, 0.0) for stage in ("recipe", "supernet", "branches", "search", "retrain"))
    cells: list[str] = []
    for name in _SHOWN:
        cells += [decimal(winner["test"][name]), NOTHING]
    settings = {"architecture": winner["id"], "epochs": winner["epochs"]}
    tried = f"{summary['search']['trials']:,}"
    return ["\u2605 winner", NOTHING, *cells, _settings(settings), tried, duration(total)]


def _row(row: dict[str, Any]) -> list[str]:
    result = outcome(row["difference"][METRIC])
    cells: list[str] = []
    for name in _SHOWN:
        low, mean, high = row["difference"][name]
        cells += [decimal(row["test"][name]), f"{decimal(mean, signed=True)} {interval(low, high)}"]
    mark = element("span", MARKS[result], class_=f"mark {result}")
    return [
        name_of(row["name"]),
        mark,
        *cells,
        _settings(row.get("settings", {})),
        str(row.get("tried", NOTHING)),
        duration(row["seconds"]),
    ]


def _skipped_row(row: dict[str, Any]) -> list[str]:
    reason = f"skipped: {row.get('skipped', 'no reason was written down')}"
    return [name_of(row["name"]), "not run", *[NOTHING] * 2 * len(_SHOWN), reason, NOTHING, NOTHING]


def _settings(settings: dict[str, Any]) -> str:
    shown = {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in settings.items()}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in shown.items()) or "none to tune"


def _forest(evidence: Evidence) -> Html:
    rows = ranked(evidence.summary)[::-1]
    figure = go.Figure()
    for number, name in enumerate(_SHOWN):
        differences = [row["difference"][name] for row in rows]
        figure.add_trace(
            go.Scatter(
                x=[mean for _, mean, _ in differences],
                y=[place + 0.14 * (1 - 2 * number) for place in range(len(rows))],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [high - mean for _, mean, high in differences],
                    "arrayminus": [mean - low for low, mean, _ in differences],
                    "thickness": 2.5,
                    "width": 5,
                },
                mode="markers",
                name=metric_name(name),
                marker={"size": 10, "color": COLOURS[number], "symbol": ("circle", "diamond")[number]},
                text=[
                    f"{name_of(row['name'])}: {decimal(mean, signed=True)} {interval(low, high)}"
                    for row, (low, mean, high) in zip(rows, differences, strict=True)
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    figure.add_vline(x=0, line={"color": INK, "width": 1.5})
    for words, anchor, shift in (
        ("\u25c0 baseline better", "right", -8),
        ("winner better \u25b6", "left", 8),
    ):
        figure.add_annotation(
            x=0,
            y=len(rows) - 0.5,
            yanchor="bottom",
            text=words,
            xanchor=anchor,
            xshift=shift,
            showarrow=False,
        )
    # Room for the words on either side of 0.
    ends = [value for row in rows for name in _SHOWN for value in row["difference"][name]]
    width = max(max(ends), -min(ends), 1e-3)
    figure.update_xaxes(
        title_text="winner minus baseline, on test",
        range=[min(1.1 * min(ends), -0.55 * width), max(1.1 * max(ends), 0.55 * width)],
    )
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(rows))),
        ticktext=[name_of(row["name"]) for row in rows],
        range=[-0.6, len(rows) - 0.1],
        showgrid=False,
        zeroline=False,
    )
    return chart(
        figure,
        "Differences with their 95 % intervals; one that holds 0 decides nothing.",
        150 + 56 * len(rows),
    )
