import gzip
import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from nas.data import READERS, DataConfig
from nas.data.readers import infer_format
from nas.data.readers.delimited import first_line
from nas.data.readers.files import read_bytes
from nas.errors import UserError

ROWS = {
    "user": ["007", "7", "zoë"],
    "item": ["a b", "1e3", "10"],
    "rating": [4.5, 3.0, 1.0],
    "timestamp": [881250949, 2, 1_600_000_000_123_456_789],
}


def as_text(separator: str, header: str = "", end: str = "\n") -> str:
    rows = [separator.join(map(str, row)) for row in zip(*ROWS.values(), strict=True)]
    return end.join([header, *rows] if header else rows) + end


def parquet() -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(ROWS).write_parquet(buffer)
    return buffer.getvalue()


FILES: dict[str, tuple[str, bytes]] = {
    "csv": ("t.csv", as_text(",", "user,item,rating,timestamp").encode()),
    "tsv": ("t.tsv", as_text("\t", "user\titem\trating\ttimestamp").encode()),
    "parquet": ("t.parquet", parquet()),
    "recbole": (
        "t.inter",
        as_text("\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float").encode(),
    ),
    "adjacency": ("t.txt", "007 x\n7 1e3 10\nzoë\n7 11\n".encode()),
    "movielens": ("u.data", as_text("\t").encode()),
}


def read(path: Path, format: str, content: bytes | str, **settings: object) -> pl.DataFrame:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return READERS[format](path, DataConfig(path=path, **settings))


def test_every_reader_has_an_example_here() -> None:
    assert set(FILES) == set(READERS)


@pytest.mark.parametrize("format", list(READERS))
def test_every_format_gives_the_same_columns(format: str, tmp_path: Path) -> None:
    name, content = FILES[format]
    found = read(tmp_path / name, format, content)
    if format == "adjacency":
        expected = pl.DataFrame({"user": ["007", "7", "7", "7"], "item": ["x", "1e3", "10", "11"]})
    else:
        expected = pl.DataFrame(ROWS)
    assert_frame_equal(found, expected)


@pytest.mark.parametrize("format", list(READERS))
def test_every_format_reads_compressed_files(format: str, tmp_path: Path) -> None:
    name, content = FILES[format]
    plain = read(tmp_path / name, format, content)
    assert_frame_equal(read(tmp_path / f"{name}.gz", format, gzip.compress(content)), plain)


@pytest.mark.parametrize("format", [name for name in READERS if name != "parquet"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.rstrip(b"\n"),
        lambda text: b"\n" + text.replace(b"\n", b"\n\n"),
        lambda text: text.decode().encode("latin-1"),
        lambda text: text.replace(b"\n", b"\r"),
    ],
    ids=["byte order mark", "CRLF", "no last line end", "blank lines", "latin-1", "old Mac"],
)
def test_text_may_be_written_otherwise(format: str, change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    name, content = FILES[format]
    plain = read(tmp_path / name, format, content)
    assert_frame_equal(read(tmp_path / name, format, change(content)), plain)


@pytest.mark.parametrize("format", list(READERS))
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary file|not a whole parquet"),
        (b"PK\x03\x04 and so on", "zip archive|not a whole parquet"),
        ("user,item\n".encode("utf-16"), "UTF-16|not a whole parquet"),
        (gzip.compress(b"user,item\n1,2\n" * 99)[:30], "broken gzip"),
    ],
    ids=["empty", "blank", "png", "zip", "utf-16", "broken gzip"],
)
def test_no_format_takes_what_is_no_table(format: str, content: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says) as caught:
        read(tmp_path / FILES[format][0], format, content)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", list(READERS))
def test_every_format_says_when_there_is_no_file(format: str, tmp_path: Path) -> None:
    config = DataConfig(path=tmp_path)
    with pytest.raises(UserError, match=r"x: no such file"):
        READERS[format](tmp_path / "x", config)
    with pytest.raises(UserError, match="is a directory"):
        READERS[format](tmp_path, config)


@pytest.mark.parametrize("format", list(READERS))
def test_every_format_says_when_reading_is_forbidden(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    # Not chmod: the superuser may read everything.
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match="permission denied"):
        READERS[format](tmp_path / "x", DataConfig(path=tmp_path))


