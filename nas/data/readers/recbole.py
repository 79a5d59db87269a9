"""RecBole's atomic files: tab separated, the header says `name:type`."""

from pathlib import Path

import polars as pl

from nas.data.config import DataConfig
from nas.data.readers.delimited import read_table
from nas.data.readers.table import Table, choose_columns, renamed, typed

USUAL = {"user": "user_id", "item": "item_id", "rating": "rating", "timestamp": "timestamp"}


def read_recbole(path: Path, config: DataConfig) -> pl.DataFrame:
    """Read an `.inter` file; columns user, item (str), and if present rating (f64), timestamp (i64).

    Columns are found by name, without their type. Raises `UserError` for a missing column or a bad value.
    """
    table, _ = read_atomic(path)
    return typed(table, choose_columns(table.frame.columns, config, path, USUAL), config)


def read_atomic(path: Path) -> tuple[Table, dict[str, str]]:
    """Read any atomic file; return it with its columns named without their types, and column -> type.

    A type is "token", "token_seq" or the like, and "" where the header says none.
    """
    # Atomic files know no quotes: a title may begin with one.
    table = read_table(path, "\t", quote=None)
    types = {name: kind for name, _, kind in (column.partition(":") for column in table.frame.columns)}
    return renamed(table, lambda name: name.split(":")[0]), types
