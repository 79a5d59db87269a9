"""`Table`: a file's columns as read, and the checks that turn them into ids, ratings and timestamps."""

import difflib
import logging
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from nas.data.config import DataConfig
from nas.errors import UserError

log = logging.getLogger("nas.data")

# What exporters write for a missing value; one user of this name would gather all the strays.
MISSING = ("", "nan", "NaN", "NAN", "null", "NULL", "None", "<NA>")
USUAL = {"user": "user", "item": "item", "rating": "rating", "timestamp": "timestamp"}


@dataclass(frozen=True, slots=True)
class Table:
    """A file's columns as read.

    Attributes:
        path: the file, for messages.
        frame: the columns, mostly text.
        locate: row of `frame` -> where it stands in the file, such as "line 7".
    """

    path: Path
    frame: pl.DataFrame
    locate: Callable[[int], str]

    def fail(self, bad: pl.Series, problem: str) -> None:
        """Raise `UserError` for the first row where `bad` (boolean) holds; `{}` in `problem` is its place."""
        rows = bad.arg_true()
        if len(rows):
            raise UserError(f"{self.path}, {self.locate(int(rows[0]))}: {problem}")


def renamed(table: Table, rename: Callable[[str], str]) -> Table:
    """Return the table with its columns renamed. Raises `UserError` where two would get the same name."""
    names = [rename(name) for name in table.frame.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{table.path}, line 1: two columns are named {twice!r}; rename one of them")
    return Table(table.path, table.frame.rename(rename), table.locate)


def missing_column(path: Path, name: str, available: Collection[str], key: str) -> UserError:
    """Return the error for a column `name` (the setting `key`) that is not among the `available` ones."""
    close = difflib.get_close_matches(name.lower(), [column.lower() for column in available], n=1)
    closest = next((column for column in available if close and column.lower() == close[0]), None)
    hint = f"did you mean {closest!r}? Set data.{key}" if closest else f"set data.{key}"
    return UserError(f"{path}, line 1: no column {name!r}; the columns are {', '.join(available)}; {hint}")


def choose_columns(
    available: Collection[str], config: DataConfig, path: Path, usual: Mapping[str, str] = USUAL
) -> dict[str, str]:
    """Return role -> column for the roles user, item and, where present, rating and timestamp.

    A name set in `config` must be there; otherwise the format's `usual` name is taken, or else the default of
    `config`, unless it is set for another role. Raises `UserError` for a missing column.
    """
    chosen = {}
    for role, name in usual.items():
        configured = getattr(config, role)
        is_default = configured == DataConfig.model_fields[role].default
        taken = {getattr(config, other) for other in usual if other != role}
        wanted = [one for one in (name, configured) if one not in taken] if is_default else [configured]
        found = next((column for column in wanted if column in available), None)
        if found is not None:
            chosen[role] = found
        elif role in ("user", "item") or not is_default:
            raise missing_column(path, wanted[0], available, role)
    return chosen


def typed(table: Table, columns: Mapping[str, str], config: DataConfig | None = None) -> pl.DataFrame:
    """Return the chosen columns as user and item (str), rating (f64) and timestamp (i64), one row a row.

    `columns` maps roles to columns. Raises `UserError` naming the line of the first empty id, or of the first
    rating or timestamp that is not a finite number. Where there is a `config` that does not ask for that column,
    it is left out instead, and a line of the logger `nas.data` says so.
    """
    read = {"user": ids, "item": ids, "rating": ratings, "timestamp": timestamps}
    if table.frame.is_empty():
        raise UserError(f"{table.path}: no rows below the header; expected one interaction a line")
    found = {}
    for role, column in columns.items():
        try:
            found[role] = read[role](table, column)
        except UserError as error:
            if (
                config is None
                or getattr(config, role)
                or (role == "rating" and config.min_rating is not None)
            ):
                raise
            log.warning("%s; the column is left out, for data.%s does not ask for it", error, role)
    return pl.DataFrame(found)


def ids(table: Table, column: str) -> pl.Series:
    """Return a column as text ids; whole floats lose their `.0`. Raises `UserError` for an empty id."""
    values = table.frame[column]
    if values.dtype.is_float():
        whole = (values.is_null() | ((values == values.floor()) & (values.abs() < 2**53))).all()
        values = values.cast(pl.Int64) if whole else values
    if values.dtype.is_nested() or values.dtype in (pl.Boolean, pl.Binary, pl.Object):
        raise UserError(
            f"{table.path}: column {column!r} holds {values.dtype}, which cannot be ids; expected text or integers"
        )
    text = values.cast(pl.String)
    bad = text.is_null() | text.str.strip_chars().is_in(MISSING)
    table.fail(bad, f"empty id in column {column!r}; give every row one, or drop the row")
    return text


def ratings(table: Table, column: str) -> pl.Series:
    """Return a column as f64. Raises `UserError` for values that are not finite in the 32 bits they end in."""
    values = table.frame[column]
    text = values.str.strip_chars() if values.dtype == pl.String else values
    numbers = _cast(table, column, text, pl.Float64)
    _fail_on_value(table, column, numbers.is_null() | ~numbers.cast(pl.Float32).is_finite())
    return numbers


def timestamps(table: Table, column: str) -> pl.Series:
    """Return a column as i64, fractions dropped; dates become microseconds since 1970, whatever their own unit.

    Dates are those of parquet files, and text of ISO 8601 (`2024-05-01`, `2024-05-01 10:00:00`, with or without a
    time zone). Raises `UserError` for values that are neither finite numbers nor such dates.
    """
    values = table.frame[column]
    if values.dtype == pl.String and len(values) and _looks_like_date(str(values[0])):
        return _iso_dates(table, column, values)
    if values.dtype in (pl.Date, pl.Datetime):
        # Parts of one split may come in units of their own; a finer one than this is rounded.
        values = values.dt.epoch("us")
    elif values.dtype.is_temporal():
        values = values.to_physical()
    text = values.str.strip_chars() if values.dtype == pl.String else values
    numbers = _cast(table, column, text, pl.Int64)
    if numbers.null_count():
        # Through floats only where needed: nanoseconds do not fit the 53 bits of a float.
        fractions = _cast(table, column, text, pl.Float64).floor()
        numbers = numbers.fill_null(fractions.cast(pl.Int64, strict=False))
        _fail_on_value(
            table, column, numbers.is_null(), "a finite number or a date such as 2024-05-01 10:00:00"
        )
    return numbers


# At the end of a moment of ISO 8601; a date alone ends in a hyphen and two digits.
_ZONE = r"(?:[Zz]|:\d{2}(?:\.\d+)?[+-]\d{2}:?\d{2})\s*$"


def _looks_like_date(text: str) -> bool:
    return re.match(r"\s*\d{4}-\d{2}-\d{2}", text) is not None


def _iso_dates(table: Table, column: str, values: pl.Series) -> pl.Series:
    try:
        moments = values.str.strip_chars().str.to_datetime(strict=False, time_unit="us")
    except pl.exceptions.PolarsError:
        moments = pl.Series(values.name, [None] * len(values), dtype=pl.Datetime("us"))
    expected = "a date such as 2024-05-01 10:00:00"
    zoned = values.str.contains(_ZONE)
    if zoned.any() and not zoned.all():
        expected += ", with a time zone in every row or in none"
    _fail_on_value(table, column, moments.is_null(), expected)
    return moments.dt.epoch("us")


def _cast(table: Table, column: str, values: pl.Series, dtype: pl.DataType | type[pl.DataType]) -> pl.Series:
    try:
        return values.cast(dtype, strict=False)
    except pl.exceptions.PolarsError:
        raise UserError(f"{table.path}: column {column!r} holds {values.dtype}; expected numbers") from None


def _fail_on_value(table: Table, column: str, bad: pl.Series, expected: str = "a finite number") -> None:
    rows = bad.arg_true()
    if len(rows):
        value = table.frame[column][int(rows[0])]
        shown = "empty" if value is None else repr(value)
        table.fail(bad, f"{column} is {shown}; expected {expected}")