@pytest.mark.parametrize(
    ("format", "name", "content", "says"),
    [
        ("csv", "t.csv", "user,item,rating\n1,2,3\n,5,3\n", r"line 3: empty id in column 'user'"),
        ("csv", "t.csv", "user,item\n1,2\n\n1,nan\n", r"line 4: empty id in column 'item'"),
        ("csv", "t.csv", 'user,item\n1,2\n1,""\n', r"line 3: empty id in column 'item'"),
        ("csv", "t.csv", "user,item\n1,2\n1, \n", r"line 3: empty id in column 'item'"),
        ("csv", "t.csv", "user,item\n1,2\n1\n", r"line 3: empty id in column 'item'"),
        ("csv", "t.csv", 'user,item,title\n1,2,"a\nb"\n,2,c\n', r"line 4: empty id in column 'user'"),
        ("csv", "t.csv", "user,item,rating\n1,2,3\n1,3,good\n", r"line 3: rating is 'good'; expected a finite"),
        ("csv", "t.csv", "user,item,rating\n1,2,3\n1,3,\n", r"line 3: rating is empty"),
        ("csv", "t.csv", "user,item,rating\n1,2,NaN\n", r"line 2: rating is 'NaN'"),
        ("csv", "t.csv", "user,item,rating\n1,2,-inf\n", r"line 2: rating is '-inf'"),
        ("csv", "t.csv", "user,item,rating\n1,2,1e999\n", r"line 2: rating is '1e999'"),
        ("csv", "t.csv", "user,item,timestamp\n1,2,2\n1,3,2020-01-01\n", r"line 3: timestamp is '2020-01-01'"),
        ("csv", "t.csv", "user,item,timestamp\n1,2,inf\n", r"line 2: timestamp is 'inf'"),
        ("csv", "t.csv", "user,item,timestamp\n1,2,1e30\n", r"line 2: timestamp is '1e30'"),
        ("csv", "t.csv", "user,item,rating\n", r"no rows below the header"),
        ("csv", "t.csv", "user,item,rating", r"no rows below the header"),
        ("csv", "t.csv", "user,item\n1,2\n1,2,3\n", r"line 3: 3 fields where 2 are expected; quote"),
        ("csv", "t.csv", 'user,item\n1,"2\n1,3\n', r"t.csv.*quote"),
        ("csv", "t.csv", "users,item\n1,2\n", r"no column 'user'; the columns are users, item; did you mean 'users'"),
        ("csv", "t.csv", "who,what\n1,2\n", r"no column 'user'; the columns are who, what; set data.user"),
        ("csv", "t.csv", "usr;item\n1;2\n", r"separated by ';': .*data.delimiter: \";\""),
        ("csv", "t.csv", "user\titem\n1\t2\n", r"separated by '\\t': set data.format: tsv"),
        ("csv", "t.csv", "user::item\n1::2\n", r"separated by '::': set data.format: movielens"),
        ("tsv", "t.tsv", "user,item\n1,2\n", r"separated by ',': set data.format: csv"),
        ("csv", "t.csv", "user,item, item\n1,2,3\n", r"line 1: two columns are named 'item'"),
        ("csv", "t.csv", "user,item,rating\n1,2,1e39\n", r"line 2: rating is '1e39'"),
        ("recbole", "t.inter", "user_id:token\titem_id:token\titem_id:float\n1\t2\t3\n", r"two columns are named 'item_id'"),
        ("csv", "t.csv", "user\n1\n", r"no column 'item'"),
        ("csv", "t.csv", "user,item,rating,rating\n1,2,3,4\n", r"line 1: two columns are called 'rating'; rename one"),
        ("recbole", "t.inter", "user_id:token,item_id:token\n1,2\n", r"line 1: no '\\t' in the header.*','"),
        ("recbole", "t.inter", "uid:token\titem_id:token\n1\t2\n", r"no column 'user_id'; the columns are uid, item_id"),
        ("recbole", "t.inter", "user_id:token\titem_id:token\n1\t\n", r"line 2: empty id in column 'item_id'"),
        ("movielens", "u.data", "1,2,3,4\n", r"line 1: 1 field.*separated by ','.*set data.format"),
        ("movielens", "u.data", "1\t2\t3\n", r"line 1: 3 field.*where 4 are expected"),
        ("movielens", "u.data", "1\t2\t3\t4\n1\t2\n", r"line 2: rating is empty"),
        ("movielens", "u.data", "1\t2\t3\t4\n1\t2\t3\t4\t5\n", r"line 2: 5 fields where 4"),
        ("movielens", "ratings.dat", "1,2,3,4\n", r"line 1: .*separated by ','"),
        ("movielens", "ratings.dat", "1::2::3::4\n1::2::x::4\n", r"line 2: rating is 'x'"),
        ("movielens", "ratings.dat", "1::2::3::4\n1::2::3::4::5\n", r"line 2: 5 fields.*; no field may hold a '::'"),
        ("movielens", "ratings.dat", "1::2::3::4\n1\t2\t3\t4\n", r"line 2: a tab"),
        ("movielens", "ratings.csv", "userId;movieId\n1;2\n", r"no ',' in the header.*';'"),
        ("adjacency", "t.txt", "0 1 2\n 3 4\n", r"line 2: starts with a space, so its user is missing"),
        ("adjacency", "t.txt", "0 1 2\n1\t3\t4\n", r"line 2: not separated by spaces; .*set data.format: tsv"),
        ("adjacency", "t.txt", "0,1,2\n", r"line 1: not separated by spaces; .*csv"),
        ("adjacency", "t.txt", "0 1\n0 2 nan\n", r"line 2: empty id in column 'item'"),
        ("adjacency", "t.txt", "0\n1\n", r"no line has an item"),
    ],
)  # fmt: skip
def test_bad_text_is_told_with_its_line(
    format: str, name: str, content: str, says: str, tmp_path: Path
) -> None:
    # A column that nobody named may hold what it likes.
    named = {role: role for role in ("rating", "timestamp") if role in content.split("\n")[0].split(",")}
    with pytest.raises(UserError, match=says) as caught:
        read(tmp_path / name, format, content, **named)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_missing_column_that_was_set_is_an_error_and_a_usual_one_is_not(tmp_path: Path) -> None:
    assert read(tmp_path / "t.csv", "csv", "user,item\n1,2\n").columns == ["user", "item"]
    with pytest.raises(UserError, match=r"no column 'stars'.*set data.rating"):
        read(tmp_path / "t.csv", "csv", "user,item\n1,2\n", rating="stars")


