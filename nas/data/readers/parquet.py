"""Parquet files."""

import io
from pathlib import Path

import polars as pl

from nas.data.config import DataConfig
from nas.data.readers.files import read_bytes
from nas.data.readers.table import Table, choose_columns, typed
from nas.errors import UserError


def read_parquet(path: Path, config: DataConfig) -> pl.DataFrame:
    """Read a parquet file; columns user, item (str), and if present rating (f64), timestamp (i64).

    Raises `UserError` for a broken file, a missing column or a bad value, with its row.
    """
    table = read_parquet_table(path)
    return typed(table, choose_columns(table.frame.columns, config, path), config)


def read_parquet_table(path: Path) -> Table:
    """Read all columns of a parquet file as they are. Raises `UserError` for a broken file."""
    raw = read_bytes(path)
    try:
        frame = pl.read_parquet(io.BytesIO(raw))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a whole parquet file ({reason}); write or fetch it again") from None
    return Table(path, frame, lambda row: f"row {row + 1}")
