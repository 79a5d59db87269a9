"""One reader a format: `read(path, config)` returns user, item (str), and rating (f64), timestamp (i64)."""

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl

from nas.data.config import DataConfig, Format
from nas.data.readers.adjacency import read_adjacency
from nas.data.readers.delimited import read_csv, read_tsv
from nas.data.readers.movielens import read_movielens
from nas.data.readers.parquet import read_parquet
from nas.data.readers.recbole import read_recbole
from nas.errors import UserError

Reader = Callable[[Path, DataConfig], pl.DataFrame]

READERS: dict[Format, Reader] = {
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": read_parquet,
    "recbole": read_recbole,
    "adjacency": read_adjacency,
    "movielens": read_movielens,
}

# The first pattern that matches the whole name, in lower case and without .gz, gives the format.
NAMES: dict[str, Format] = {
    r"u\.data|u[ab1-5]\.(base|test)|ratings\.(dat|csv)": "movielens",
    r".*\.csv": "csv",
    r".*\.tsv": "tsv",
    r".*\.(parquet|pq)": "parquet",
    r".*\.inter": "recbole",
}


def infer_format(path: Path) -> Format:
    """Return the format that the name of `path` stands for. Raises `UserError` where it stands for none."""
    name = path.name.lower().removesuffix(".gz")
    for pattern, found in NAMES.items():
        if re.fullmatch(pattern, name):
            return found
    raise UserError(f"{path}: the name does not tell the format; set data.format to one of {sorted(READERS)}")


__all__ = ["READERS", "Reader", "infer_format"]
