"""`Interactions`: the one type that every reader ends in and every later stage starts from."""

import hashlib
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]
LongArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Ids = tuple[str, ...]

Scalar = TypeVar("Scalar", bound=np.generic)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class ItemTable:
    """What is known of the items, aligned with `Interactions.item_ids`; a missing column is None.

    Attributes:
        title: one string an item, "" where unknown.
        genres: one tuple of strings an item, () where unknown.
        features: what else is known, "column: value", likewise.
    """

    title: tuple[str, ...] | None = None
    genres: tuple[tuple[str, ...], ...] | None = None
    features: tuple[tuple[str, ...], ...] | None = None

    def fingerprint(self) -> str:
        """Return a sha256 (hex) of all that is known."""
        return hashlib.sha256(repr((self.title, self.genres, self.features)).encode()).hexdigest()

    def select(self, items: LongArray) -> "ItemTable":
        """Return the rows of some items."""

        def pick(column: tuple[T, ...] | None) -> tuple[T, ...] | None:
            return None if column is None else tuple(column[item] for item in items)

        return ItemTable(pick(self.title), pick(self.genres), pick(self.features))


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """Distinct user-item events, as indices into maps of ids.

    Rows are sorted by (user, item) and no pair occurs twice, so the order of the rows in a file changes nothing.
    Ids are text, as written in the source (`"007"` stays `"007"`), and the maps are in natural order (numbers by
    value, then text).

    Attributes:
        user: (n,) int32, index into `user_ids`.
        item: (n,) int32, index into `item_ids`.
        user_ids: the user of each index.
        item_ids: the item of each index.
        rating: (n,) float32, or None where the source has none.
        timestamp: (n,) int64, in the source's unit (dates: microseconds), or None where the source has none.
        part: (n,) int8, 0 train, 1 valid, 2 test, for data that comes already split; else None.
        items: what is known of the items, such as titles, genres and other features.
    """

    user: IntArray
    item: IntArray
    user_ids: Ids
    item_ids: Ids
    rating: FloatArray | None = None
    timestamp: LongArray | None = None
    part: NDArray[np.int8] | None = None
    items: ItemTable = ItemTable()

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        """Number of users in the map, with or without interactions."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items in the map, with or without interactions."""
        return len(self.item_ids)

    @property
    def offsets(self) -> LongArray:
        """(n_users + 1,) int64: the rows of user u are `offsets[u]` to `offsets[u + 1]`."""
        counts = np.bincount(self.user, minlength=self.n_users)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def select(self, rows: BoolArray | LongArray) -> "Interactions":
        """Return the chosen rows (a mask, or increasing indices) with the same maps."""

        def pick(column: NDArray[Scalar] | None) -> NDArray[Scalar] | None:
            return None if column is None else column[rows]

        return replace(
            self,
            user=self.user[rows],
            item=self.item[rows],
            rating=pick(self.rating),
            timestamp=pick(self.timestamp),
            part=pick(self.part),
        )

    def union(self, other: "Interactions") -> "Interactions":
        """Return the pairs of both; the two must share their maps and hold no common pair.

        Ratings, timestamps and parts are kept where both have them.
        """
        assert self.user_ids is other.user_ids, "union needs interactions that share their maps"
        assert self.item_ids is other.item_ids, "union needs interactions that share their maps"
        user, item = np.concatenate([self.user, other.user]), np.concatenate([self.item, other.item])
        order = np.lexsort((item, user))

        def join(one: NDArray[Scalar] | None, two: NDArray[Scalar] | None) -> NDArray[Scalar] | None:
            return None if one is None or two is None else np.concatenate([one, two])[order]

        return replace(
            self,
            user=user[order],
            item=item[order],
            rating=join(self.rating, other.rating),
            timestamp=join(self.timestamp, other.timestamp),
            part=join(self.part, other.part),
        )

    def fingerprint(self) -> str:
        """Return a sha256 (hex) of pairs, ids, ratings, timestamps and parts: equal data, equal fingerprint."""
        digest = hashlib.sha256()
        for ids in (self.user_ids, self.item_ids):
            digest.update("\x00".join(ids).encode() + b"\x01")
        for column in (self.user, self.item, self.rating, self.timestamp, self.part):
            digest.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()