def test_columns_are_found_by_the_names_that_are_set(tmp_path: Path) -> None:
    found = read(
        tmp_path / "t.csv", "csv", "n; who;what;when\n9;1;2;33.9\n",
        user="who", item="what", timestamp="when", delimiter=";",
    )  # fmt: skip
    assert found.to_dicts() == [{"user": "1", "item": "2", "timestamp": 33}]


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        ("user;item\n1;2\n", {}),
        ('"user";"item"\n1;2\n', {}),
        ("who;a,b;what\n1;x;2\n", {"user": "who", "item": "what"}),
    ],
)
def test_semicolons_are_found_where_only_they_separate_the_columns(
    content: str, settings: dict[str, str], tmp_path: Path
) -> None:
    assert read(tmp_path / "t.csv", "csv", content, **settings).rows() == [("1", "2")]
    # What is set is not questioned.
    with pytest.raises(UserError):
        read(tmp_path / "t.csv", "csv", content, delimiter=",", **settings)


def test_text_that_is_read_as_latin_1_is_told_with_the_line_that_asks_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read(tmp_path / "t.csv", "csv", "user,item\nzoë,1\n".encode())
    assert not caplog.text
    read(tmp_path / "t.csv", "csv", "user,item\nzoë,1\n".encode() + b"zo\xeb,2\n")
    assert f"{tmp_path / 't.csv'}, line 3: not UTF-8, so the whole file is read as latin-1" in caplog.text
    caplog.clear()
    read(tmp_path / "t.inter", "recbole", "user_id:token\titem_id:token\nzoë\t1\n".encode("latin-1"))
    assert caplog.text.count("latin-1") == 1


def test_a_large_file_is_held_once(tmp_path: Path) -> None:
    size = 10_000_000
    (tmp_path / "t.csv").write_bytes(b"user,item\r\n" + b"x" * size + b"\n")
    tracemalloc.start()
    try:
        raw = read_bytes(tmp_path / "t.csv")
        _, reading = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert first_line(raw) == "user,item"
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reading < 1.5 * size
    assert peak < held + 0.1 * size


def test_recbole_takes_columns_of_other_names(tmp_path: Path) -> None:
    content = "session:token\titem_id:token\n1\t2\n"
    assert read(tmp_path / "t.inter", "recbole", content, user="session").rows() == [("1", "2")]


