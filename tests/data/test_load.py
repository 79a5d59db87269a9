import gzip
import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nas.data import DataConfig, PlantedConfig, load, planted
from nas.data.cleaning import core
from nas.data.index import natural_order
from nas.errors import UserError


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content, encoding="utf-8")


def test_maps_are_in_natural_order_and_rows_sorted(tmp_path: Path) -> None:
    write(tmp_path, t__csv="user,item\nu10,10\nu2,007\nu2,9\nu10,7\n7,x\n")
    found = load(DataConfig(path=Path("t.csv")), tmp_path)
    assert found.user_ids == ("7", "u2", "u10")
    assert found.item_ids == ("7", "007", "9", "10", "x")
    assert found.user.tolist() == [0, 1, 1, 2, 2]
    assert found.item.tolist() == [4, 1, 2, 0, 3]
    assert (found.user.dtype, found.item.dtype) == (np.int32, np.int32)
    assert found.rating is None
    assert found.timestamp is None
    assert found.part is None


def test_columns_have_their_types(tmp_path: Path) -> None:
    write(tmp_path, t__csv="user,item,rating,timestamp\nb,1,4,20\na,2,0.5,10\n")
    found = load(DataConfig(path=Path("t.csv")), tmp_path)
    assert found.rating is not None
    assert found.timestamp is not None
    assert (found.rating.dtype, found.timestamp.dtype) == (np.float32, np.int64)
    assert found.rating.tolist() == [0.5, 4]
    assert found.timestamp.tolist() == [10, 20]


def test_absolute_paths_and_formats_that_are_set_win(tmp_path: Path) -> None:
    write(tmp_path, t__txt="user;item\n1;2\n3;4\n")
    config = DataConfig(path=tmp_path / "t.txt", format="csv", delimiter=";")
    assert len(load(config, Path("/nowhere"))) == 2


@settings(max_examples=50)
@given(st.lists(st.text("0129-ab²"), unique=True, max_size=12), st.randoms(use_true_random=False))
def test_natural_order_is_an_order(ids: list[str], random: object) -> None:
    shuffled = list(ids)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert natural_order(shuffled) == natural_order(ids)
    assert sorted(natural_order(ids)) == sorted(ids)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 10**30), unique=True))
def test_natural_order_of_numbers_is_by_value(numbers: list[int]) -> None:
    assert natural_order(map(str, numbers)) == tuple(map(str, sorted(numbers)))


def test_natural_order_is_that_of_people() -> None:
    expected = ("2", "7", "007", "10", "", "2a", "-1", "item-2", "item-2b", "item-10", "itemize")
    assert natural_order(reversed(expected)) == expected


def test_of_a_repeated_pair_the_latest_stays(tmp_path: Path) -> None:
    write(tmp_path, t__csv="user,item,rating,timestamp\n1,1,5,30\n1,1,4,40\n1,1,3,20\n2,2,1,7\n2,2,2,7\n")
    found = load(DataConfig(path=Path("t.csv")), tmp_path)
    assert found.rating is not None
    assert found.rating.tolist() == [4, 2]


def test_without_timestamps_the_last_row_stays(tmp_path: Path) -> None:
    write(tmp_path, t__csv="user,item,rating\n1,1,5\n2,2,1\n1,1,3\n")
    found = load(DataConfig(path=Path("t.csv")), tmp_path)
    assert found.rating is not None
    assert found.rating.tolist() == [3, 1]


def test_where_nothing_is_rated_what_repeats_is_rated_by_how_often(tmp_path: Path) -> None:
    write(tmp_path, t__csv="user,item,timestamp\n1,1,5\n2,2,9\n1,1,7\n2,1,3\n1,1,6\n2,2,8\n")
    found = load(DataConfig(path=Path("t.csv")), tmp_path)
    assert found.rating is not None
    assert found.timestamp is not None
    assert (found.user.tolist(), found.item.tolist()) == ([0, 1, 1], [0, 0, 1])
    assert found.rating.dtype == np.float32
    assert found.rating.tolist() == [3, 1, 2]
    # Each event that is counted was there by then, so a split by time counts nothing of what came later.
    assert found.timestamp.tolist() == [7, 3, 9]


