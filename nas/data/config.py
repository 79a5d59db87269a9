"""The `data` and `split` sections of an experiment file."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nas.data.planted import PlantedConfig

Format = Literal["csv", "tsv", "parquet", "recbole", "adjacency", "movielens"]


class DataConfig(BaseModel):
    """Where the interactions come from: exactly one of `source`, `path`, or `train` with `test`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: Literal["ml-100k", "planted"] | None = None
    """A data set by name: `ml-100k` (fetched once, then cached) or `planted` (generated)."""

    path: Path | None = None
    """One file of interactions; a relative path starts at the folder of the experiment file."""

    train: Path | None = None
    """Training part of data that comes already split."""

    valid: Path | None = None
    """Validation part of a fixed split; without it, one is carved out of `train`."""

    test: Path | None = None
    """Test part of a fixed split."""

    format: Format | None = None
    """How the files are written; None infers it from their names."""

    user: str = "user"
    """Column of the user ids."""

    item: str = "item"
    """Column of the item ids."""

    rating: str | None = None
    """Column of the ratings; None takes the format's usual column (`rating`) where there is one that holds
    numbers, else how often a pair of user and item repeats."""

    timestamp: str | None = None
    """Column of the timestamps; None takes the format's usual column (`timestamp`) where there is one that holds
    numbers or ISO dates."""

    delimiter: str | None = None
    """Column separator of a csv or tsv file, one character; None is a tab for tsv and `,` for csv, or `;` where
    only that finds the columns of users and items in the header."""

    items: Path | None = None
    """Table of the items (csv, tsv, parquet, .item, u.item, movies.dat); ids in the column that `item` names. None
    takes the one that MovieLens and RecBole put beside their files, if it is there."""

    item_title: str = "title"
    """Column of the titles in the item table."""

    item_genres: str = "genres"
    """Column of the genres in the item table."""

    genres_separator: str = Field(default="|", min_length=1)
    """What separates the genres of one item, and its values in a column of `item_features`. Of a RecBole `.item`,
    `|` means that format's own rule: a space in columns of `token_seq`, and a `token` is one value."""

    item_features: tuple[str, ...] = ()
    """More columns of the item table that say what items have in common, such as a brand; genres and the words of titles do
    so anyway, and of a RecBole `.item`, when none is named, all columns of tokens."""

    min_rating: float | None = Field(default=None, allow_inf_nan=False)
    """Implicit feedback: keep the interactions with a rating of at least this; of a repeated pair, the latest
    rating counts."""

    k_core: int = Field(default=0, ge=0)
    """Drop users and items with fewer interactions than this, until none is left; 0 is off."""

    planted: PlantedConfig | None = None
    """What `source: planted` generates; None is the generator's defaults."""

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, delimiter: str | None) -> str | None:
        if delimiter == "::":
            raise ValueError("'::' is the separator of MovieLens' .dat files; set format: movielens instead")
        if delimiter is not None and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n'):
            raise ValueError(f"expected one ASCII character such as ',' or ';', but got {delimiter!r}")
        return delimiter

    @field_validator("item_features", mode="before")
    @classmethod
    def _distinct_features(cls, names: Any) -> Any:
        if not isinstance(names, list | tuple):
            raise ValueError(f"expected a list, such as [{names}], but got {names!r}")
        if len(set(map(str, names))) < len(names):
            raise ValueError(f"columns must differ, but got {list(names)}")
        return names

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [name for name in ("source", "path") if getattr(self, name) is not None]
        if self.train is not None or self.test is not None:
            given.append("train/test")
        if len(given) != 1:
            raise ValueError(
                "expected exactly one of source, path, or train with test; "
                f"got {' and '.join(given) if given else 'none of them'}"
            )
        if (self.train is None) != (self.test is None):
            raise ValueError("train and test come together; give both files, or one file as path")
        if self.valid is not None and self.train is None:
            raise ValueError("valid belongs to a fixed split; give train and test as well")
        if self.planted is not None and self.source != "planted":
            raise ValueError("planted belongs to source: planted")
        if self.source is not None and self.format is not None:
            raise ValueError("format belongs to path or train/test; a source knows its own format")
        if self.source == "planted" and (self.min_rating is not None or self.k_core):
            raise ValueError("source: planted takes neither min_rating nor k_core")
        return self

    @model_validator(mode="after")
    def _distinct_columns(self) -> Self:
        names = [name for name in (self.user, self.item, self.rating, self.timestamp) if name is not None]
        if len(set(names)) < len(names):
            raise ValueError(f"user, item, rating and timestamp must be different columns, but got {names}")
        return self


class SplitConfig(BaseModel):
    """How interactions are divided into train, valid and test."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    strategy: Literal["random", "temporal", "latest", "leave_last_out", "fixed"] | None = None
    """The rule; None is `fixed` where the data comes split and `random` elsewhere. `temporal` cuts all of the data at two
    moments, `latest` holds out what each user had last."""

    seed: int = Field(default=0, ge=0)
    """Seed of what is drawn: by `random` the interactions held out, by `latest` how a user's shares are rounded, by
    `fixed` without a valid part either of these."""

    valid: float = Field(default=0.1, gt=0, lt=1)
    """Share of the interactions held out for validation; `leave_last_out` holds out one item each, and `fixed` uses
    it only where the data has no valid part."""

    test: float = Field(default=0.1, gt=0, lt=1)
    """Share of the interactions held out for the test; neither `leave_last_out` nor `fixed` uses it."""

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.valid + self.test >= 1:
            raise ValueError(f"valid + test < 1 must hold, but got valid={self.valid} and test={self.test}")
        return self
