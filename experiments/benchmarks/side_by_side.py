"""What every benchmark shares: a row, interleaved timing, the command-line options, and how rows are handed out."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from nas.errors import UserError

Value = str | int | float | None

Data = Annotated[
    list[Path] | None,
    typer.Option(
        "--data", metavar="PATH", help="`user item item ...` a line; instead of the generated data."
    ),
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of both sides.")]
Repetitions = Annotated[int, typer.Option("--repetitions", min=1, help="Timed calls of each way.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print the rows as JSON on standard output, and nothing else.")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the rows as JSON to a file.")]


@dataclass(frozen=True, slots=True)
class Row:
    """One operation, measured on one data set.

    Attributes:
        operator: what was measured.
        data: on what.
        ours_ms: median wall-clock milliseconds of ours.
        theirs_ms: of what a user would take instead, used as its documentation shows first; None if not measured.
        max_abs_difference: between the two results; None where there is one result only.
        extra: further values by name, such as faster ways of using theirs.
        threads: of both sides.
    """

    operator: str
    data: str
    ours_ms: float
    theirs_ms: float | None
    max_abs_difference: float | None
    extra: Mapping[str, Value] = field(default_factory=dict)
    threads: int = field(default_factory=torch.get_num_threads)

    @property
    def ratio(self) -> float | None:
        """theirs_ms / ours_ms: above 1, ours is the faster one."""
        return None if self.theirs_ms is None else self.theirs_ms / self.ours_ms

    def values(self) -> dict[str, Value]:
        """Return every value by name, numbers to four digits."""
        own = asdict(self)
        extra = own.pop("extra")
        names = ("operator", "data", "threads", "ours_ms", "theirs_ms")
        ordered = {name: own[name] for name in names} | {"ratio": self.ratio}
        ordered |= {"max_abs_difference": self.max_abs_difference} | extra
        return {name: _short(value) for name, value in ordered.items()}


def interleaved(
    ways: Mapping[str, Callable[[], object]], repetitions: int, warm_up: int = 2, calls: int = 1
) -> dict[str, float]:
    """Return the median milliseconds of a call of each way, which take turns so that a busy moment meets all of them.

    A turn is one call that is not timed and then `calls` that are: in a training loop the step before has the same data
    in the cache, not somebody else's, and so has a service the question before.
    """
    for _ in range(warm_up):
        for way in ways.values():
            way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            way()
            for _ in range(calls):
                started = time.perf_counter()
                way()
                times[name].append(1000 * (time.perf_counter() - started))
    # The median: one interruption would move a mean.
    return {name: statistics.median(values) for name, values in times.items()}


def largest_difference(ours: Iterable[torch.Tensor], theirs: Iterable[torch.Tensor]) -> float:
    """Return the largest absolute difference of tensors that are alike in pairs; NaN if there is any."""
    return float(torch.stack([(a - b).abs().max() for a, b in zip(ours, theirs, strict=True)]).max())


def largest(differences: Iterable[float]) -> float:
    """Return the largest difference; NaN if there is any, which Python's `max` would pass over."""
    return float(np.max(list(differences)))


def report(rows: Iterable[Row], as_json: bool, out: Path | None) -> None:
    """Measure the rows one after another; show them, and write them to `out`."""
    done = []
    for row in rows:
        print(f"{row.operator} on {row.data}: {row.ours_ms:.4g} ms", file=sys.stderr)
        done.append(row)
    stream = sys.stderr if as_json else sys.stdout
    # A file has no width.
    Console(file=stream, width=None if stream.isatty() else 140).print(_table(done))
    text = json.dumps([row.values() for row in done], indent=2, allow_nan=False)
    if as_json:
        print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")


def run(main: Callable[..., Any]) -> None:
    """Run a script's command; what the user gave wrongly is one line and exit code 2."""
    try:
        typer.run(main)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _short(value: Value) -> Value:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _table(rows: list[Row]) -> Table:
    table = Table(box=box.SIMPLE, caption="medians; ratio = theirs / ours: above 1, ours is faster")
    for name in ("operator", "data"):
        table.add_column(name, no_wrap=True)
    for name in ("threads", "ours ms", "theirs ms", "ratio", "difference"):
        table.add_column(name, justify="right")
    table.add_column("further values")
    for row in rows:
        values = row.values()
        further = [f"{name} {values.pop(name)}" for name in row.extra if row.extra[name] is not None]
        own = [values[name] for name in values if name not in row.extra]
        table.add_row(*("-" if value is None else str(value) for value in own), "\n".join(further))
    return table