def test_how_often_a_pair_occurs_is_counted_within_its_part(tmp_path: Path) -> None:
    write(tmp_path, a__csv="user,item\n1,1\n1,1\n2,2\n", b__csv="user,item\n1,1\n2,1\n2,1\n2,1\n")
    found = load(DataConfig(train=Path("a.csv"), test=Path("b.csv")), tmp_path)
    assert found.rating is not None
    assert found.part is not None
    assert found.part.tolist() == [0, 2, 0]
    assert found.rating.tolist() == [2, 3, 1]


def test_pairs_without_repeats_have_no_rating(tmp_path: Path) -> None:
    write(tmp_path, t__csv="user,item\n1,1\n2,2\n")
    assert load(DataConfig(path=Path("t.csv")), tmp_path).rating is None


@pytest.mark.parametrize("timed", [True, False])
def test_min_rating_goes_by_the_latest_rating(timed: bool, tmp_path: Path) -> None:
    header = "user,item,rating" + (",timestamp" if timed else "")
    rows = ["1,1,5,1", "1,1,2,9", "2,2,1,3", "2,2,4,4", "3,3,5,5"]
    write(tmp_path, t__csv="\n".join([header, *(row if timed else row[:-2] for row in rows)]) + "\n")
    found = load(DataConfig(path=Path("t.csv"), min_rating=4), tmp_path)
    assert (found.user_ids, found.item_ids) == (("2", "3"), ("2", "3"))
    assert found.rating is not None
    assert found.rating.tolist() == [4, 5]


def test_min_rating_keeps_what_reaches_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, t__csv="user,item,rating\n1,1,5\n2,2,4\n3,3,3.5\n")
    with caplog.at_level(logging.INFO, logger="nas.data"):
        found = load(DataConfig(path=Path("t.csv"), min_rating=4), tmp_path)
    assert found.user_ids == ("1", "2")
    assert found.item_ids == ("1", "2")
    assert "dropped 1 of 3 interactions rated below 4" in caplog.text


def test_k_core_drops_repeatedly(tmp_path: Path) -> None:
    # User 4 holds up item 3 only until user 4 goes for having one item.
    write(tmp_path, t__csv="user,item\n1,1\n1,2\n2,1\n2,2\n3,1\n3,3\n4,3\n")
    found = load(DataConfig(path=Path("t.csv"), k_core=2), tmp_path)
    assert (found.user_ids, found.item_ids) == (("1", "2"), ("1", "2"))
    assert found.item.tolist() == [0, 1, 0, 1]


@given(st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1), st.integers(1, 4))
@settings(max_examples=50)
def test_the_core_is_what_removing_one_by_one_leaves(pairs: set[tuple[int, int]], k: int) -> None:
    user, item = np.array(sorted(pairs), dtype=np.int32).T
    left = set(pairs)
    while True:
        rare = {
            (u, i) for u, i in left
            if sum(a == u for a, _ in left) < k or sum(b == i for _, b in left) < k
        }  # fmt: skip
        if not rare:
            break
        left.remove(min(rare))
    assert {
        (int(u), int(i)) for u, i in zip(user[core(user, item, k)], item[core(user, item, k)], strict=True)
    } == left


def test_fixed_parts_share_maps_and_no_pair(tmp_path: Path) -> None:
    write(tmp_path, train__txt="1 1 2\n2 2\n", valid__txt="1 3 1\n", test__txt="3 2 4\n2 2 3\n1 3\n")
    config = DataConfig(train="train.txt", valid="valid.txt", test="test.txt", format="adjacency")
    found = load(config, tmp_path)
    assert found.user_ids == ("1", "2", "3")
    assert found.item_ids == ("1", "2", "3", "4")
    assert found.part is not None
    rows = zip(found.user.tolist(), found.item.tolist(), found.part.tolist(), strict=True)
    assert list(rows) == [(0, 0, 0), (0, 1, 0), (0, 2, 1), (1, 1, 0), (1, 2, 2), (2, 1, 2), (2, 3, 2)]


