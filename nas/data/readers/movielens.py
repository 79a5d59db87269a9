"""MovieLens' own files: `u.data` and the folds beside it, `ratings.dat`, `ratings.csv`."""

from pathlib import Path

import polars as pl

from nas.data.config import DataConfig
from nas.data.readers.delimited import read_headerless, read_table
from nas.data.readers.table import USUAL, choose_columns, typed

COLUMNS = ("user", "item", "rating", "timestamp")


def read_movielens(path: Path, config: DataConfig) -> pl.DataFrame:
    """Read a MovieLens file; columns user, item (str), rating (f64), timestamp (i64).

    A name in `.csv` has a header, one in `.dat` is separated by `::`, any other by tabs. Raises `UserError`
    for another number of fields or a bad value, with its line.
    """
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix == ".csv":
        table = read_table(path, ",")
        usual = USUAL | {"user": "userId", "item": "movieId"}
        return typed(table, choose_columns(table.frame.columns, config, path, usual), config)
    delimiter = "::" if suffix == ".dat" else "\t"
    table = read_headerless(
        path, delimiter, COLUMNS, "if it is not a MovieLens file, set data.format to what it is"
    )
    return typed(table, {column: column for column in COLUMNS})
