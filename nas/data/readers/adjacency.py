"""LightGCN's adjacency lists: `user item item ...` on each line, separated by spaces."""

from pathlib import Path

import polars as pl

from nas.data.config import DataConfig
from nas.data.readers.delimited import delimiter_hint
from nas.data.readers.files import read_text
from nas.data.readers.table import Table, ids
from nas.errors import UserError


def read_adjacency(path: Path, config: DataConfig) -> pl.DataFrame:  # noqa: ARG001  (the READERS' signature)
    """Read an adjacency list; columns user, item (str), one row a pair.

    A user may have no items, and may have several lines; blank lines are skipped. Raises `UserError` for a
    line that starts with a space (its user is missing) or is separated by something else.
    """
    lines = pl.Series("line", read_text(path).decode().split("\n")).str.strip_chars_end(" \r")
    table = Table(path, lines.to_frame(), lambda row: f"line {row + 1}")
    table.fail(
        lines.str.starts_with(" "),
        "starts with a space, so its user is missing; expected 'user item item ...'",
    )
    foreign = lines.str.contains("\t", literal=True) | (
        lines.str.contains(r"[,;|]|::") & ~lines.str.contains(" ", literal=True)
    )
    if foreign.any():
        hint = delimiter_hint(lines.filter(foreign)[0], " ")
        table.fail(foreign, f"not separated by spaces; {hint}; expected 'user item item ...'")
    fields = lines.str.split(" ")
    pairs = (
        pl.DataFrame({"user": fields.list.first(), "item": fields.list.slice(1)})
        .with_row_index("row")
        .filter(pl.col("item").list.len() > 0)
        .explode("item")
        .filter(pl.col("item") != "")
    )
    if pairs.is_empty():
        raise UserError(f"{path}: no line has an item; expected 'user item item ...'")
    placed = Table(path, pairs, lambda row: f"line {pairs['row'][row] + 1}")
    return pl.DataFrame({role: ids(placed, role) for role in ("user", "item")})
