"""From the `data` section of an experiment to `Interactions`: read, check, clean, index."""

import logging
from dataclasses import replace
from itertools import compress
from pathlib import Path

import numpy as np
import polars as pl

from nas.data.cleaning import core, distinct, keep_rated
from nas.data.config import DataConfig
from nas.data.index import encode
from nas.data.interactions import Ids, IntArray, Interactions
from nas.data.item_features import item_features
from nas.data.items import align, neighbour, read_items
from nas.data.movielens_100k import ml_100k
from nas.data.planted import PlantedConfig, planted
from nas.data.readers import READERS, infer_format
from nas.data.splits import TRAIN, VALID
from nas.errors import UserError
from nas.paths import expanded

log = logging.getLogger("nas.data")


def load(config: DataConfig, folder: Path) -> Interactions:
    """Return the interactions that `config` describes; relative paths start at `folder`.

    Of a repeated user-item pair the earliest part, then the latest timestamp, then the last row is kept; without
    ratings, how often it occurs becomes its rating. `min_rating` goes by the rating that is kept, then `k_core` by
    what is left. What is dropped is told to the logger `nas.data`. Raises `UserError`, one line, for whatever is
    wrong with the files, leaves fewer than two users or items, or leaves nothing of the file `valid`.
    """
    if config.source == "planted":
        return planted(config.planted or PlantedConfig())
    files, items = _files(config, folder)
    where = ", ".join(str(path) for path in files.values())
    if items is None:
        for key in ("item_title", "item_genres", "item_features"):
            if getattr(config, key) != DataConfig.model_fields[key].default:
                raise UserError(f"data.{key}: there is no table of items; say with data.items where it is")
    if config.k_core and len(files) > 1:
        raise UserError(
            f"{where}: k_core would change a split that is fixed; remove data.k_core, or give one file as data.path"
        )
    frame = _read(files, config)
    if config.min_rating is not None and "rating" not in frame.columns:
        # Not how often pairs repeat: who sets a bound on ratings has some.
        raise UserError(
            f"{where}: min_rating needs ratings, but there is no rating column; set data.rating or drop min_rating"
        )
    interactions = _index(frame, config, where)
    if config.valid is not None and not np.any(interactions.part == VALID):
        raise UserError(
            f"{files[VALID]}: none of its interactions is left, for their pairs are in {files[TRAIN]} too or rated "
            "below data.min_rating; give others, or drop data.valid to have a part of train taken"
        )
    for count, name in ((interactions.n_users, "user"), (interactions.n_items, "item")):
        if count < 2:
            raise UserError(
                f"{where}: only {count} {name} is left after cleaning; expected at least 2 {name}s"
            )
    log.info(
        "%d interactions of %d users and %d items",
        len(interactions),
        interactions.n_users,
        interactions.n_items,
    )
    if items is None:
        return interactions
    table = read_items(items, config)
    listed = set(table["item"])
    number = len(listed & set(interactions.item_ids))
    if config.items and not number:
        theirs = f"its ids are such as {table['item'][0]!r}" if listed else "there are no rows in it"
        raise UserError(
            f"{items}: knows none of the {interactions.n_items} items of the events; {theirs}; expected ids such as "
            f"{interactions.item_ids[0]!r}"
        )
    if repeated := len(table) - len(listed):
        log.info("%s: rows of items that stand there before: %d; the first of each counts", items, repeated)
    known = align(table, interactions.item_ids)
    log.info(
        "%s knows %d of them; %d genres, words and other features are those of several",
        items,
        number,
        item_features(known, interactions.n_items).shape[1],
    )
    return replace(interactions, items=known)


def item_table(config: DataConfig, folder: Path) -> Path | None:
    """Return the table of items that `load` reads, if there is one."""
    return None if config.source == "planted" else _files(config, folder)[1]


def _files(config: DataConfig, folder: Path) -> tuple[dict[int, Path], Path | None]:
    """Return part -> file (one file alone is part 0), and the item table if there is one."""
    if config.source == "ml-100k":
        ratings, items = ml_100k()
        return {0: ratings}, items
    named = (config.path or config.train, config.valid, config.test)
    files = {part: folder / expanded(path) for part, path in enumerate(named) if path is not None}
    return files, folder / expanded(config.items) if config.items else neighbour(files[0], config)


def _read(files: dict[int, Path], config: DataConfig) -> pl.DataFrame:
    frames = []
    for part, path in files.items():
        frame = READERS[config.format or infer_format(path)](path, config)
        if len(files) > 1:
            frame = frame.with_columns(part=pl.lit(part, pl.Int8))
        frames.append(frame)
    # A rating or timestamp that one part lacks is of no use to the whole.
    shared = [name for name in frames[0].columns if all(name in frame.columns for frame in frames)]
    return pl.concat([frame.select(shared) for frame in frames])


def _index(frame: pl.DataFrame, config: DataConfig, where: str) -> Interactions:
    user, user_ids = encode(frame["user"])
    item, item_ids = encode(frame["item"])
    frame = distinct(frame.with_columns(user=pl.Series(user), item=pl.Series(item)))
    if config.min_rating is not None:
        # After repeated pairs are one: a later low rating takes back what was liked before.
        frame = keep_rated(frame, config.min_rating, where)
    if config.k_core:
        keep = core(frame["user"].to_numpy(), frame["item"].to_numpy(), config.k_core)
        if not keep.any():
            raise UserError(f"{where}: nothing is left with k_core: {config.k_core}; choose a smaller one")
        frame = frame.filter(pl.Series(keep))
    user, user_ids = _compact(frame["user"].to_numpy(), user_ids)
    item, item_ids = _compact(frame["item"].to_numpy(), item_ids)

    def column(name: str, dtype: type[np.generic]) -> np.ndarray | None:
        return frame[name].to_numpy().astype(dtype) if name in frame.columns else None

    return Interactions(
        user=user,
        item=item,
        user_ids=user_ids,
        item_ids=item_ids,
        rating=column("rating", np.float32),
        timestamp=column("timestamp", np.int64),
        part=column("part", np.int8),
    )


def _compact(codes: IntArray, ids: Ids) -> tuple[IntArray, Ids]:
    used = np.bincount(codes, minlength=len(ids)) > 0
    return (np.cumsum(used) - 1)[codes].astype(np.int32), tuple(compress(ids, used))
