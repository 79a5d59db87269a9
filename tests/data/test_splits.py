from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nas.data import SPLITS, DataConfig, Interactions, PlantedConfig, Split, SplitConfig, load, planted, split
from nas.data.splits import comes_next
from nas.errors import UserError

FEW = settings(max_examples=25)


def build(pairs: dict[tuple[int, int], int], parts: bool = False) -> Interactions:
    """Interactions of (user, item) -> timestamp; with `parts`, timestamps modulo 3 are the parts."""
    user, item = (np.array([pair[axis] for pair in sorted(pairs)], dtype=np.int32) for axis in (0, 1))
    time = np.array([pairs[pair] for pair in sorted(pairs)], dtype=np.int64)
    return Interactions(
        user=user,
        item=item,
        user_ids=tuple(map(str, range(max(user, default=0) + 1))),
        item_ids=tuple(map(str, range(max(item, default=0) + 1))),
        timestamp=time,
        part=(time % 3).astype(np.int8) if parts else None,
    )


pairs = st.dictionaries(
    st.tuples(st.integers(0, 12), st.integers(0, 30)), st.integers(-5, 40), min_size=40, max_size=150
)


def keys(interactions: Interactions) -> list[tuple[int, int]]:
    return list(zip(interactions.user.tolist(), interactions.item.tolist(), strict=True))


def attempt(interactions: Interactions, config: SplitConfig) -> Split:
    """The split; where a part stays empty, another example."""
    try:
        return split(interactions, config)
    except UserError:
        # Not passed over: where every example fails, hypothesis says so.
        reject()


@pytest.mark.parametrize("strategy", list(SPLITS))
@given(pairs=pairs, seed=st.integers(0, 5))
@FEW
def test_parts_are_disjoint_and_make_the_whole(
    strategy: str, pairs: dict[tuple[int, int], int], seed: int
) -> None:
    whole = build(pairs, parts=strategy == "fixed")
    parts = attempt(whole, SplitConfig(strategy=strategy, seed=seed, valid=0.2, test=0.2))
    found = keys(parts.train) + keys(parts.valid) + keys(parts.test)
    assert len(found) == len(set(found))
    assert sorted(found) == sorted(pairs)
    for part in (parts.train, parts.valid, parts.test):
        assert part.user_ids is whole.user_ids
        assert part.item_ids is whole.item_ids
        assert part.part is None
        assert part.timestamp is not None
        assert part.timestamp.tolist() == [pairs[pair] for pair in keys(part)]


@given(pairs=pairs, seed=st.integers(0, 5), valid=st.floats(0.05, 0.45), test=st.floats(0.05, 0.45))
@FEW
def test_random_leaves_every_user_something_to_train_on(
    pairs: dict[tuple[int, int], int], seed: int, valid: float, test: float
) -> None:
    parts = attempt(build(pairs), SplitConfig(strategy="random", seed=seed, valid=valid, test=test))
    assert set(parts.train.user.tolist()) == {user for user, _ in pairs}


@given(pairs=pairs)
@FEW
def test_temporal_never_trains_on_the_future(pairs: dict[tuple[int, int], int]) -> None:
    parts = attempt(build(pairs), SplitConfig(strategy="temporal", valid=0.2, test=0.2))
    train, valid, test = (part.timestamp for part in (parts.train, parts.valid, parts.test))
    assert train is not None
    assert valid is not None
    assert test is not None
    # Ties stay together, so the order is strict.
    assert train.max() < valid.min()
    assert valid.max() < test.min()


@given(pairs=pairs)
@FEW
def test_leave_last_out_agrees_with_a_loop_over_users(pairs: dict[tuple[int, int], int]) -> None:
    parts = attempt(build(pairs), SplitConfig(strategy="leave_last_out"))
    valid, test = [], []
    for user in sorted({user for user, _ in pairs}):
        mine = sorted((time, item) for (owner, item), time in pairs.items() if owner == user)
        if len(mine) >= 3:
            valid.append((user, mine[-2][1]))
            test.append((user, mine[-1][1]))
    assert keys(parts.valid) == valid
    assert keys(parts.test) == test