def test_a_valid_file_of_which_nothing_is_left_is_told(tmp_path: Path) -> None:
    write(tmp_path, train__txt="1 1 2\n2 2 3\n", valid__txt="1 2\n2 3\n", test__txt="1 3\n")
    config = DataConfig(train="train.txt", valid="valid.txt", test="test.txt", format="adjacency")
    with pytest.raises(
        UserError, match=r"valid\.txt: none of its interactions is left.*drop data\.valid"
    ) as caught:
        load(config, tmp_path)
    assert "\n" not in str(caught.value)
    write(tmp_path, valid__txt="1 2\n2 1\n")
    part = load(config, tmp_path).part
    assert part is not None
    assert sorted(part.tolist()) == [0, 0, 0, 0, 1, 2]


def test_fixed_parts_take_only_the_columns_they_share(tmp_path: Path) -> None:
    write(tmp_path, a__csv="user,item,rating\n1,1,5\n2,2,4\n", b__csv="item,user\n2,1\n")
    found = load(DataConfig(train="a.csv", test="b.csv"), tmp_path)
    assert found.rating is None
    assert found.part is not None
    assert found.part.tolist() == [0, 2, 0]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"min_rating": 9}, r"t\.csv: nothing is left with min_rating: 9; the highest rating is 5"),
        ({"k_core": 3}, r"t\.csv: nothing is left with k_core: 3"),
        ({"min_rating": 5}, r"only 1 user is left"),
        ({"path": "none.csv"}, r"none\.csv: no such file"),
        ({"path": "~nosuch/t.csv"}, r"~nosuch/t\.csv: no home folder of that name"),
        ({"items": "~nosuch/i.csv"}, r"~nosuch/i\.csv: no home folder of that name"),
        ({"items": "none.csv"}, r"none\.csv: no such file"),
        ({"item_title": "name"}, r"data\.item_title: there is no table of items; say with data\.items where"),
        ({"item_genres": "tags"}, r"data\.item_genres: there is no table of items"),
        ({"item_features": ["brand"]}, r"data\.item_features: there is no table of items"),
        ({"path": "t.json"}, r"t\.json: the name does not tell the format"),
        ({"path": "pairs.csv", "min_rating": 0}, r"min_rating needs ratings"),
        ({"path": "often.csv", "min_rating": 2}, r"min_rating needs ratings"),
        ({"path": "one.csv"}, r"only 1 item is left"),
        ({"path": None, "train": "t.csv", "test": "t.csv", "k_core": 2}, r"k_core would change a split"),
    ],
)  # fmt: skip
def test_what_leaves_nothing_is_told(settings: dict[str, object], says: str, tmp_path: Path) -> None:
    write(tmp_path, t__csv="user,item,rating\n1,1,5\n2,2,4\n", pairs__csv="user,item\n1,2\n2,1\n")
    write(tmp_path, one__csv="user,item\n1,2\n2,2\n", often__csv="user,item\n1,2\n2,1\n1,2\n")
    with pytest.raises(UserError, match=says) as caught:
        load(DataConfig(**{"path": "t.csv"} | settings), tmp_path)
    assert "\n" not in str(caught.value)


INTERACTIONS = "user,item\n1,10\n2,9\n1,11\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("i.csv", 'item,title,genres\n9,"Good, the",Drama|War\n10,Zoë,(no genres listed)\n9,again,X\n5,unseen,Y\n'),
        ("i.csv", 'movieId;title;genres\n9;"Good, the";Drama|War\n10;Zoë;\n'),
        ("i.csv", '"item";"title";"genres"\n9;"Good, the";Drama|War\n10;Zoë;\n'),
        ("i.tsv", "genres\titem\ttitle\nDrama|War\t9\tGood, the\n\t10\tZoë\n"),
        ("i.item", "item_id:token\tmovie_title:token_seq\tclass:token_seq\n9\tGood, the\tDrama War\n10\tZoë\t\n"),
        ("movies.dat", "9::Good, the::Drama|War\n10::Zoë::\n"),
    ],
)  # fmt: skip
def test_item_tables_are_aligned_with_the_catalogue(name: str, content: str, tmp_path: Path) -> None:
    write(tmp_path, t__csv=INTERACTIONS)
    (tmp_path / name).write_text(content, encoding="latin-1")
    found = load(DataConfig(path="t.csv", items=Path(name)), tmp_path)
    assert found.item_ids == ("9", "10", "11")
    assert found.items.title == ("Good, the", "Zoë", "")
    assert found.items.genres == (("Drama", "War"), (), ())


