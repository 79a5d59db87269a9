"""What it cost, and on what it ran."""

import plotly.graph_objects as go

from nas.experiment.report.chart import COLOURS, chart
from nas.experiment.report.evidence import Evidence
from nas.experiment.report.markup import Html, element, paragraph, table, titled
from nas.experiment.report.wording import duration, percent, time_unit

_STAGES = {
    "recipe": "recipe, LightGCN",
    "supernet": "supernet",
    "branches": "settings of the other branches",
    "search": "search",
    "retrain": "retraining",
    "baselines": "baselines",
    "test": "refitting and test",
}


def section(evidence: Evidence) -> Html:
    """Return seconds by stage, and the machine and versions they were spent with."""
    seconds: dict[str, float] = evidence.summary.get("seconds") or {
        key: evidence.summary[key]["seconds"] for key in ("supernet", "search", "retrain")
    }
    total, work = evidence.summary["seconds_total"], sum(seconds.values())
    rows = [
        [_STAGES.get(stage, stage), duration(spent), percent(spent / work) if work else ""]
        for stage, spent in seconds.items()
    ]
    # Runs of before there were workers do not say.
    workers = evidence.environment.get("workers", 1)
    shared = (
        f", shared by {workers} processes: the times of search and test are wall-clock too, those of the "
        "other stages are the work of all processes"
        if workers > 1
        else ""
    )
    return titled(
        "timings",
        "Time and machine",
        paragraph(
            f"In all {duration(total)} of wall-clock{shared}; pauses between resumed runs do not count."
        ),
        element(
            "div",
            table(
                "Time by stage",
                ["stage", "time", "share"],
                [*rows, ["in all", duration(work), ""]],
                frozenset({len(rows)}),
            ),
            _bars(seconds),
            class_="pair",
        ),
        table("Environment", ["what", "value"], _environment(evidence)),
    )


def _bars(seconds: dict[str, float]) -> Html:
    divisor, unit = time_unit(max(seconds.values()))
    stages = list(seconds)[::-1]
    figure = go.Figure(
        go.Bar(
            x=[seconds[stage] / divisor for stage in stages],
            y=stages,
            orientation="h",
            marker={"color": COLOURS[2]},
            text=[duration(seconds[stage]) for stage in stages],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )
    # The longest bar leaves room for its text, on a phone, too.
    figure.update_xaxes(title_text=f"time ({unit})", range=[0, 1.4 * max(seconds.values()) / divisor])
    return chart(figure, "Time by stage.", 110 + 34 * len(stages))


def _environment(evidence: Evidence) -> list[list[str]]:
    found = dict(evidence.environment)
    if found.get("commit"):
        found["commit"] = found["commit"][:12]
    packages = found.pop("packages", {})
    rows = [[key, str(value)] for key, value in found.items() if value is not None]
    return rows + [[name, str(version)] for name, version in packages.items()]
