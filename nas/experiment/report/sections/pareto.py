"""Every trial and every training between quality and cost, with the front of each."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from nas.experiment.report.architecture_words import family
from nas.experiment.report.chart import COLOURS, INK, MANY, MARKERS, RING, STAR, chart
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
            "Every dot is a trial, judged with the supernet's shared weights on validation data, and the thin line is "
            "the best quality to be had by these at each cost. Every ring was trained from scratch and its branches "
            "weighed anew, and the thick line is the best of those; the star is the winner."
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
    trained = [one for one in evidence.trained() if quality in one["values"] and other in one["values"]]
    trained_x, trained_y = (
        np.array([one["values"][name] for one in trained], np.float64) for name in (other, quality)
    )
    axis, more_is_better = CostAxis.of(np.concatenate([x, trained_x])), direction(other) == "maximize"
    # WebGL is drawn over SVG, so the front and the star have to be of the same kind as the dots.
    scatter = go.Scattergl if len(x) > MANY else go.Scatter
    figure = go.Figure()
    for trace in (
        *_dots(evidence, axis.place(x), y, _hover(evidence)),
        _front(axis, x, y, more_is_better, "Pareto front", 1.5),
        *_rings(evidence, trained, axis.place(trained_x), trained_y),
        *(
            [_front(axis, trained_x, trained_y, more_is_better, "front after training", 3.5)]
            if trained
            else []
        ),
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


def _front(
    axis: CostAxis, x: Floats, y: Floats, more_is_better: bool, name: str, width: float
) -> dict[str, Any]:
    chosen = pair_front(-x if more_is_better else x, y)
    return {
        "x": axis.place(x[chosen]).tolist(),
        "y": y[chosen].tolist(),
        "mode": "lines",
        "name": name,
        # Between two points of a front, the cheaper one's quality is what can be had.
        "line": {"color": INK, "width": width, "shape": "vh" if more_is_better else "hv"},
        "hoverinfo": "skip",
    }


def pair_front(cost: Floats, quality: Floats) -> NDArray[np.int64]:
    """Return which points no other beats in both, cheapest first; of equal points the first counts."""
    order = np.lexsort((-quality, cost))
    sorted_quality = quality[order]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(sorted_quality)[:-1]])
    chosen: NDArray[np.int64] = order[sorted_quality > best_before]
    return chosen


def _rings(
    evidence: Evidence, trained: list[dict[str, Any]], x: Floats, y: Floats
) -> Iterator[dict[str, Any]]:
    """Yield a trace of what was trained from scratch, and one of the winner."""
    won = np.array([one["name"] == evidence.winner_name for one in trained], np.bool_)
    for name, rows, look in (("trained from scratch", ~won, RING), ("winner", won, STAR)):
        chosen = np.flatnonzero(rows)
        if len(chosen):
            texts = [
                _words(
                    trained[n]["description"], trained[n]["name"], trained[n]["values"], evidence.objectives
                )
                for n in chosen
            ]
            yield {
                "x": x[chosen].tolist(),
                "y": y[chosen].tolist(),
                "mode": "markers",
                "name": name,
                "marker": look,
                "text": texts,
                "hovertemplate": f"<b>{name}</b><br>%{{text}}<extra></extra>",
            }


def _values(evidence: Evidence, objective: str) -> Floats:
    return evidence.trials[objective].to_numpy().astype(np.float64)


def _hover(evidence: Evidence) -> list[str]:
    names = evidence.objectives
    rows = evidence.trials.select("description", "id", *names).iter_rows()
    return [
        _words(description, identifier, dict(zip(names, values, strict=True)), names)
        for description, identifier, *values in rows
    ]


def _words(description: str, name: str, values: Mapping[str, float], objectives: Sequence[str]) -> str:
    measured = [f"{one} {_shown(one, values[one])}" for one in objectives if one in values]
    return "<br>".join([escape(description).replace(", ", "<br>", 1), name, *measured])


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