def test_u_item_has_a_flag_for_each_genre(tmp_path: Path) -> None:
    flags = ["0"] * 19
    flags[8] = flags[17] = "1"
    row = ["9", "Misérables, Les (1995)", "01-Jan-1995", "", "http://x", *flags]
    (tmp_path / "u.item").write_bytes(("|".join(row) + "\n").encode("latin-1"))
    write(tmp_path, u__data="1\t9\t3\t1\n2\t10\t4\t2\n")
    found = load(DataConfig(path="u.data"), tmp_path)
    assert found.items.title == ("Misérables, Les (1995)", "")
    assert found.items.genres == (("Drama", "War"), ())


@pytest.mark.parametrize("name", ["shop-eu.item", "menu.item", "shop-eu.item.gz"])
def test_the_end_of_a_name_makes_no_u_item(name: str, tmp_path: Path) -> None:
    write(tmp_path, t__csv=INTERACTIONS)
    (tmp_path / name).write_text("item_id:token\tname:token_seq\n9\tNine lives\n")
    assert load(DataConfig(path="t.csv", items=Path(name)), tmp_path).items.title == ("Nine lives", "", "")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "ratings",
    [
        "ratings.csv",
        "RATINGS.CSV",
        "ratings.csv.gz",
        "RATINGS.CSV.GZ",
        "ratings.dat.gz",
        "u.data.gz",
        "x.inter.gz",
    ],
)
def test_item_tables_are_found_beside_compressed_files_and_names_in_capitals(
    ratings: str, zipped: bool, tmp_path: Path
) -> None:
    kind = ratings.lower().removesuffix(".gz")
    rows, name, table = {
        "ratings.csv": ("userId,movieId,rating\n1,9,3\n2,10,4\n", "movies.csv", "movieId,title\n10,Ten\n"),
        "ratings.dat": ("1::9::3::1\n2::10::4::2\n", "movies.dat", "10::Ten::War\n"),
        "u.data": ("1\t9\t3\t1\n2\t10\t4\t2\n", "u.item", "|".join(["10", "Ten", *"   ", *"0" * 19]) + "\n"),
        "x.inter": ("user_id:token\titem_id:token\n1\t9\n2\t10\n", "x.item", "item_id:token\tname:\n10\tTen\n"),
    }[kind]  # fmt: skip
    pack = gzip.compress if ratings.lower().endswith(".gz") else bytes
    (tmp_path / ratings).write_bytes(pack(rows.encode()))
    name = f"{name}.gz" if zipped else name
    name = name.upper() if ratings.isupper() else name
    (tmp_path / name).write_bytes((gzip.compress if zipped else bytes)(table.encode()))
    assert load(DataConfig(path=Path(ratings)), tmp_path).items.title == ("", "Ten")


@pytest.mark.parametrize(
    ("files", "title"),
    [
        ({"ratings__csv": "userId,movieId,rating,timestamp\n1,9,3,1\n2,10,4,2\n",
          "movies__csv": "movieId,title,genres\n10,Ten,War\n"}, "Ten"),
        ({"ratings__dat": "1::9::3::1\n2::10::4::2\n", "movies__dat": "10::Ten::War\n"}, "Ten"),
        ({"x__inter": "user_id:token\titem_id:token\n1\t9\n2\t10\n",
          "x__item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n10\tTen\t1995\tWar\n"},
         "Ten (1995)"),
    ],
)  # fmt: skip
def test_item_tables_beside_the_data_are_read(files: dict[str, str], title: str, tmp_path: Path) -> None:
    write(tmp_path, **files)
    found = load(DataConfig(path=next(iter(files)).replace("__", ".")), tmp_path)
    assert found.items.title == ("", title)
    assert found.items.genres == ((), ("War",))


