"""One dimension of a search space, as it is spelt in YAML."""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

Value = str | int | float

# A longer range of whole numbers is a mistake, and would be listed number by number.
_LONGEST_RANGE = 10_000


class Dimension(BaseModel):
    """The values that one setting may take.

    In YAML: one value (`dot`), a list (`[1, 2, 4]`), `{choices: [...], per: layer | tied}`, a range of whole numbers
    `{min: 0, max: 4}`, or a range of real numbers `{min: 0.01, max: 1.0, log: true}`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: tuple[Value, ...] = ()
    """The values, in order; empty for a range of real numbers."""
    per: Literal["layer", "tied"] = "layer"
    """Whether each layer chooses for itself or all layers share one value; only aggregator and heads may be tied."""
    min: float | None = None
    """Lower end of a range of real numbers."""
    max: float | None = None
    """Upper end, included."""
    log: bool = False
    """Whether the range is sampled on a logarithmic scale."""

    @model_validator(mode="before")
    @classmethod
    def _spelling(cls, value: Any) -> Any:
        if isinstance(value, Dimension):
            return value
        if not isinstance(value, dict):
            value = {"choices": tuple(value) if isinstance(value, list | tuple) else (value,)}
        choices = value.get("choices")
        if isinstance(choices, list | tuple):
            for choice in choices:
                # YAML reads `no` and `off` as false, which would pass as the number 0.
                if isinstance(choice, bool) or not isinstance(choice, str | int | float):
                    raise ValueError(f"choices must be words or numbers, but got {list(choices)}")
        low, high = value.get("min"), value.get("max")
        if type(low) is int and type(high) is int and not value.get("log") and choices is None:
            if low > high:
                raise ValueError(f"min <= max must hold, but got min={low}, max={high}")
            if high - low >= _LONGEST_RANGE:
                raise ValueError(
                    f"a range of whole numbers holds at most {_LONGEST_RANGE:,}, but got min={low}, max={high}"
                )
            rest = {k: v for k, v in value.items() if k not in ("min", "max", "log")}
            return {"choices": tuple(range(low, high + 1)), **rest}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "Dimension":
        if self.choices and (self.min is not None or self.max is not None):
            raise ValueError("give choices, or min and max, not both")
        if not self.choices:
            if self.min is None or self.max is None:
                raise ValueError("give at least one choice, or both min and max")
            if not self.min <= self.max or not math.isfinite(self.min + self.max):
                raise ValueError(f"min <= max must hold, but got min={self.min}, max={self.max}")
            if self.log and self.min <= 0:
                raise ValueError(f"min > 0 must hold on a log scale, but got min={self.min}")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices must differ, but got {list(self.choices)}")
        return self

    @model_serializer
    def _spelt(self) -> Any:
        """Return the shortest spelling that reads as this dimension."""
        if not self.choices:
            return {"min": self.min, "max": self.max} | ({"log": True} if self.log else {})
        if self.per != "layer":
            return {"choices": list(self.choices), "per": self.per}
        return list(self.choices) if len(self.choices) > 1 else self.choices[0]

    @property
    def fixed(self) -> bool:
        """Whether there is only one value."""
        return len(self.choices) == 1 or (not self.choices and self.min == self.max)

    def __str__(self) -> str:
        if self.choices:
            return " ".join(map(str, self.choices))
        return f"{self.min} to {self.max}{' (log)' if self.log else ''}"