@given(pairs=pairs, seed=st.integers(0, 5))
@FEW
def test_latest_holds_out_what_each_user_had_last(pairs: dict[tuple[int, int], int], seed: int) -> None:
    parts = attempt(build(pairs), SplitConfig(strategy="latest", seed=seed, valid=0.2, test=0.2))
    for user in {user for user, _ in pairs}:
        train, valid, test = (
            [(pairs[pair], pair[1]) for pair in keys(part) if pair[0] == user]
            for part in (parts.train, parts.valid, parts.test)
        )
        assert train
        assert max(train) < min(valid, default=(99, 0))
        assert max(train + valid) < min(test, default=(99, 0))
        count = len(train + valid + test)
        assert abs(len(valid + test) - 0.4 * count) < 1 or len(train) == 1
        assert abs(len(test) - 0.2 * count) < 1


@pytest.mark.parametrize("later", [True, False])
def test_what_is_carved_out_of_train_is_the_latest_where_test_is_what_comes_next(later: bool) -> None:
    rng = np.random.default_rng(0)
    pairs = {(user, int(item)): n for user in range(60) for n, item in enumerate(rng.permutation(30)[:20])}
    whole = build(pairs)
    assert whole.timestamp is not None
    held = whole.timestamp >= 16 if later else rng.random(len(whole)) < 0.2
    found = split(replace(whole, part=np.where(held, 2, 0).astype(np.int8)), SplitConfig())
    assert keys(found.test) == [pair for pair, out in zip(keys(whole), held, strict=True) if out]
    carved = np.mean([pairs[pair] for pair in keys(found.valid)])
    assert len(found.valid) == pytest.approx(0.1 * len(pairs) * 0.8, rel=0.3)
    # Of places 0 to 15, or 0 to 19, the mean.
    assert carved > 13.5 if later else 8.5 < carved < 10.5


@pytest.mark.parametrize("same", [1, 2, 4])
def test_what_comes_next_is_known_from_coarse_times_too(same: int) -> None:
    # So many interactions have the same time; parts are cut between two of them for some users, at a time for others.
    rng = np.random.default_rng(0)
    pairs = {
        (user, int(item)): (n + user % 4) // same
        for user in range(60)
        for n, item in enumerate(rng.permutation(30)[:20])
    }
    parts = split(build(pairs), SplitConfig(strategy="latest", valid=0.2, test=0.2))
    assert comes_next(parts.train, parts.valid)
    assert not comes_next(parts.valid, parts.train)
    assert not comes_next(replace(parts.train, timestamp=None), parts.valid)
    drawn = split(build(pairs), SplitConfig(valid=0.2, test=0.2))
    assert not comes_next(drawn.train, drawn.valid)


def test_times_that_tell_nothing_apart_carve_at_random() -> None:
    pairs = {(user, item): 7 for user in range(40) for item in range(20)}
    whole = build(pairs)
    parts = np.where(whole.item % 5 == 0, 2, 0).astype(np.int8)
    found = split(replace(whole, part=parts), SplitConfig())
    assert 7 < found.valid.item.mean() < 12