def test_parquet_item_tables_may_hold_lists_and_other_names(tmp_path: Path) -> None:
    write(tmp_path, t__csv=INTERACTIONS)
    table = pl.DataFrame({"item": [9.0, 10.0], "name": ["Nine", None], "tags": [["a", "b"], []]})
    table.write_parquet(tmp_path / "i.parquet")
    config = DataConfig(path="t.csv", items="i.parquet", item_title="name", item_genres="tags")
    found = load(config, tmp_path)
    assert found.items.title == ("Nine", "", "")
    assert found.items.genres == (("a", "b"), (), ())


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([[1, 2], None]),
        pl.Series([["1", "2"], []], dtype=pl.List(pl.Categorical)),
        pl.Series([["1", "2"], ["", ""]], dtype=pl.Array(pl.String, 2)),
        pl.Series([b"1|2", None]),
    ],
)
@pytest.mark.parametrize("name", ["i.parquet", "i.pq"])
def test_parquet_item_tables_may_hold_what_can_be_read_as_text(
    name: str, values: pl.Series, tmp_path: Path
) -> None:
    write(tmp_path, t__csv=INTERACTIONS)
    pl.DataFrame({"item": ["9", "10"], "tags": values}).write_parquet(tmp_path / name)
    config = DataConfig(path="t.csv", items=Path(name), item_genres="tags", item_features=("tags",))
    found = load(config, tmp_path).items
    assert found.genres == (("1", "2"), (), ())
    assert found.features == (("tags: 1", "tags: 2"), (), ())


@pytest.mark.parametrize(
    ("values", "use"),
    [
        # Genres and features may be lists, a title may not.
        ([["a"], ["b"]], {"item_title": "x"}),
        *(
            (values, use)
            for values in ([b"\xff", None], [[["a"]], None])
            for use in ({"item_title": "x"}, {"item_genres": "x"}, {"item_features": ("x",)})
        ),
    ],
)
def test_parquet_columns_that_are_no_text_are_told(
    values: list[object], use: dict[str, Any], tmp_path: Path
) -> None:
    write(tmp_path, t__csv=INTERACTIONS)
    pl.DataFrame({"item": ["9", "10"], "x": values}).write_parquet(tmp_path / "i.parquet")
    with pytest.raises(UserError, match=r"i\.parquet: column 'x' holds .*; expected text"):
        load(DataConfig(path="t.csv", items="i.parquet", **use), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "first"),
    [
        ("i.csv", "item,brand,by,price\n9,Tide,Ann|Bob,2.50\n10,,(no genres listed),\n", ("by: Ann", "by: Bob")),
        ("i.tsv", "by\tprice\titem\tbrand\nAnn|Bob\t2.50\t9\tTide\n\t\t10\t\n", ("by: Ann", "by: Bob")),
        ("i.item", "item_id:token\tbrand:token\tby:token_seq\tprice:float\n9\tTide\tAnn Bob\t2.50\n10\t\t\t\n",
         ("by: Ann", "by: Bob")),
        ("i.csv", "item,brand,by,price\n9,Tide,,2.50\n", ()),
    ],
)  # fmt: skip
def test_features_are_named_by_their_columns(
    name: str, content: str, first: tuple[str, ...], tmp_path: Path
) -> None:
    write(tmp_path, t__csv=INTERACTIONS)
    (tmp_path / name).write_text(content)
    columns = ("by", "brand", "price")
    found = load(DataConfig(path="t.csv", items=Path(name), item_features=columns), tmp_path)
    assert found.items.features == ((*first, "brand: Tide", "price: 2.50"), (), ())
    assert found.items.title is None


