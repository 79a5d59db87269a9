"""The sections of the report, one a file, in the order of the page; an addition is its file and its line here."""

from collections.abc import Callable

from nas.experiment.report.evidence import Evidence
from nas.experiment.report.markup import Html
from nas.experiment.report.sections import (
    baselines,
    branches,
    fidelity,
    groups,
    hypervolume,
    importance,
    opening,
    pareto,
    retrained,
    timings,
    usage,
    winner,
)

SECTIONS: tuple[Callable[[Evidence], Html], ...] = (
    opening.section,
    baselines.section,
    groups.section,
    pareto.section,
    winner.section,
    importance.section,
    branches.section,
    retrained.section,
    fidelity.section,
    hypervolume.section,
    timings.section,
    usage.section,
)
