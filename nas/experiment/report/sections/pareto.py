"""Every trial between quality and cost, with the Pareto front."""

from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from nas.experiment.report.architecture_words import family
from nas.experiment.report.chart import COLOURS, INK, MANY, MARKERS, STAR, chart
from nas.experiment.report.cost_axis import CostAxis
from nas.experiment.report.evidence import Evidence
from nas.experiment.report.importance import Floats
from nas.experiment.report.markup import Html, element, paragraph, table, titled
from nas.experiment.report.wording import axis_name, decimal, listed, metric_name, size
from nas.search.objectives import direction

_FAMILIES = (
    "no layers (MF)",
    "propagation only",
    "with learned transforms",
    "with attention",
    "no graph branch",
)
_ROWS = 50


def section(evidence: Evidence) -> Html:
    """Return one plot for each pair of the first objective with another, and the front as a table."""
    quality, *others = evidence.objectives
    constraints, evidence = _constraints(evidence), evidence.feasible()
    plots = [_plot(evidence, quality, other) for other in others if len(evidence.trials)]
    return titled(
        "pareto",
        "Quality against cost",
        paragraph(
            "Every dot is a trial, judged with the supernet's shared weights on validation data. The line is the best "
            "quality to be had at each cost; the star is the architecture that won after training from scratch."
        ),
        *constraints,
        element("div", *plots, class_="grid" if len(plots) > 1 else "single"),
        _front_table(evidence),
    )


def _constraints(evidence: Evidence) -> list[Html]:
    limits = evidence.experiment.search.constraints
    if not limits:
        return []
    held, trials = int(evidence.searched["feasible"].sum()), len(evidence.searched)
    unseen = trials - len(evidence.trials)
    words = f"Constraints: {listed([str(one) for one in limits])}. {held:,} of {trials:,} trials kept to them and are shown"
    if unseen:
        words += f"; {unseen:,} cost too much and were not evaluated"
    return [paragraph(words + ".")]


def _plot(evidence: Evidence, quality: str, other: str) -> Html:
    x, y = _values(evidence, other), _values(evidence, quality)
    axis = CostAxis.of(x)
    # WebGL is drawn over SVG, so the front and the star have to be of the same kind as the dots.
    scatter = go.Scattergl if len(x) > MANY else go.Scatter
    figure, hover = go.Figure(), _hover(evidence)
    for trace in (
        *_dots(evidence, axis.place(x), y, hover),
        _front(axis, x, y, direction(other) == "maximize"),
        *_star(evidence, axis, quality, other, hover),
    ):
        figure.add_trace(scatter(trace))
    axis.apply(figure, axis_name(other))
    figure.update_yaxes(title_text=f"{metric_name(quality)} on validation")
    unit = ", in multiply-accumulates (MACs)" if other == "refresh_macs" else ""
    return chart(figure, f"{metric_name(quality)} against {other}{unit}, of {len(x):,} trials.", height=480)


def _dots(evidence: Evidence, x: Floats, y: Floats, hover: list[str]) -> Iterator[dict[str, Any]]:
    families = np.array([family(architecture) for architecture in evidence.architectures])
    look = {"size": 9, "opacity": 0.85, "line": {"color": INK, "width": 0.5}}
    if len(x) > MANY:
        look = {"size": 5, "opacity": 0.6}
    for number, name in enumerate(_FAMILIES):
        rows = np.flatnonzero(families == name)
        if len(rows):
            yield {
                "x": x[rows],
                "y": y[rows],
                "mode": "markers",
                "name": name,
                "marker": {**look, "color": COLOURS[number], "symbol": MARKERS[number]},
                "text": [hover[int(n)] for n in rows],
                "hovertemplate": "%{text}<extra></extra>",
            }


def _front(axis: CostAxis, x: Floats, y: Floats, more_is_better: bool) -> dict[str, Any]:
    chosen = pair_front(-x if more_is_better else x, y)
    return {
        "x": axis.place(x[chosen]),
        "y": y[chosen],
        "mode": "lines",
        "name": "Pareto front",
        # Between two trials of the front, the cheaper one's quality is what can be had.
        "line": {"color": INK, "width": 2, "shape": "vh" if more_is_better else "hv"},
        "hoverinfo": "skip",
    }


def pair_front(cost: Floats, quality: Floats) -> NDArray[np.int64]:
    """Return which points no other beats in both, cheapest first; of equal points the first counts."""
    order = np.lexsort((-quality, cost))
    sorted_quality = quality[order]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(sorted_quality)[:-1]])
    chosen: NDArray[np.int64] = order[sorted_quality > best_before]
    return chosen


def _star(
    evidence: Evidence, axis: CostAxis, quality: str, other: str, hover: list[str]
) -> Iterator[dict[str, Any]]:
    winner = evidence.trial(evidence.winner["id"])
    if winner is not None:
        yield {
            "x": axis.place(np.array([winner[other]], np.float64)).tolist(),
            "y": [winner[quality]],
            "mode": "markers",
            "name": "winner",
            "marker": STAR,
            "text": [hover[evidence.trials["id"].to_list().index(winner["id"])]],
            "hovertemplate": "<b>winner</b><br>%{text}<extra></extra>",
        }


def _values(evidence: Evidence, objective: str) -> Floats:
    return evidence.trials[objective].to_numpy().astype(np.float64)


def _hover(evidence: Evidence) -> list[str]:
    names = evidence.objectives
    rows = evidence.trials.select("description", "id", *names).iter_rows()
    return [
        f"{escape(description).replace(', ', '<br>', 1)}<br>{identifier}<br>"
        + "<br>".join(f"{name} {_shown(name, value)}" for name, value in zip(names, values, strict=True))
        for description, identifier, *values in rows
    ]


def _shown(objective: str, value: float) -> str:
    return decimal(value) if "@" in objective else size(value)


def _front_table(evidence: Evidence) -> Html:
    front = evidence.front
    rows = [
        [one["description"], one["id"], *(_shown(name, one["values"][name]) for name in evidence.objectives)]
        for one in front[:_ROWS]
    ]
    winners = frozenset(n for n, one in enumerate(front[:_ROWS]) if one["id"] == evidence.winner["id"])
    more = f" (the first {_ROWS} of {len(front):,})" if len(front) > _ROWS else ""
    header = ["architecture", "id", *(metric_name(o) if "@" in o else o for o in evidence.objectives)]
    return table(
        f"The Pareto front by the supernet, best {metric_name(evidence.objectives[0])} first{more}; the winner is "
        "set off if it is on it.",
        header,
        rows,
        winners,
    )