def test_all_tokens_of_an_atomic_file_are_features_where_none_is_named(tmp_path: Path) -> None:
    header = "item_id:token\ttitle:token_seq\tclass:token_seq\tbrand:token\ttags:token_seq\tprice:float\trelease_year:token"
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\n1\t9\n2\t10\n")
    (tmp_path / "x.item").write_text(f"{header}\n9\tNine\tWar\tTide\tred large\t2.5\t1995\n")
    found = load(DataConfig(path="x.inter"), tmp_path).items
    assert found.title == ("Nine (1995)", "")
    assert found.genres == (("War",), ())
    assert found.features == (("brand: Tide", "tags: red", "tags: large"), ())
    named = load(DataConfig(path="x.inter", item_features=("price",)), tmp_path).items
    assert named.features == (("price: 2.5",), ())


def test_one_token_of_an_atomic_file_is_one_value(tmp_path: Path) -> None:
    header = "item_id:token\tname:token_seq\tgenre:token\tbrand:token\ttags:token_seq"
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\n1\t9\n2\t10\n")
    (tmp_path / "x.item").write_text(
        f"{header}\n9\tNo 1\tSci Fi\tCalvin Klein\tred, x large\n10\tNo 2\tSci Fi\tKlein Tools\tred\n"
    )
    found = load(DataConfig(path="x.inter"), tmp_path).items
    assert found.genres == (("Sci Fi",), ("Sci Fi",))
    assert found.features == (
        ("brand: Calvin Klein", "tags: red,", "tags: x", "tags: large"),
        ("brand: Klein Tools", "tags: red"),
    )
    # A separator that is set is one of all columns.
    found = load(DataConfig(path="x.inter", genres_separator=","), tmp_path).items
    assert found.title == ("No 1", "No 2")
    assert found.features == (
        ("brand: Calvin Klein", "tags: red", "tags: x large"),
        ("brand: Klein Tools", "tags: red"),
    )


def test_a_separator_that_is_set_is_that_of_movies_dat_too(tmp_path: Path) -> None:
    write(tmp_path, t__csv=INTERACTIONS, movies__dat="9::Nine::War,Sea|Air\n")
    config = DataConfig(path="t.csv", items="movies.dat", genres_separator=",")
    assert load(config, tmp_path).items.genres == (("War", "Sea|Air"), (), ())


@pytest.mark.parametrize("key", ["item_title", "item_genres"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("i.item", "item_id:token\tname:token_seq\n9\tNine\n"),
        ("movies.dat", "9::Nine::War\n"),
        ("u.item", "|".join(["9", "Nine", "", "", "", *["0"] * 19]) + "\n"),
    ],
)
def test_a_column_that_is_set_must_be_in_the_item_table(
    key: str, name: str, content: str, tmp_path: Path
) -> None:
    write(tmp_path, t__csv=INTERACTIONS)
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=rf"{name}.*no column 'nam'; the columns are .*data\.{key}"):
        load(DataConfig(path="t.csv", items=Path(name), **{key: "nam"}), tmp_path)


def test_an_atomic_file_that_says_nothing_of_use_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\n1\t9\n2\t10\n")
    (tmp_path / "x.item").write_text("item_id:token\tprice:float\n9\t2.5\n")
    items = load(DataConfig(path="x.inter"), tmp_path).items
    assert (items.title, items.genres, items.features) == (None, None, None)


def test_what_movielens_says_of_items_has_no_more_columns(tmp_path: Path) -> None:
    write(tmp_path, t__csv=INTERACTIONS)
    (tmp_path / "u.item").write_text("|".join(["9", "Nine", "", "", "", *["0"] * 19]) + "\n")
    (tmp_path / "movies.dat").write_text("9::Nine::War\n")
    for name in ("u.item", "movies.dat"):
        with pytest.raises(UserError, match="no column 'released'"):
            load(DataConfig(path="t.csv", items=Path(name), item_features=("released",)), tmp_path)


