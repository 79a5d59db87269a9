"""Tables of delimited text: csv and tsv files, and the reading that other line formats share."""

import csv
import io
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from nas.data.config import DataConfig
from nas.data.readers.files import read_text
from nas.data.readers.table import USUAL, Table, choose_columns, renamed, typed
from nas.errors import UserError

# One, or what finds it in the header.
Delimiter = str | Callable[[str], str]

DELIMITERS = {
    "::": "set data.format: movielens",
    "\t": "set data.format: tsv",
    ",": 'set data.format: csv, data.delimiter: ","',
    ";": 'set data.format: csv, data.delimiter: ";"',
    "|": 'set data.format: csv, data.delimiter: "|"',
    " ": 'set data.format: adjacency, or csv with data.delimiter: " "',
}


def read_csv(path: Path, config: DataConfig) -> pl.DataFrame:
    """Read a csv file with a header; columns user, item (str), and if present rating (f64), timestamp (i64).

    Columns may be separated by `;` instead, where only that finds users and items in the header. Raises
    `UserError` for a missing column, a wrong delimiter or a bad value, with its line.
    """
    return _read(path, config, config.delimiter or partial(sniffed, {config.user, config.item}, (",", ";")))


def read_tsv(path: Path, config: DataConfig) -> pl.DataFrame:
    """Read a tab separated file with a header; as `read_csv` otherwise."""
    return _read(path, config, config.delimiter or "\t")


def _read(path: Path, config: DataConfig, delimiter: Delimiter) -> pl.DataFrame:
    table = read_table(path, delimiter)
    names = table.frame.columns
    for name in (*USUAL.values(), config.user, config.item, config.rating, config.timestamp):
        # polars' name for the second of them.
        if f"{name}_duplicated_0" in names:
            raise UserError(f"{path}, line 1: two columns are called {name!r}; rename one of them")
    return typed(table, choose_columns(names, config, path), config)


def read_table(path: Path, delimiter: Delimiter, *, quote: str | None = '"') -> Table:
    """Read text with a header line; every column is text, as written.

    `delimiter` may be found from the header. Raises `UserError` when the header is one field that another
    delimiter would split, and when a line has more fields than the header.
    """
    raw = read_text(path)
    header = first_line(raw)
    if not isinstance(delimiter, str):
        delimiter = delimiter(header)
    if delimiter not in header:
        hint = delimiter_hint(header, delimiter)
        if hint:
            raise UserError(f"{path}, line 1: no {delimiter!r} in the header {header[:80]!r}; {hint}")
    return renamed(parse(path, raw, delimiter, quote=quote, columns=None), str.strip)


def sniffed(columns: Collection[str], delimiters: Sequence[str], header: str) -> str:
    """Return the first of `delimiters` by which all `columns` are in a header, else the very first."""
    return next((d for d in delimiters if set(columns) <= fields_of(header, d)), delimiters[0])


def fields_of(header: str, delimiter: str) -> set[str]:
    """Return the fields of a header line without quotes and spaces around them."""
    return {field.strip(' "') for field in header.split(delimiter)}


def read_headerless(path: Path, delimiter: str, columns: Sequence[str], advice: str) -> Table:
    """Read text without a header and without quotes, its fields named `columns`.

    `delimiter` may be of two characters. Raises `UserError` with `advice` when the first line does not have
    as many fields.
    """
    raw = read_text(path)
    line = first_line(raw)
    fields = line.count(delimiter) + 1
    if fields != len(columns):
        hint = next(
            (f"it looks separated by {d!r}" for d in DELIMITERS if line.count(d) + 1 == len(columns)), ""
        )
        raise UserError(
            f"{path}, line 1: {fields} field(s) separated by {delimiter!r} where {len(columns)} are expected "
            f"({', '.join(columns[:4])}{', ...' if len(columns) > 4 else ''}); {hint + '; ' if hint else ''}{advice}"
        )
    written = delimiter
    if len(delimiter) > 1:
        if b"\t" in raw:
            place = raw.count(b"\n", 0, raw.index(b"\t")) + 1
            raise UserError(
                f"{path}, line {place}: a tab between fields separated by {delimiter!r}; {advice}"
            )
        raw = raw.replace(delimiter.encode(), b"\t")
        delimiter = "\t"
    return parse(path, raw, delimiter, quote=None, columns=columns, written=written)


def parse(
    path: Path,
    raw: bytes,
    delimiter: str,
    *,
    quote: str | None,
    columns: Sequence[str] | None,
    written: str = "",
) -> Table:
    """Parse UTF-8 text into columns of text; `columns` names them where there is no header line.

    `written` is the delimiter in the file where `delimiter` has taken its place. Blank lines are skipped. Raises
    `UserError` for a line with too many fields or a quote that is not closed.
    """
    locate = _locator(raw, delimiter, quote, header=columns is None)
    try:
        frame = pl.read_csv(
            _without_blank_lines(raw),
            separator=delimiter,
            quote_char=quote,
            has_header=columns is None,
            schema=None if columns is None else dict.fromkeys(columns, pl.String),
            infer_schema=False,
        )
    except pl.exceptions.PolarsError:
        raise _explain(
            path, raw, delimiter, quote, len(columns) if columns else None, written or delimiter
        ) from None
    return Table(path, frame, locate)


def first_line(raw: bytes) -> str:
    """Return the first line that is not blank."""
    # Not by splitting, which copies the whole file.
    found = re.search(rb"[^\r\n]+", raw)
    return found[0].decode() if found else ""


def delimiter_hint(line: str, delimiter: str) -> str:
    """Return which other delimiter would split `line`, and how to set it; "" where none would."""
    found = next((other for other in DELIMITERS if other != delimiter and other in line), None)
    return f"it looks separated by {found!r}: {DELIMITERS[found]}" if found else ""


def _without_blank_lines(raw: bytes) -> bytes:
    raw = raw.lstrip(b"\r\n")
    # polars reads a blank line as a row of nulls, which would look like a row without ids.
    return re.sub(rb"\n(\r?\n)+", b"\n", raw) if b"\n\n" in raw or b"\n\r\n" in raw else raw


def _records(raw: bytes, delimiter: str, quote: str | None) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its last line, fields) for each record that is not blank."""
    # Slow, but it only runs to put a line number into an error.
    text = io.StringIO(raw.decode(), newline="")
    if quote is None:
        records = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        records = csv.reader(text, delimiter=delimiter, quotechar=quote)
    yield from ((records.line_num, record) for record in records if record)


def _locator(raw: bytes, delimiter: str, quote: str | None, *, header: bool) -> Callable[[int], str]:
    def locate(row: int) -> str:
        try:
            line, _ = next(itertools.islice(_records(raw, delimiter, quote), row + header, None))
        except (csv.Error, StopIteration):
            return f"row {row + 1}"
        return f"line {line}"

    return locate


def _explain(
    path: Path, raw: bytes, delimiter: str, quote: str | None, fields: int | None, written: str
) -> UserError:
    """Return the error for text that polars refused: most often a line with too many fields."""
    try:
        for line, record in _records(raw, delimiter, quote):
            fields = fields or len(record)
            if len(record) > fields:
                mend = (
                    f"quote the fields that hold a {written!r}"
                    if quote
                    else f"no field may hold a {written!r}"
                )
                return UserError(
                    f"{path}, line {line}: {len(record)} fields where {fields} are expected; {mend}"
                )
    except csv.Error as error:
        return UserError(f"{path}: broken delimited text ({error})")
    return UserError(f"{path}: broken delimited text; close every quote, and end every line alike")
