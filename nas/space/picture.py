"""An architecture drawn with characters, for a terminal."""

from textwrap import wrap

from nas.space.architecture import Architecture, GraphBranch

_WIDTH, _LONGEST_ROW = 46, 56


def picture(architecture: Architecture) -> str:
    """Return a drawing of one box a stage, from embeddings down to the score; lines of at most 60 characters."""
    rows = _graph_rows(architecture.graph) if architecture.graph else []
    others = [branch for name, branch in architecture.branches.items() if name != "graph"]
    rows += [f"{'+ ' if rows or n else ''}{branch}" for n, branch in enumerate(others)]
    if len(architecture.branches) > 1:
        rows.append(
            "fusion: " + ", ".join(f"{name} {weight:g}" for name, weight in architecture.weights.items())
        )
    wrapped = [wrap(row, _LONGEST_ROW, subsequent_indent="  ", break_on_hyphens=False) for row in rows]
    width = max(_WIDTH, *(len(line) + 2 for lines in wrapped for line in lines))
    top, bottom = "┌" + "─" * width + "┐", "└" + "─" * width + "┘"
    arrow = " " * (width // 2 + 1) + "▼"
    boxes = ["\n".join([top, *(f"│ {line:<{width - 1}}│" for line in lines), bottom]) for lines in wrapped]
    return f"\n{arrow}\n".join(boxes)


def _graph_rows(branch: GraphBranch) -> list[str]:
    rows = [f"user and item embeddings, {branch.hidden_size} columns"]
    for n, layer in enumerate(branch.layers):
        text = f"{n + 1}  {layer}"
        if branch.activated(n) and branch.activation != "none":
            text += f", {branch.activation}"
        if branch.skip == "residual":
            text += ", mean with its input"
        elif branch.skip == "initial":
            text += ", + 0.1 of the embeddings"
        elif branch.skip == "dense":
            text += ", of the mean so far"
        rows.append(text)
    if branch.layers:
        readout = {
            "last": "readout: last layer",
            "mean": "readout: mean of all states",
            "learned": "readout: learned sum of all states",
            "concat": f"readout: all states, {branch.final_size} columns",
        }
        rows.append(readout[branch.readout])
    rows.append(f"score: {'dot product' if branch.score == 'dot' else 'cosine'}")
    return rows