@pytest.mark.parametrize(
    ("content", "settings", "says"),
    [
        ("itm,title\n9,x\n", {}, r"i\.csv, line 1: no column 'item', which holds the items in"),
        ("itm;title\n9;x\n", {}, r"the columns are itm, title; call that of the items 'item' here as well"),
        ("item,name\n9,x\n", {}, r"neither titles nor genres among item, name; set data.item_title"),
        ("item,title\n9,x\n", {"item_genres": "tags"}, r"no column 'tags'"),
        ("item,title\n9,x\n", {"item_features": ["titel"]}, r"no column 'titel'.*did you mean 'title'"),
        ("item,title\n9,x\n,y\n", {}, r"i\.csv, line 3: empty id"),
        ("item,title\nP-9,x\n", {}, r"i\.csv: knows none of the 3 items of the events; its ids are such as 'P-9'"),
        ("item,title\n", {}, r"i\.csv: knows none of the 3 items of the events; there are no rows in it"),
        ("item,title\n9,x,y\n", {}, r"i\.csv, line 2: 3 fields where 2"),
    ],
)  # fmt: skip
def test_bad_item_tables_are_told(content: str, settings: dict[str, str], says: str, tmp_path: Path) -> None:
    write(tmp_path, t__csv=INTERACTIONS, i__csv=content)
    with pytest.raises(UserError, match=says):
        load(DataConfig(path="t.csv", items="i.csv", **settings), tmp_path)


def test_a_table_with_an_item_twice_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, t__csv=INTERACTIONS, i__csv="item,title\n9,first\n10,other\n9,second\n")
    with caplog.at_level(logging.INFO, "nas.data"):
        found = load(DataConfig(path="t.csv", items="i.csv"), tmp_path)
    assert found.items.title is not None
    assert found.items.title[found.item_ids.index("9")] == "first"
    assert any("rows of items that stand there before: 1" in message for message in caplog.messages)


def test_planted_data_comes_as_generated(tmp_path: Path) -> None:
    config = PlantedConfig(users=30, items=40, seed=3, interactions_per_user=4)
    assert (
        load(DataConfig(source="planted", planted=config), tmp_path).fingerprint()
        == planted(config).fingerprint()
    )
    assert load(DataConfig(source="planted"), tmp_path).n_users == 200


def test_planted_data_survives_a_file(tmp_path: Path) -> None:
    made = planted(PlantedConfig())
    rows = {"user": [made.user_ids[n] for n in made.user], "item": [made.item_ids[n] for n in made.item]}
    pl.DataFrame(rows).sample(fraction=1, shuffle=True, seed=1).write_parquet(tmp_path / "t.parquet")
    assert load(DataConfig(path="t.parquet"), tmp_path).fingerprint() == made.fingerprint()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"path": "x", "item_features": "brand"}, r"expected a list, such as \[brand\], but got 'brand'"),
        ({"path": "x", "item_features": ["a", "b", "a"]}, "columns must differ"),
        ({}, "exactly one of source, path, or train with test; got none"),
        ({"source": "ml-100k", "path": "x.csv"}, "got source and path"),
        ({"path": "x", "train": "y", "test": "z"}, "got path and train/test"),
        ({"train": "y"}, "train and test come together"),
        ({"path": "x", "valid": "y"}, "valid belongs to a fixed split"),
        ({"path": "x", "planted": {}}, "planted belongs to source: planted"),
        ({"source": "planted", "k_core": 2}, "neither min_rating nor k_core"),
        ({"source": "ml-100k", "format": "csv"}, "format belongs to path"),
        ({"path": "x", "delimiter": "::"}, "set format: movielens"),
        ({"path": "x", "delimiter": ""}, "one ASCII character"),
        ({"path": "x", "user": "item"}, "must be different columns"),
        ({"path": "x", "min_rating": float("nan")}, "finite number"),
        ({"path": "x", "colour": "red"}, "Extra inputs"),
        ({"path": "x", "format": "xml"}, "'csv', 'tsv'"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DataConfig(**wrong)


@pytest.mark.parametrize("config", [DataConfig, PlantedConfig])
def test_every_field_is_explained(config: type[DataConfig] | type[PlantedConfig]) -> None:
    assert [name for name, field in config.model_fields.items() if not field.description] == []