def test_recbole_knows_no_quotes(tmp_path: Path) -> None:
    content = 'user_id:token\titem_id:token\n"1\t2\n3\t"4"\n'
    assert read(tmp_path / "t.inter", "recbole", content).rows() == [('"1', "2"), ("3", '"4"')]


def test_movielens_csv_has_its_own_column_names(tmp_path: Path) -> None:
    content = "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n"
    found = read(tmp_path / "ratings.csv", "movielens", content)
    assert found.rows() == [("1", "31", 2.5, 1260759144)]


def test_ratings_dat_is_separated_by_two_colons(tmp_path: Path) -> None:
    found = read(tmp_path / "ratings.dat", "movielens", "1::1193::5::978300760\n2::a b::4::3\n")
    assert found.rows() == [("1", "1193", 5.0, 978300760), ("2", "a b", 4.0, 3)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series([7, 10]), ["7", "10"]),
        (pl.Series([7.0, 10.0]), ["7", "10"]),
        (pl.Series([7.5, 10.0]), ["7.5", "10.0"]),
        (pl.Series(["007", "x"]), ["007", "x"]),
        (pl.Series(["b", "a"], dtype=pl.Categorical), ["b", "a"]),
    ],
    ids=["integers", "whole floats", "floats", "text", "categories"],
)
def test_parquet_ids_are_text_as_written(values: pl.Series, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"user": values, "item": ["i", "j"]}).write_parquet(path)
    assert READERS["parquet"](path, DataConfig(path=path))["user"].to_list() == expected


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ({"user": [1.0, float("nan")]}, "row 2: empty id in column 'user'"),
        ({"user": [None, 1]}, "row 1: empty id in column 'user'"),
        ({"user": [[1], [2]]}, r"column 'user' holds List\(Int64\)"),
        ({"user": [True, False]}, "column 'user' holds Boolean"),
        ({"rating": [1.0, float("inf")]}, "row 2: rating is inf"),
        ({"rating": [1.0, None]}, "row 2: rating is empty"),
        ({"rating": [[1.0], []]}, r"column 'rating' holds List\(Float64\); expected numbers"),
    ],
)
def test_bad_parquet_columns_are_told(column: dict[str, list[object]], says: str, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"user": [1, 2], "item": [3, 4]} | column).write_parquet(path)
    with pytest.raises(UserError, match=says):
        READERS["parquet"](path, DataConfig(path=path, rating="rating" if "rating" in column else None))


