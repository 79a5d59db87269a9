import hashlib
import http.client
import io
import subprocess
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.data import DataConfig, load, ml_100k, movielens_100k
from nas.data.movielens_100k import Origin, download_archive, download_wheel, unpack_archive, unpack_wheel
from nas.errors import UserError

RATINGS = b"196\t242\t3\t881250949\n186\t302\t3\t891717742\n196\t302\t5\t881250950\n"
ATOMIC = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + RATINGS
ATOMIC_ITEMS = (
    b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n242\tKolya\t1996\tComedy\n"
)
FLAGS = "|".join("1" if genre == 5 else "0" for genre in range(19))
U_ITEM = f"242|Kolya (1996)|24-Jan-1997||http://x|{FLAGS}\n".encode("latin-1")


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


FOLDER = "recbole/dataset_example/ml-100k"
WHEEL = archive({f"{FOLDER}/ml-100k.inter": ATOMIC, f"{FOLDER}/ml-100k.item": ATOMIC_ITEMS, "setup.py": b"x"})
ARCHIVE = archive({"ml-100k/u.data": RATINGS, "ml-100k/u.item": U_ITEM, "ml-100k/README": b"x"})


def fail() -> bytes:
    raise OSError("no network here\nat all")


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same machinery over three ratings in a cache of each test's own; nothing can reach the network."""
    for name, content in {"ml-100k.inter": ATOMIC, "ml-100k.item": ATOMIC_ITEMS, "u.item": U_ITEM}.items():
        monkeypatch.setitem(movielens_100k.SHA256, name, hashlib.sha256(content).hexdigest())
    set_origins(monkeypatch, fail, fail)
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))


def set_origins(
    monkeypatch: pytest.MonkeyPatch, wheel: Callable[[], bytes], archive: Callable[[], bytes]
) -> None:
    origins = {"pip": Origin(wheel, unpack_wheel), "GroupLens": Origin(archive, unpack_archive)}
    monkeypatch.setattr(movielens_100k, "ORIGINS", origins)


def test_both_origins_end_in_the_same_interactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, origins in {"wheel": (lambda: WHEEL, fail), "archive": (fail, lambda: ARCHIVE)}.items():
        set_origins(monkeypatch, *origins)
        monkeypatch.setenv("NAS_CACHE", str(tmp_path / name))
        found.append(load(DataConfig(source="ml-100k"), tmp_path))
    assert found[0].fingerprint() == found[1].fingerprint()
    assert found[0].user_ids == ("186", "196")
    assert len(found[0]) == 3
    for interactions in found:
        assert interactions.items.title == ("Kolya (1996)", "")
        assert interactions.items.genres == (("Comedy",), ())


def test_data_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_origins(monkeypatch, lambda: WHEEL, fail)
    first = ml_100k()
    set_origins(monkeypatch, fail, fail)
    assert ml_100k() == first
    assert [path.read_bytes() for path in first] == [ATOMIC, ATOMIC_ITEMS]
    assert sorted(path.name for path in (tmp_path / "ml-100k").iterdir()) == ["ml-100k.inter", "ml-100k.item"]


@pytest.mark.parametrize("damaged", ["ml-100k.inter", "ml-100k.item"])
def test_a_damaged_cache_is_fetched_again(
    damaged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_origins(monkeypatch, lambda: WHEEL, fail)
    ml_100k()
    (tmp_path / "ml-100k" / damaged).write_bytes(b"cut off")
    ratings, items = ml_100k()
    assert ratings.read_bytes() == ATOMIC
    assert items.read_bytes() == ATOMIC_ITEMS


@pytest.mark.parametrize(
    "content",
    [
        archive(
            {f"{FOLDER}/ml-100k.inter": ATOMIC + b"9\t9\t9\t9\n", f"{FOLDER}/ml-100k.item": ATOMIC_ITEMS}
        ),
        archive({f"{FOLDER}/ml-100k.inter": ATOMIC}),
        b"<html>sign in to the hotel network</html>",
    ],
    ids=["wrong sha256", "missing member", "no zip"],
)
def test_a_wrong_wheel_is_not_stored_and_the_next_origin_serves(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_origins(monkeypatch, lambda: content, lambda: ARCHIVE)
    ratings, items = ml_100k()
    assert ratings.read_bytes() == ATOMIC
    assert items.name == "u.item"


@pytest.mark.parametrize(
    "error", [http.client.IncompleteRead(b"PK"), zlib.error("invalid block type"), EOFError("ended before")]
)
def test_a_download_that_breaks_off_is_no_end(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off() -> bytes:
        raise error

    set_origins(monkeypatch, break_off, lambda: ARCHIVE)
    assert ml_100k()[1].name == "u.item"
    (tmp_path / "ml-100k" / "u.item").unlink()
    set_origins(monkeypatch, break_off, break_off)
    with pytest.raises(UserError, match="cannot be fetched"):
        ml_100k()


def test_without_any_origin_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_origins(monkeypatch, fail, lambda: archive({"ml-100k/u.data": b"1", "ml-100k/u.item": U_ITEM}))
    with pytest.raises(UserError) as caught:
        ml_100k()
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        str(tmp_path),
        "pip: no network",
        "GroupLens: ml-100k.inter has sha256",
        "NAS_CACHE",
        "data.path",
    ):
        assert part in message
    assert not (tmp_path / "ml-100k").exists()


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_origins(monkeypatch, lambda: WHEEL, fail)
    (tmp_path / "ml-100k").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write the data set.*NAS_CACHE"):
        ml_100k()


def test_the_wheel_comes_through_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], timeout: float, **_: object) -> subprocess.CompletedProcess[str]:
        assert command[1:3] == ["-m", "pip"]
        assert command[-1] == "recbole==1.2.1"
        assert timeout == 120
        folder = Path(command[command.index("--dest") + 1])
        (folder / "recbole-1.2.1-py3-none-any.whl").write_bytes(WHEEL)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    assert download_wheel() == WHEEL


def test_what_pip_says_last_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: a\nERROR: no matching distribution\n")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(OSError, match="ERROR: no matching distribution"):
        download_wheel()


def test_a_pip_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], timeout: float, **_: object) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", pip)
    set_origins(monkeypatch, download_wheel, lambda: ARCHIVE)
    assert ml_100k()[1].name == "u.item"


def test_the_archive_comes_from_grouplens_within_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(url: str, timeout: float) -> io.BytesIO:
        assert url == "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
        assert timeout == 20
        return io.BytesIO(ARCHIVE)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    assert download_archive() == ARCHIVE
