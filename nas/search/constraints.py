"""What an architecture has to keep to: `refresh_macs <= 2e8`, `coverage@20 >= 0.3`."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nas.errors import UserError
from nas.search.objectives import COSTS, MEASURED, direction

_FORM = re.compile(r"\s*(?P<name>[\w@]+)\s*(?P<sign>[<>]=?|=+)\s*(?P<bound>\S+)\s*")
_EXAMPLES = "expected such as 'refresh_macs <= 2e8' or 'coverage@20 >= 0.3'"
# Qualities that no model can raise beyond every bound; novelty is measured in bits.
_UNBOUNDED = ("novelty",)


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound on a quality or a cost: from above on what is lowered, from below on what is raised.

    Attributes:
        name: of an objective.
        sign: `<=` or `>=`.
        bound: what it may just be.
    """

    name: str
    sign: Literal["<=", ">="]
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """Read `NAME <= NUMBER` or `NAME >= NUMBER`; UserError if it is none or cannot be meant."""
        found = _FORM.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise UserError(f"{_EXAMPLES}, but got {text!r}")
        name, bound = found["name"], _number(found["bound"], text)
        if name in MEASURED:
            raise UserError(
                f"{name} is measured, and differs from run to run; expected a constraint on refresh_macs, but got {text!r}"
            )
        sign: Literal["<=", ">="] = "<=" if direction(name) == "minimize" else ">="
        if found["sign"] != sign:
            raise UserError(
                f"{name} takes {sign}, such as '{name} {sign} {found['bound']}', but got {text!r}"
            )
        if name not in COSTS and name.partition("@")[0] not in _UNBOUNDED and not 0 <= bound <= 1:
            raise UserError(f"{name} lies between 0 and 1; expected a bound between them, but got {text!r}")
        if name in COSTS and bound < 0:
            raise UserError(
                f"{name} is never below 0; expected a bound that it can keep to, but got {text!r}"
            )
        return cls(name, sign, bound)

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.bound:.15g}"

    @property
    def on_cost(self) -> bool:
        """Whether it is known without evaluating an architecture."""
        return self.name in COSTS

    def excess(self, value: float) -> float:
        """Return how far a value is beyond the bound, as a share of it so that units compare; <= 0 keeps to it."""
        beyond = value - self.bound if self.sign == "<=" else self.bound - value
        return beyond / (abs(self.bound) or 1.0)


def _number(word: str, text: str) -> float:
    try:
        bound = float(word)
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise UserError(f"{word!r} is no number; {_EXAMPLES}, but got {text!r}")
    return bound


def violations(constraints: Sequence[Constraint], values: Mapping[str, float]) -> dict[str, float]:
    """Return the excess (above 0) of each constraint that known values break; what is not known breaks nothing."""
    found = {str(one): one.excess(values[one.name]) for one in constraints if one.name in values}
    return {text: excess for text, excess in found.items() if excess > 0}


def merit(values: Mapping[str, float], constraints: Sequence[Constraint], metric: str) -> tuple[float, float]:
    """Return what candidates are compared by, more is better: least in violation first, then best by `metric`."""
    return -sum(violations(constraints, values).values()), values[metric]