@pytest.mark.parametrize(
    ("role", "values"),
    [
        ("timestamp", ["05/01/2024", "06/01/2024"]),
        ("timestamp", ["2024-05-01 10:00:00 UTC", "2024-05-02 10:00:00 UTC"]),
        ("rating", ["4", ""]),
        ("rating", ["PG", "R"]),
    ],
)
def test_a_column_that_nobody_named_is_left_out_where_it_cannot_be_read(
    role: str, values: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = f"user,item,{role}\n1,2,{values[0]}\n2,3,{values[1]}\n"
    found = read(tmp_path / "t.csv", "csv", content)
    assert found.rows() == [("1", "2"), ("2", "3")]
    assert f"{role} is " in caplog.text
    assert f"data.{role} does not ask for it" in caplog.text
    with pytest.raises(UserError, match=f"{role} is "):
        read(tmp_path / "t.csv", "csv", content, **{role: role})
    if role == "rating":
        with pytest.raises(UserError, match="rating is "):
            read(tmp_path / "t.csv", "csv", content, min_rating=1)


@pytest.mark.parametrize(
    ("settings", "columns"),
    [
        ({"item": "rating"}, ["user", "item", "timestamp"]),
        ({"user": "timestamp", "item": "item"}, ["user", "item", "rating"]),
        ({"timestamp": "rating"}, ["user", "item", "timestamp"]),
        ({"rating": "timestamp"}, ["user", "item", "rating"]),
    ],
)
def test_a_column_has_one_role(settings: dict[str, str], columns: list[str], tmp_path: Path) -> None:
    found = read(tmp_path / "t.csv", "csv", "user,item,rating,timestamp\n1,2,3,4\n5,6,7,8\n", **settings)
    assert found.columns == columns
    for role, column in settings.items():
        expected = {"user": 1, "item": 2, "rating": 3, "timestamp": 4}[column]
        assert int(found[role][0]) == expected


@pytest.mark.parametrize("length", [3, 20, -1])
def test_a_truncated_parquet_file_is_told(length: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a whole parquet file") as caught:
        read(tmp_path / "t.parquet", "parquet", parquet()[:length])
    assert "\n" not in str(caught.value)


def test_parquet_dates_become_numbers_in_order(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    times = pl.Series(["2020-01-02", "2020-01-01"]).str.to_datetime()
    pl.DataFrame({"user": [1, 2], "item": [3, 4], "timestamp": times}).write_parquet(path)
    late, early = READERS["parquet"](path, DataConfig(path=path))["timestamp"]
    assert late - early == 24 * 60 * 60 * 1_000_000


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_dates_have_one_unit_whatever_file_they_come_from(
    unit: Literal["ms", "us", "ns"], zone: str | None, tmp_path: Path
) -> None:
    # Parts of a split come from files of their own; a finer order than of seconds is kept.
    written = ["2024-05-01 10:00:00.250", "2024-05-01 10:00:00.500"]
    times = (
        pl.Series(written)
        .str.to_datetime(time_unit=unit, time_zone="UTC")
        .dt.convert_time_zone(zone or "UTC")
    )
    times = times if zone else times.dt.replace_time_zone(None)
    path = tmp_path / "t.parquet"
    pl.DataFrame({"user": [1, 2], "item": [3, 4], "timestamp": times}).write_parquet(path)
    found = READERS["parquet"](path, DataConfig(path=path))["timestamp"].to_list()
    assert found == [1714557600250000, 1714557600500000]
    text = f"user,item,timestamp\n1,3,{written[0]}\n2,4,{written[1]}\n"
    assert read(tmp_path / "t.csv", "csv", text)["timestamp"].to_list() == found
    days = pl.Series(["2024-05-01"] * 2).str.to_date()
    pl.DataFrame({"user": [1, 2], "item": [3, 4], "timestamp": days}).write_parquet(path)
    (day, _) = READERS["parquet"](path, DataConfig(path=path))["timestamp"]
    assert found[0] - day == (10 * 60 * 60 * 1000 + 250) * 1000


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("u.data", "movielens"),
        ("u1.base", "movielens"),
        ("ua.test", "movielens"),
        ("ratings.dat", "movielens"),
        ("ratings.csv", "movielens"),
        ("Ratings.CSV.gz", "movielens"),
        ("my-ratings.csv", "csv"),
        ("x.tsv", "tsv"),
        ("x.parquet", "parquet"),
        ("ml-100k.inter", "recbole"),
    ],
)
def test_names_tell_formats(name: str, format: str) -> None:
    assert infer_format(Path(name)) == format


@pytest.mark.parametrize("name", ["train.txt", "events", "x.json"])
def test_a_name_that_tells_nothing_is_asked_about(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"{name}: the name does not tell the format; set data.format.*'adjacency'"
    ):
        infer_format(Path(name))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2024-05-01", 1714521600),
        ("2024-05-01 10:00", 1714557600),
        ("2024-05-01 10:00:00", 1714557600),
        ("2024-05-01T10:00:00.250", 1714557600.25),
        ("2024-05-01T10:00:00Z", 1714557600),
        ("2024-05-01T12:00:00+02:00", 1714557600),
    ],
)
def test_iso_dates_are_microseconds_since_1970(tmp_path: Path, written: str, seconds: float) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"user,item,timestamp\nu1,i1,{written}\nu2,i2,{written}\n")
    frame = READERS["csv"](path, DataConfig(path=path))
    assert frame["timestamp"].to_list() == [seconds * 1_000_000] * 2


@pytest.mark.parametrize("zoned", ["2024-05-01T10:00:00Z", "2024-05-01T12:00:00+02:00"])
def test_a_time_zone_in_some_rows_is_named(tmp_path: Path, zoned: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"user,item,timestamp\nu1,i1,2024-05-01T10:00:00\nu2,i2,{zoned}\n")
    with pytest.raises(UserError, match="with a time zone in every row or in none"):
        READERS["csv"](path, DataConfig(path=path, timestamp="timestamp"))


def test_a_date_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item,timestamp\nu1,i1,2024-05-01\nu2,i2,soon\n")
    with pytest.raises(UserError, match=r"line 3: timestamp is 'soon'; expected a date such as"):
        READERS["csv"](path, DataConfig(path=path, timestamp="timestamp"))
