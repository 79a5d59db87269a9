"""The winner as a graph of its parts, drawn as SVG that is legible on a phone."""

from typing import Any

import networkx as nx

from nas.experiment.report.architecture_words import branches_of, layer_words, settings_words, weights_of
from nas.experiment.report.markup import Html, element
from nas.graph.aggregators import AGGREGATORS

_WIDTH, _ROW, _BOX, _GAP = 360, 84, 52, 8
_LEFT, _RIGHT = 78, 282
# Width of a letter of a box's second line, at most on average.
_LETTER = 7.2


def architecture_graph(architecture: dict[str, Any]) -> "nx.MultiDiGraph[str]":
    """Return the parts of an architecture and what flows between them.

    A node has `title`, `detail` and `kind`; an edge has `kind`: `flow`, `skip` or `readout`.
    """
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    graph.add_node("score", title="Score", detail="of a user and an item", kind="score")
    weights = weights_of(architecture)
    for name, branch in branches_of(architecture).items():
        if name == "graph":
            graph.add_edge(_add_graph_branch(graph, branch), "score", kind="flow")
        else:
            graph.add_node(name, title=name.capitalize(), detail=settings_words(branch), kind="branch")
            graph.add_edge(name, "score", kind="flow")
    if weights:
        shares = ", ".join(f"{weight:g} {name}" for name, weight in weights.items())
        graph.nodes["score"].update(title="Fused score", detail=shares)
    return graph


def _add_graph_branch(graph: "nx.MultiDiGraph[str]", branch: dict[str, Any]) -> str:
    columns, layers = f"{branch['hidden_size']} columns", branch["layers"]
    score = {"dot": "dot product", "cosine": "cosine"}.get(branch["score"], branch["score"])
    graph.nodes["score"]["detail"] = f"{score} of user and item"
    for name in ("users", "items"):
        graph.add_node(name, title=f"{name[:-1].capitalize()} embeddings", detail=columns, kind="embeddings")
        graph.add_edge(name, "h0", kind="flow")
    graph.add_node("h0", title="State 0", detail="of all users and items", kind="state")
    states = ["h0"]
    for number, layer in enumerate(layers, start=1):
        detail, last = [], number == len(layers)
        linear = AGGREGATORS[layer["aggregator"]].linear
        if branch["activation"] != "none" and not linear and not (last and branch["readout"] == "last"):
            detail.append(branch["activation"])
        graph.add_node(
            f"h{number}",
            title=f"Layer {number}: {layer_words(layer)}",
            detail=", ".join(["no weights" if linear else "learned", *detail]),
            kind="layer",
        )
        graph.add_edge(states[-1], f"h{number}", kind="flow")
        sources = {"residual": states[-1:], "initial": states[:1], "dense": states[:-1]}.get(
            branch["skip"], []
        )
        for source in sources:
            graph.add_edge(source, f"h{number}", kind="skip")
        states.append(f"h{number}")
    if not layers:
        return "h0"
    graph.add_node("readout", title="Readout", detail=branch["readout"], kind="state")
    graph.add_edge(states[-1], "readout", kind="flow")
    for state in states[:-1] if branch["readout"] != "last" else []:
        graph.add_edge(state, "readout", kind="readout")
    return "readout"


def draw(graph: "nx.MultiDiGraph[str]", description: str) -> Html:
    """Return the graph as SVG, top to bottom; skip connections bend to the right, readouts to the left."""
    rows = [list(names) for names in nx.topological_generations(graph)]
    # Other branches join only at the end: beside the part before the score.
    others = [name for name in graph if graph.nodes[name]["kind"] == "branch"]
    rows = [[name for name in row if name not in others] for row in rows]
    rows[-2] = [*rows[-2], *others]
    rows = [row for row in rows if row]
    place = {
        name: (_WIDTH * (n + 0.5) / len(row) if len(row) > 1 else _WIDTH / 2, _ROW * (depth + 0.5))
        for depth, row in enumerate(rows)
        for n, name in enumerate(row)
    }
    width = {
        name: (_WIDTH / len(row) - 2 * _GAP if len(row) > 1 else _RIGHT - _LEFT)
        for row in rows
        for name in row
    }
    lines = [
        _edge(place[a], place[b], data["kind"], alone=place[b][0] == _WIDTH / 2)
        for a, b, data in graph.edges(data=True)
    ]
    boxes = [_node(place[name], width[name], graph.nodes[name]) for name in graph]
    return element(
        "svg",
        _arrowheads(),
        *lines,
        *boxes,
        viewBox=f"0 0 {_WIDTH} {_ROW * len(rows)}",
        role="img",
        aria_label=description,
        class_="drawing",
    )


def _arrowheads() -> Html:
    heads = [
        element(
            "marker",
            element("path", d="M0 0L8 4L0 8z", class_=f"head {kind}"),
            id=f"head-{kind}",
            viewBox="0 0 8 8",
            refX="7",
            refY="4",
            markerWidth="7",
            markerHeight="7",
            orient="auto",
        )
        for kind in ("flow", "skip", "readout")
    ]
    return element("defs", *heads)


def _edge(start: tuple[float, float], end: tuple[float, float], kind: str, *, alone: bool) -> Html:
    (x0, y0), (x1, y1) = start, end
    # The further an edge reaches, the wider it bends, so that edges do not lie on each other.
    reach = min(24 + 16 * (y1 - y0) / _ROW, _LEFT - 4)
    if kind == "flow":
        path = f"M{x0:g} {y0 + _BOX / 2:g}L{x1:g} {y1 - _BOX / 2 - 1:g}"
    elif kind == "skip":
        bend = _RIGHT + reach
        path = f"M{_RIGHT} {y0 + 8:g}C{bend:g} {y0 + 20:g} {bend:g} {y1 - 20:g} {_RIGHT + 1} {y1 - 8:g}"
    elif alone:
        bend = _LEFT - reach
        path = f"M{_LEFT} {y0 + 8:g}C{bend:g} {y0 + 20:g} {bend:g} {y1 - 20:g} {_LEFT - 1} {y1 - 8:g}"
    else:
        bend, top = _LEFT - reach, y1 - _BOX / 2 - 1
        path = f"M{_LEFT} {y0 + 8:g}C{bend:g} {y0 + 20:g} {bend:g} {top - 30:g} {_LEFT / 2:g} {top:g}"
    return element("path", d=path, class_=f"edge {kind}", marker_end=f"url(#head-{kind})")


def _node(place: tuple[float, float], width: float, node: dict[str, str]) -> Html:
    x, y = place
    title, detail = node["title"], node["detail"]
    fits = int(width / _LETTER)
    if len(detail) > fits:
        detail = detail[: fits - 1] + "\u2026"
    return element(
        "g",
        element("title", f"{title}: {node['detail']}"),
        element(
            "rect",
            x=f"{x - width / 2:g}",
            y=f"{y - _BOX / 2:g}",
            width=f"{width:g}",
            height=str(_BOX),
            rx="7",
            class_=f"node {node['kind']}",
        ),
        element("text", title, x=f"{x:g}", y=f"{y - 4:g}", class_="title"),
        element("text", detail, x=f"{x:g}", y=f"{y + 15:g}", class_="detail"),
    )
