"""Item tables: titles, genres and other features from the files that data sets come with."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from nas.data.config import DataConfig
from nas.data.interactions import Ids, ItemTable
from nas.data.readers import infer_format
from nas.data.readers.delimited import fields_of, read_headerless, read_table
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
    """Read an item table: columns item (str) and, where present, title (str), genres and features (lists of str).

    The name of the file tells its form: u.item, movies.dat, .item, .parquet, .tsv, and anything else is csv.
    Raises `UserError` for missing columns or a broken file.
    """
    name = path.name.lower().removesuffix(".gz")
    read = ITEM_READERS.get(name) or ITEM_READERS.get(Path(name).suffix, _read_csv)
    return read(path, config)


def neighbour(path: Path, config: DataConfig) -> Path | None:
    """Return the item table that MovieLens and RecBole put beside the interactions in `path`, if it is there.

    Either file may be compressed, and called in capitals.
    """
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    beside = {
        "recbole": {"": f"{plain.stem}.item"},
        "movielens": {".csv": "movies.csv", ".dat": "movies.dat", "": "u.item"},
    }.get(config.format or infer_format(path), {})
    name = beside.get(plain.suffix.lower()) or beside.get("", "")
    written = [path.parent / one for one in (name, f"{name}.gz", name.upper(), f"{name}.GZ".upper())]
    return next((one for one in written if name and one.is_file()), None)


def align(table: pl.DataFrame, item_ids: Ids) -> ItemTable:
    """Return the rows of `item_ids`, in their order; of a repeated item the first row counts."""
    catalogue = pl.DataFrame({"item": pl.Series(item_ids, dtype=pl.String)})
    rows = catalogue.join(
        table.unique("item", keep="first", maintain_order=True), on="item", how="left", maintain_order="left"
    )
    title = tuple(rows["title"].fill_null("").to_list()) if "title" in rows.columns else None
    genres, features = (
        tuple(tuple(names or ()) for names in rows[name].to_list()) if name in rows.columns else None
        for name in ("genres", "features")
    )
    return ItemTable(title, genres, features)


def _read_u_item(path: Path, config: DataConfig) -> pl.DataFrame:
    columns = ("item", "title", "released", "video", "address", *ML_100K_GENRES)
    table = read_headerless(path, "|", columns, ADVICE)
    _check_names(path, ["title", "genres"], config)
    flags = pl.concat_list(
        pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in ML_100K_GENRES
    ).list.drop_nulls()
    return table.frame.select(ids(table, "item").alias("item"), "title", flags.alias("genres"))


def _read_dat(path: Path, config: DataConfig) -> pl.DataFrame:
    table = read_headerless(path, "::", ("item", "title", "genres"), ADVICE)
    _check_names(path, ["title", "genres"], config)
    return _select(table, "item", "title", "genres", config.genres_separator, config.item_features)


def _read_atomic(path: Path, config: DataConfig) -> pl.DataFrame:
    table, types = read_atomic(path)
    columns = table.frame.columns
    _check_names(path, columns, config)
    item = config.item if config.item in columns else "item_id"
    title = _first(columns, config.item_title, "movie_title", "name")
    genres = _first(columns, config.item_genres, "class", "genre", "categories")
    features = config.item_features or [
        name
        for name, kind in types.items()
        if kind in ("token", "token_seq") and name not in (item, title, genres, "release_year")
    ]
    if not (title or genres or features) and item in columns:
        # It lies beside the interactions and is read unasked, so it may say nothing of use.
        log.info("%s: neither titles, genres nor tokens among %s", path, ", ".join(columns))
        return table.frame.select(ids(table, item).alias("item"))
    if title and "release_year" in columns:
        # RecBole cut the year off the title; remakes need it.
        year = pl.col("release_year")
        dated = (
            pl.when(year.str.contains(r"^\d{4}$")).then(pl.format("{} ({})", title, year)).otherwise(title)
        )
        table = Table(path, table.frame.with_columns(dated.alias(title)), table.locate)
    if config.genres_separator != DataConfig.model_fields["genres_separator"].default:
        return _select(table, item, title, genres, config.genres_separator, features)
    several = [
        name for name in {genres, *features} - {title} if name is not None and types[name].endswith("_seq")
    ]
    lists = table.frame.with_columns(pl.col(several).str.split(" "))
    # No field of a tab separated file holds a tab: what is no list stays whole.
    return _select(Table(path, lists, table.locate), item, title, genres, "\t", features)


def _read_parquet(path: Path, config: DataConfig) -> pl.DataFrame:
    return _by_name(read_parquet_table(path), config)


def _read_csv(path: Path, config: DataConfig) -> pl.DataFrame:
    usual = "\t" if ".tsv" in path.suffixes else ","

    def delimiter(header: str) -> str:
        # The delimiter setting is that of the interactions; the item table may have another one.
        tried = [d for d in (usual, ",", "\t", ";", "|", " ") if d in header]
        named = [d for d in tried if {config.item, "movieId"} & fields_of(header, d)]
        return next(iter([*named, *tried]), usual)

    return _by_name(read_table(path, delimiter), config)


def _by_name(table: Table, config: DataConfig) -> pl.DataFrame:
    columns = table.frame.columns
    item = config.item if config.item in columns or "movieId" not in columns else "movieId"
    _check_names(table.path, columns, config)
    title, genres = _first(columns, config.item_title), _first(columns, config.item_genres)
    return _select(table, item, title, genres, config.genres_separator, config.item_features)


def _first(columns: list[str], *names: str) -> str | None:
    return next((name for name in names if name in columns), None)


def _select(
    table: Table, item: str, title: str | None, genres: str | None, separator: str, features: Sequence[str]
) -> pl.DataFrame:
    if item not in table.frame.columns:
        raise UserError(
            f"{table.path}, line 1: no column {item!r}, which holds the items in the events; the columns are "
            f"{', '.join(table.frame.columns)}; call that of the items {item!r} here as well"
        )
    if title is None and genres is None and not features:
        raise UserError(
            f"{table.path}: neither titles nor genres among {', '.join(table.frame.columns)}; "
            "set data.item_title, data.item_genres or data.item_features"
        )
    for name, key in ((title, "item_title"), (genres, "item_genres")):
        if name is None:
            log.info("%s: no column for data.%s among %s", table.path, key, ", ".join(table.frame.columns))
    columns = [ids(table, item).alias("item")]
    if title is not None:
        columns.append(_cast(table, title, pl.String).alias("title"))
    if genres is not None:
        columns.append(_split(table, genres, separator).alias("genres"))
    frame = pl.DataFrame(columns)
    if features:
        values = [_split(table, name, separator).alias(name) for name in features]
        # A red label is not a red wine.
        named = [
            pl.col(name).fill_null([]).list.eval(pl.lit(f"{name}: ") + pl.element()) for name in features
        ]
        frame = frame.with_columns(pl.DataFrame(values).select(pl.concat_list(named).alias("features")))
    return frame


def _check_names(path: Path, columns: Sequence[str], config: DataConfig) -> None:
    """Raise `UserError` for a title, genres or a feature that is set and not there; defaults may be missing."""
    for key in ("item_title", "item_genres"):
        name = getattr(config, key)
        if name not in columns and name != DataConfig.model_fields[key].default:
            raise missing_column(path, name, columns, key)
    for name in config.item_features:
        if name not in columns:
            raise missing_column(path, name, columns, "item_features")


def _cast(table: Table, name: str, dtype: pl.DataType | type[pl.DataType]) -> pl.Series:
    values = table.frame[name]
    try:
        return values.cast(dtype)
    except pl.exceptions.PolarsError:
        raise UserError(
            f"{table.path}: column {name!r} holds {values.dtype} that is not {dtype}; expected text"
        ) from None


def _split(table: Table, name: str, separator: str) -> pl.Series:
    if table.frame[name].dtype in (pl.List, pl.Array):
        lists = _cast(table, name, pl.List(pl.String))
    else:
        lists = _cast(table, name, pl.String).str.split(separator)
    element = pl.element().str.strip_chars()
    return lists.list.eval(element.filter((element != "") & (element != NO_GENRES)))


ITEM_READERS: dict[str, Callable[[Path, DataConfig], pl.DataFrame]] = {
    "u.item": _read_u_item,
    ".dat": _read_dat,
    ".item": _read_atomic,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".csv": _read_csv,
    ".tsv": _read_csv,
}
