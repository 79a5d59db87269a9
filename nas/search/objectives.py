"""What a search optimises: quality to raise, cost to lower; an addition is a metric or a cost and its line here."""

from typing import Literal

from nas.errors import UserError
from nas.model.lists import LISTS
from nas.model.metrics import METRICS

Direction = Literal["maximize", "minimize"]

QUALITIES = (*METRICS, *LISTS)
"""Each is asked for at a list length: `ndcg@20`."""

COSTS = ("refresh_macs", "parameters", "artefact_bytes", "refresh_seconds")
"""Computed from the architecture and the sizes of the data, but for what is `MEASURED`."""

MEASURED = ("refresh_seconds",)
"""Costs that take an evaluation, and that no two evaluations agree on."""

# Seconds that no refresh takes. A finite number: samplers scale by what they are told.
_LONGEST = 1e9


def direction(name: str) -> Direction:
    """Return whether an objective is raised or lowered; UserError if there is no such objective."""
    quality, at, k = name.partition("@")
    # Metrics are kept by name: 020 would be another than 20, and found nowhere.
    if quality in QUALITIES and at and k.isascii() and k.isdigit() and not k.startswith("0"):
        return "minimize" if quality == "gini" else "maximize"
    if name in COSTS:
        return "minimize"
    expected = [f"{quality}@K" for quality in QUALITIES] + list(COSTS)
    raise UserError(f"unknown objective {name!r}; expected one of {expected}, K a list length such as 20")


def worst(name: str) -> float:
    """Return the worst value of an objective: what is told of an architecture that was not, or cannot be, judged (one whose cost is computed has it)."""
    if direction(name) == "maximize":
        return 0.0
    return 1.0 if name.startswith("gini@") else _LONGEST


def list_lengths(names: list[str]) -> set[int]:
    """Return the K of every quality among `names`."""
    return {int(name.partition("@")[2]) for name in names if direction(name) and "@" in name}
