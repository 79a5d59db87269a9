"""Generated interactions whose right answers are known: a model that fails on them is broken."""

from collections.abc import Callable
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from nas.data.interactions import BoolArray, Interactions, ItemTable
from nas.randomness import stream


class PlantedConfig(BaseModel):
    """What to generate."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["blocks", "two_hop"] = "blocks"
    """`blocks`: users like the items of their block. `two_hop`: answers lie two hops away on a ring."""

    users: int = Field(default=200, ge=2)
    """Number of users."""

    items: int = Field(default=150, ge=2)
    """Number of items."""

    blocks: int = Field(default=5, ge=1)
    """Number of blocks; `two_hop` has none."""

    interactions_per_user: int = Field(default=12, ge=1)
    """Interactions of each user, all parts together."""

    noise: float = Field(default=0.1, ge=0, le=1)
    """Share of the (training) interactions that go to any item at all."""

    seed: int = Field(default=0, ge=0)
    """Seed of the generator."""

    @model_validator(mode="after")
    def _items_suffice(self) -> Self:
        least = 1 if self.kind == "blocks" else 3
        most = self.items // self.blocks if self.kind == "blocks" else self.items // 2
        if not least <= self.interactions_per_user <= most:
            raise ValueError(
                f"{least} <= interactions_per_user <= {most} must hold for {self.kind} with these items, "
                f"but got {self.interactions_per_user}"
            )
        return self


def planted(config: PlantedConfig) -> Interactions:
    """Return the interactions that `config` describes: `user-0`, ..., `item-0`, ..., with titles.

    `blocks` comes whole, to be split like any data; `two_hop` comes with `part`, its right answers held out.
    """
    return KINDS[config.kind](config)


def blocks(config: PlantedConfig) -> Interactions:
    """Users like random items of their own block; the items of other blocks only by `noise`.

    All items are about equally popular, so popularity is no better than chance, and whatever looks at
    co-consumption finds the block. Test NDCG@10 on the random split of the defaults, seed 0 (seed 1): chance
    .043 (.034), popularity .047 (.016), truncated SVD of rank 8 .194 (.208), path counts A A^T A .221 (.194);
    who knows the blocks alone does no better, for within a block the order is random.
    """
    rng = stream(config.seed, "planted")
    user_block = np.arange(config.users) * config.blocks // config.users
    item_block = np.arange(config.items) * config.blocks // config.items
    own = user_block[:, None] == item_block
    weight = (1 - config.noise) * own / own.sum(axis=1, keepdims=True) + config.noise / config.items
    # Exponential arrival times with these rates: the first k arrivals are k draws without replacement.
    with np.errstate(divide="ignore"):
        arrival = rng.exponential(size=weight.shape) / weight
    likes = np.zeros(weight.shape, dtype=np.bool_)
    first = np.argpartition(arrival, config.interactions_per_user - 1, axis=1)[
        :, : config.interactions_per_user
    ]
    np.put_along_axis(likes, first, True, axis=1)
    titles = tuple(f"block {block} item {item}" for item, block in enumerate(item_block))
    genres = tuple((f"block {block}",) for block in item_block)
    return _interactions(likes, ItemTable(titles, genres))


def two_hop(config: PlantedConfig) -> Interactions:
    """Users and items sit on a ring; each user's k items are consecutive, and the two at the ends are held out.

    One end (by a coin) is test, the other valid, the k - 2 between them train, of which `noise` is moved to
    random items. The ends are reached over the windows of neighbours (user - item - user - item), popularity
    is flat, and few dimensions cannot tell the places of a long ring apart: take many items and small
    windows. With 400 users, 400 items and 6 interactions a user, test NDCG@10, valid masked, seed 0 (seed 1):

        chance                               .011 (.010)
        popularity                           .009 (.015)
        truncated SVD, rank 8                .151 (.187)
        truncated SVD, rank 16               .345 (.317)
        BPR matrix factorisation, 16 columns .234 (.214); 64 columns .539 (.491)
        the same, two LightGCN layers        .703 (.620); 64 columns .842 (.828)
        path counts A A^T A                  .873 (.844)

    On the default sizes (windows of 12 on a ring of 150) a rank of 16 is enough: .747, path counts .751.
    """
    rng = stream(config.seed, "planted")
    n_users, n_items, k = config.users, config.items, config.interactions_per_user
    user = np.arange(n_users)
    window = (user[:, None] * n_items // n_users + np.arange(k)) % n_items
    left_is_test = rng.random(n_users) < 0.5
    ends = window[:, [0, -1]]
    valid, test = np.where(left_is_test, ends.T[::-1], ends.T)
    nowhere, train = -1, 0
    parts = np.full((n_users, n_items), nowhere, dtype=np.int8)
    np.put_along_axis(parts, window, train, axis=1)
    parts[user, valid], parts[user, test] = 1, 2
    moved = (parts == train) & (rng.random(parts.shape) < config.noise)
    # As many items as moved away, at random among those the user does not have.
    lottery = np.where(parts == nowhere, rng.random(parts.shape), 1).argsort(axis=1).argsort(axis=1)
    parts[moved] = nowhere
    parts[lottery < moved.sum(axis=1, keepdims=True)] = train
    titles = tuple(f"ring item {item}" for item in range(n_items))
    return _interactions(parts >= 0, ItemTable(titles), parts)


KINDS: dict[str, Callable[[PlantedConfig], Interactions]] = {"blocks": blocks, "two_hop": two_hop}


def _interactions(
    likes: BoolArray, items: ItemTable, parts: np.ndarray[tuple[int, int], np.dtype[np.int8]] | None = None
) -> Interactions:
    """Return the interactions of a (users, items) mask and their parts."""
    user, item = np.nonzero(likes)
    return Interactions(
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        user_ids=tuple(f"user-{index}" for index in range(likes.shape[0])),
        item_ids=tuple(f"item-{index}" for index in range(likes.shape[1])),
        part=None if parts is None else parts[user, item],
        items=items,
    )
