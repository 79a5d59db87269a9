"""A plotly figure as a part of the page; the one copy of plotly.js at the page's head draws it."""

import plotly.graph_objects as go

from nas.experiment.report.markup import Html, element

# Okabe and Ito (2008): eight colours that stay apart under every common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C6D1F", "#5B5B5B")
INK = "#1b1f24"
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "pentagon")
STAR = {"symbol": "star", "size": 18, "color": "#F0E442", "line": {"color": INK, "width": 1.5}}
RING = {"symbol": "circle-open", "size": 13, "color": INK, "line": {"color": INK, "width": 2.5}}
MANY = 3000
"""More points than this are drawn by WebGL."""

_AXIS = {
    "gridcolor": "#e3e6ea",
    "linecolor": "#8a919a",
    "zerolinecolor": "#8a919a",
    "ticks": "outside",
    "tickcolor": "#8a919a",
    "automargin": True,
    "exponentformat": "SI",
    "title": {"standoff": 12},
}
_TEMPLATE = go.layout.Template(
    layout={
        "font": {
            "family": "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
            "size": 14,
            "color": INK,
        },
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "colorway": COLOURS,
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "font": {"size": 13, "color": INK}},
        # Above the plot the legend can grow by rows without meeting an axis title.
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "itemsizing": "constant",
        },
        "margin": {"l": 60, "r": 16, "t": 28, "b": 56},
    }
)


def chart(figure: go.Figure, caption: str, height: int = 430) -> Html:
    """Return the figure with its caption.

    Args:
        figure: traces and axis titles; fonts, colours and margins are set here.
        caption: what it shows, for those who see it and for those who cannot.
        height: in pixels.
    """
    figure.update_layout(template=_TEMPLATE)
    # A text such as </script> inside the data would otherwise end the element.
    data = Html(str(figure.to_json()).replace("<", "\\u003c"))
    return element(
        "figure",
        element("div", class_="plot", style=f"height:{height}px", role="img", aria_label=caption),
        element("script", data, type="application/json"),
        element("figcaption", caption),
    )
