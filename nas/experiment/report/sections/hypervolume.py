"""How the search progressed."""

import numpy as np
import plotly.graph_objects as go

from nas.experiment.report.chart import COLOURS, chart
from nas.experiment.report.evidence import Evidence
from nas.experiment.report.markup import Html, paragraph, titled
from nas.experiment.report.wording import time_unit
from nas.search.plateau import LEAST_GAIN


def section(evidence: Evidence) -> Html:
    """Return the hypervolume against the time that the trials took."""
    trials = evidence.searched
    elapsed = np.cumsum(trials["seconds"].to_numpy())
    volume = trials["hypervolume"].to_numpy()
    # A step line needs only the trials that raise it; a search of 10,000 has a few dozen.
    rises = np.flatnonzero(np.diff(volume, prepend=-1.0) > 0)
    kept = np.union1d(rises, [len(volume) - 1])
    divisor, unit = time_unit(float(elapsed[-1]))
    figure = go.Figure(
        go.Scatter(
            x=elapsed[kept] / divisor,
            y=volume[kept],
            mode="lines+markers",
            line={"shape": "hv", "color": COLOURS[0], "width": 2},
            marker={"size": 6},
            text=[f"trial {number}" for number in trials["number"].to_numpy()[kept]],
            hovertemplate="%{text}: %{y:.4f} after %{x:.2f} " + unit + "<extra></extra>",
        )
    )
    figure.update_xaxes(title_text=f"time since the first trial began ({unit})", rangemode="tozero")
    figure.update_yaxes(title_text="hypervolume (share of the box)", range=[0, 1.03])
    last = rises[-1]
    return titled(
        "hypervolume",
        "Progress of the search",
        paragraph(
            "The hypervolume is the share of the box between the worst and the best values that the front dominates. "
            f"It rose for the last time at trial {trials['number'][int(last)]} of {len(trials):,}"
            + (
                ": the search was still finding better trade-offs when it ended."
                if last >= 0.95 * len(trials)
                else "."
            )
            + _ending(evidence)
        ),
        chart(
            figure,
            "Hypervolume over the time spent in trials; pauses between resumed runs do not count.",
            360,
        ),
    )


def _ending(evidence: Evidence) -> str:
    found, patience = evidence.summary["search"], evidence.experiment.search.patience
    if found.get("ended") != "patience":
        return ""
    return (
        f" It ended there, {found['asked'] - found['trials']:,} trials before the most that were allowed, because the "
        f"hypervolume, in the box of the first generation, had moved by less than {100 * LEAST_GAIN:g} % in {patience:,} trials."
    )
