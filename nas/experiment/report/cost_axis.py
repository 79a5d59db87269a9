"""An axis for costs: logarithmic where they span decades, with a place for those that cost nothing."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from nas.experiment.report.importance import Floats
from nas.experiment.report.wording import size

_DECADES = 1.5


@dataclass(frozen=True, slots=True)
class CostAxis:
    """Where values stand on the axis.

    Attributes:
        logarithmic: whether the positive values span more than 1.5 decades and none is negative.
        zero: where 0 stands, which has no logarithm: left of the least positive value; None without zeros.
        ends: least and largest positive value of a logarithmic axis.
    """

    logarithmic: bool
    zero: float | None
    ends: tuple[float, float]

    @classmethod
    def of(cls, values: Floats) -> "CostAxis":
        """Choose the axis for these values."""
        positive = values[values > 0]
        wide = values.min() >= 0 and len(positive) and np.log10(positive.max() / positive.min()) > _DECADES
        if not wide:
            return cls(False, None, (0.0, 0.0))
        low, high = float(positive.min()), float(positive.max())
        gap = 10 ** max(0.3, 0.12 * np.log10(high / low))
        return cls(True, low / gap if values.min() == 0 else None, (low, high))

    def place(self, values: Floats) -> Floats:
        """Return where the values stand."""
        return values if self.zero is None else np.where(values == 0, self.zero, values)

    def apply(self, figure: go.Figure, title: str) -> None:
        """Make it the x axis of a figure."""
        if not self.logarithmic:
            figure.update_xaxes(title_text=title)
            return
        low, high = self.ends
        decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        steps = (1, 3) if np.log10(high / low) < 3 else (1,)
        ticks = [step * 10.0**n for n in decades for step in steps if low <= step * 10.0**n <= high]
        labels = [size(tick).replace(" ", "") for tick in ticks]
        if self.zero is not None:
            ticks, labels = [self.zero, *ticks], ["0", *labels]
        figure.update_xaxes(
            title_text=f"{title}, log scale", type="log", tickmode="array", tickvals=ticks, ticktext=labels
        )
