"""RecBole's atomic files: tab separated, the header says `name:type`."""

from pathlib import Path

import polars as pl

from nas.data.config import DataConfig
from nas.data.readers.delimited import first_line, read_table
from nas.data.readers.files import read_text
from nas.data.readers.table import Table, choose_columns, renamed, typed

USUAL = {"user": "user_id", "item": "item_id", "rating": "rating", "timestamp": "timestamp"}


def read_recbole(path: Path, config: DataConfig) -> pl.DataFrame:
    """Read an `.inter` file; columns user, item (str), and if present rating (f64), timestamp (i64).

    Columns are found by name, without their type. Raises `UserError` for a missing column or a bad value.
    """
    table = read_atomic(path)
    return typed(table, choose_columns(table.frame.columns, config, path, USUAL))


def token_columns(path: Path) -> list[str]:
    """Return the columns of an atomic file that hold tokens, one or several."""
    named = (column.split(":") for column in first_line(read_text(path)).split("\t"))
    return [name for name, *types in named if types and types[0] in ("token", "token_seq")]


def read_atomic(path: Path) -> Table:
    """Read any atomic file, its columns named without their types."""
    # Atomic files know no quotes: a title may begin with one.
    return renamed(read_table(path, "\t", quote=None), lambda name: name.split(":")[0])
