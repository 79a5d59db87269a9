"""Which dimensions of the space matter on this data."""

import numpy as np
import plotly.graph_objects as go

from nas.experiment.report.chart import COLOURS, chart
from nas.experiment.report.evidence import Evidence
from nas.experiment.report.importance import FEWEST, Importance, importance
from nas.experiment.report.markup import Html, paragraph, titled
from nas.experiment.report.wording import percent
from nas.space.architecture import Architecture

_WEAK = 0.1


def section(evidence: Evidence) -> Html:
    """Return the importance of each dimension for the first objective, as bars and as sentences."""
    found = _importance(evidence)
    metric = evidence.objectives[0]
    if found is None:
        words = (
            f"Not enough to tell: this takes {FEWEST} different architectures, values of {metric} that differ, and a "
            "space that leaves something to choose."
        )
        return titled("importance", "What matters", paragraph(words))
    # Such as settings of the closed-form branches, which are chosen before the search.
    fixed = [name for name, genes in found.shares.items() if not genes]
    return titled(
        "importance",
        "What matters",
        paragraph(_sentences(found, metric)),
        _bars(found, metric),
        paragraph(
            f"From the {found.architectures:,} architectures looked at, as the supernet judged them: a ridge regression on "
            "the genes, its adjusted R squared shared among the dimensions as what each adds on average over random orders. "
            "It describes what the search tried, which is no random sample, and it sees no interplay between "
            "dimensions." + (f" Never varied, and so left out: {', '.join(fixed)}." if fixed else ""),
            class_="small",
        ),
    )


def _importance(evidence: Evidence) -> Importance | None:
    first = evidence.trials["id"].is_first_distinct().to_numpy()
    rows = np.flatnonzero(first)
    values = evidence.trials[evidence.objectives[0]].to_numpy().astype(np.float64)
    architectures = [Architecture.model_validate(evidence.architectures[int(n)]) for n in rows]
    return importance(
        evidence.experiment.search_space, architectures, values[rows], evidence.experiment.search.seed
    )


def _shares(found: Importance) -> dict[str, float]:
    """Return the share of each dimension that varied."""
    return {name: sum(genes.values()) for name, genes in found.shares.items() if genes}


def _sentences(found: Importance, metric: str) -> str:
    if found.explained < _WEAK:
        return (
            f"The dimensions taken one by one explain {percent(found.explained)} of the variation of {metric} in this "
            "search: what there is lies in their interplay or in noise, so the bars mean little."
        )
    (first, most), *others = _shares(found).items()
    rest = [f"{name} {percent(share)}" for name, share in others]
    text = f"{first} explains {percent(most)} of the variation of {metric} in this search"
    if rest:
        text += f"; {', '.join(rest)}"
    return f"{text}. Together: {percent(found.explained)}; the rest is interplay and noise."


def _bars(found: Importance, metric: str) -> Html:
    shares = _shares(found)
    names = list(shares)[::-1]
    split = [
        "<br>".join(f"{gene} {share:.1%}" for gene, share in sorted(found.shares[name].items()))
        for name in names
    ]
    figure = go.Figure(
        go.Bar(
            x=[100 * shares[name] for name in names],
            y=names,
            orientation="h",
            marker={"color": COLOURS[0]},
            text=[percent(shares[name]) for name in names],
            textposition="outside",
            cliponaxis=False,
            customdata=split,
            hovertemplate="<b>%{y}</b> %{x:.1f} %<br>%{customdata}<extra></extra>",
        )
    )
    figure.update_xaxes(
        title_text=f"share of the variation of {metric} (%)", range=[0, 115 * max(0.01, *shares.values())]
    )
    return chart(
        figure,
        "Importance of each dimension; the genes of the layers are summed, and pointing at a bar shows them apart.",
        height=110 + 34 * len(names),
    )
