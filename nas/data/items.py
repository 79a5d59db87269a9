"""Item tables: titles and genres from the files that data sets come with."""

import logging
from collections.abc import Callable
from pathlib import Path

import polars as pl

from nas.data.config import DataConfig
from nas.data.interactions import Ids, ItemTable
from nas.data.readers import infer_format
from nas.data.readers.delimited import first_line, read_headerless, read_table
from nas.data.readers.files import read_text
from nas.data.readers.parquet import read_parquet_table
from nas.data.readers.recbole import read_atomic
from nas.data.readers.table import Table, ids, missing_column
from nas.errors import UserError

log = logging.getLogger("nas.data")

ML_100K_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *(
        "Fantasy",
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ),
)
NO_GENRES = "(no genres listed)"
ADVICE = "give MovieLens' own file, or a csv with a header"


def read_items(path: Path, config: DataConfig) -> pl.DataFrame:
    """Read an item table: columns item (str) and, where present, title (str) and genres (list of str).

    The name of the file tells its form: u.item, movies.dat, .item, .parquet, .tsv, and anything else is csv.
    Raises `UserError` for missing columns or a broken file.
    """
    name = path.name.lower().removesuffix(".gz")
    found = next((read for end, read in ITEM_READERS.items() if name.endswith(end)), _read_csv)
    return found(path, config)


def neighbour(path: Path, config: DataConfig) -> Path | None:
    """Return the item table that MovieLens and RecBole put beside the interactions in `path`, if it is there."""
    stem = Path(path.name.removesuffix(".gz")).stem
    beside = {
        "recbole": {"": f"{stem}.item"},
        "movielens": {".csv": "movies.csv", ".dat": "movies.dat", "": "u.item"},
    }.get(config.format or infer_format(path), {})
    name = beside.get(path.suffix) or beside.get("")
    found = path.with_name(name) if name else None
    return found if found is not None and found.is_file() else None


def align(table: pl.DataFrame, item_ids: Ids) -> ItemTable:
    """Return the rows of `item_ids`, in their order; of a repeated item the first row counts."""
    catalogue = pl.DataFrame({"item": pl.Series(item_ids, dtype=pl.String)})
    rows = catalogue.join(
        table.unique("item", keep="first", maintain_order=True), on="item", how="left", maintain_order="left"
    )
    title = genres = None
    if "title" in rows.columns:
        title = tuple(rows["title"].fill_null("").to_list())
    if "genres" in rows.columns:
        genres = tuple(tuple(names or ()) for names in rows["genres"].to_list())
    return ItemTable(title, genres)


def _read_u_item(path: Path, config: DataConfig) -> pl.DataFrame:  # noqa: ARG001  (the ITEM_READERS' signature)
    columns = ("item", "title", "released", "video", "address", *ML_100K_GENRES)
    table = read_headerless(path, "|", columns, ADVICE)
    flags = pl.concat_list(
        pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in ML_100K_GENRES
    ).list.drop_nulls()
    return table.frame.select(ids(table, "item").alias("item"), "title", flags.alias("genres"))


def _read_dat(path: Path, config: DataConfig) -> pl.DataFrame:  # noqa: ARG001
    return _select(
        read_headerless(path, "::", ("item", "title", "genres"), ADVICE), "item", "title", "genres", "|"
    )


def _read_atomic(path: Path, config: DataConfig) -> pl.DataFrame:
    table = read_atomic(path)
    columns = table.frame.columns
    item = config.item if config.item in columns else "item_id"
    title = _first(columns, config.item_title, "movie_title", "name")
    genres = _first(columns, config.item_genres, "class", "genre", "categories")
    if title and "release_year" in columns:
        # RecBole cut the year off the title; remakes need it.
        year = pl.col("release_year")
        dated = (
            pl.when(year.str.contains(r"^\d{4}$")).then(pl.format("{} ({})", title, year)).otherwise(title)
        )
        table = Table(path, table.frame.with_columns(dated.alias(title)), table.locate)
    return _select(table, item, title, genres, " ")


def _read_parquet(path: Path, config: DataConfig) -> pl.DataFrame:
    return _by_name(read_parquet_table(path), config)


def _read_csv(path: Path, config: DataConfig) -> pl.DataFrame:
    header = first_line(read_text(path))
    wanted = {config.item, "movieId"}
    usual = "\t" if ".tsv" in path.suffixes else ","
    # The delimiter setting is that of the interactions; the item table may have another one.
    delimiter = next((d for d in (usual, ",", "\t", ";", "|") if wanted & set(header.split(d))), usual)
    return _by_name(read_table(path, delimiter), config)


def _by_name(table: Table, config: DataConfig) -> pl.DataFrame:
    columns = table.frame.columns
    item = config.item if config.item in columns or "movieId" not in columns else "movieId"
    for key in ("item_title", "item_genres"):
        name = getattr(config, key)
        if name not in columns and name != DataConfig.model_fields[key].default:
            raise missing_column(table.path, name, columns, key)
    title, genres = _first(columns, config.item_title), _first(columns, config.item_genres)
    return _select(table, item, title, genres, config.genres_separator)


def _first(columns: list[str], *names: str) -> str | None:
    return next((name for name in names if name in columns), None)


def _select(table: Table, item: str, title: str | None, genres: str | None, separator: str) -> pl.DataFrame:
    if item not in table.frame.columns:
        raise missing_column(table.path, item, table.frame.columns, "item")
    if title is None and genres is None:
        raise UserError(
            f"{table.path}: neither titles nor genres among {', '.join(table.frame.columns)}; "
            "set data.item_title or data.item_genres"
        )
    for name, key in ((title, "item_title"), (genres, "item_genres")):
        if name is None:
            log.info("%s: no column for data.%s among %s", table.path, key, ", ".join(table.frame.columns))
    columns = [ids(table, item).alias("item")]
    if title is not None:
        columns.append(table.frame[title].cast(pl.String).alias("title"))
    if genres is not None:
        columns.append(_split_genres(table.frame[genres], separator).alias("genres"))
    return pl.DataFrame(columns)


def _split_genres(column: pl.Series, separator: str) -> pl.Series:
    lists = column if column.dtype == pl.List(pl.String) else column.cast(pl.String).str.split(separator)
    element = pl.element().str.strip_chars()
    return lists.list.eval(element.filter((element != "") & (element != NO_GENRES)))


ITEM_READERS: dict[str, Callable[[Path, DataConfig], pl.DataFrame]] = {
    "u.item": _read_u_item,
    ".dat": _read_dat,
    ".item": _read_atomic,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".tsv": _read_csv,
}