def test_the_same_seed_gives_the_same_split_and_another_one_another() -> None:
    whole = planted(PlantedConfig())
    first, again, other = (split(whole, SplitConfig(seed=seed)).test.fingerprint() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@given(order=st.permutations(range(60)))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_rows_in_the_file_changes_nothing(tmp_path: Path, order: list[int]) -> None:
    rows = [(f"u{n % 7}", f"i{n * n % 31}-{n % 5}", n * 37 % 50) for n in range(60)]
    rows = list({row[:2]: row for row in rows}.values())
    shuffled = [rows[n] for n in order if n < len(rows)]
    fingerprints, strategies = [], [name for name in SPLITS if name != "fixed"]
    for table in (rows, shuffled):
        pl.DataFrame(table, schema=["user", "item", "timestamp"], orient="row").write_csv(tmp_path / "t.csv")
        interactions = load(DataConfig(path=Path("t.csv")), tmp_path)
        for strategy in strategies:
            parts = split(interactions, SplitConfig(strategy=strategy, valid=0.2, test=0.2))
            fingerprints.append(parts.test.fingerprint() + parts.valid.fingerprint())
    assert fingerprints[: len(strategies)] == fingerprints[len(strategies) :]


@pytest.mark.parametrize("per_user", [2, 3, 5, 20])
def test_random_shares_hold_on_sparse_data(per_user: int) -> None:
    # Rounding down would hold out nothing here, rounding up far too much.
    config = PlantedConfig(users=5000, items=200, interactions_per_user=per_user)
    parts = split(planted(config), SplitConfig(valid=0.1, test=0.2))
    n = 5000 * per_user
    assert len(parts.valid) / n == pytest.approx(0.1, abs=0.012)
    assert len(parts.test) / n == pytest.approx(0.2, abs=0.012)


def test_random_gives_both_parts_their_share_where_only_one_item_can_go() -> None:
    config = PlantedConfig(users=4000, items=200, interactions_per_user=2)
    parts = split(planted(config), SplitConfig(valid=0.45, test=0.45))
    assert len(parts.valid) == pytest.approx(2000, abs=150)
    assert len(parts.test) == pytest.approx(2000, abs=150)


def test_random_picks_items_evenly() -> None:
    whole = build({(user, item): 0 for user in range(2000) for item in range(10)})
    counts = np.bincount(split(whole, SplitConfig(test=0.2)).test.item)
    assert counts.min() > 330
    assert counts.max() < 470


def test_data_that_comes_split_stays_so() -> None:
    whole = planted(PlantedConfig(kind="two_hop"))
    assert whole.part is not None
    parts = split(whole, SplitConfig(seed=9))
    assert keys(parts.valid) == keys(whole.select(whole.part == 1))
    assert keys(parts.test) == keys(whole.select(whole.part == 2))


def test_a_missing_valid_part_is_carved_out_of_train() -> None:
    whole = planted(PlantedConfig(kind="two_hop", users=1000, items=500))
    assert whole.part is not None
    whole = replace(whole, part=np.where(whole.part == 1, 0, whole.part).astype(np.int8))
    assert whole.part is not None
    parts = split(whole, SplitConfig(valid=0.2))
    assert keys(parts.test) == keys(whole.select(whole.part == 2))
    assert len(parts.valid) == pytest.approx(0.2 * 11_000, rel=0.03)
    assert set(parts.train.user.tolist()) == set(range(1000))
    assert keys(split(whole, SplitConfig(valid=0.2, seed=1)).valid) != keys(parts.valid)


@pytest.mark.parametrize("strategy", ["temporal", "latest", "leave_last_out"])
def test_timestamps_are_asked_for(strategy: str) -> None:
    with pytest.raises(UserError, match=f"{strategy} needs timestamps.*set data.timestamp"):
        split(planted(PlantedConfig()), SplitConfig(strategy=strategy))


def test_fixed_needs_parts() -> None:
    with pytest.raises(UserError, match=r"fixed needs data that comes split; give data.train and data.test"):
        split(planted(PlantedConfig()), SplitConfig(strategy="fixed"))


@pytest.mark.parametrize(
    ("strategy", "advice"),
    [
        ("random", "more interactions"),
        ("temporal", "timestamps are equal"),
        ("leave_last_out", "three inter"),
    ],
)
def test_an_empty_part_is_an_error_with_advice(strategy: str, advice: str) -> None:
    with pytest.raises(
        UserError, match=rf"{strategy} leaves the valid part of 2 interactions empty; .*{advice}"
    ):
        split(build({(0, 0): 5, (1, 1): 5}), SplitConfig(strategy=strategy, valid=0.01, test=0.01))


@pytest.mark.parametrize(
    "wrong", [{"valid": 0.6, "test": 0.4}, {"valid": 0.0}, {"test": -0.1}, {"seed": -1}, {"strategy": "x"}]
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SplitConfig(**wrong)
