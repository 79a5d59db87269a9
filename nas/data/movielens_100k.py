"""The default data set, MovieLens 100K: fetched once, checked by sha256, cached."""

import hashlib
import http.client
import io
import logging
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas.errors import UserError

log = logging.getLogger("nas.data")

WHEEL = "recbole==1.2.1"
ARCHIVE_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
ATOMIC_HEADER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"

RATINGS = "ml-100k.inter"
SHA256 = {
    RATINGS: "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
}
ITEM_TABLES = ("ml-100k.item", "u.item")
# Of a network that is not there, that breaks off, or that answers with something else.
_FAILURES = (
    *(OSError, EOFError, http.client.HTTPException, subprocess.SubprocessError),
    *(zipfile.BadZipFile, zlib.error, KeyError, ValueError),
)


@dataclass(frozen=True, slots=True)
class Origin:
    """One way to get the data: `download` an archive, `unpack` it into file name -> content."""

    download: Callable[[], bytes]
    unpack: Callable[[bytes], dict[str, bytes]]


def ml_100k() -> tuple[Path, Path]:
    """Return the files of the ratings (RecBole's atomic form) and of the items, fetched if need be.

    The ratings are byte for byte the same wherever they come from; the item table is RecBole's or GroupLens'.
    They are kept in `$NAS_CACHE` or else `~/.cache/nas`. Raises `UserError` when no origin can be reached, or
    the cache cannot be written.
    """
    folder = Path(os.environ.get("NAS_CACHE") or Path.home() / ".cache" / "nas") / "ml-100k"
    found = _cached(folder)
    if found:
        return found
    problems = []
    for name, origin in ORIGINS.items():
        log.info("fetching MovieLens 100K from %s into %s", name, folder)
        try:
            files = origin.unpack(origin.download())
            for file, content in files.items():
                _check(file, content)
        except _FAILURES as error:
            problems.append(f"{name}: {' '.join(str(error).split())[:200]}")
            continue
        _store(folder, files)
        found = _cached(folder)
        assert found, "an origin gives ratings and an item table"
        return found
    raise UserError(
        f"MovieLens 100K is not in {folder} and cannot be fetched ({'; '.join(problems)}); connect to the network, "
        f"or put {RATINGS} and ml-100k.item (RecBole) there, or set NAS_CACHE, or give your own file as data.path"
    )


def download_wheel() -> bytes:
    """Return the RecBole wheel, which holds the data, from the package index that pip is set up to use."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--timeout",
            "20",
            "--retries",
            "1",
        ]
        command = [*pip, "download", "--no-deps", "--only-binary=:all:", "--dest", folder, WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if not wheels:
            raise OSError((done.stderr.strip().splitlines() or ["pip left no wheel"])[-1])
        return wheels[0].read_bytes()


def unpack_wheel(archive: bytes) -> dict[str, bytes]:
    """Return the ratings and the item table in the RecBole wheel, name -> content."""
    with zipfile.ZipFile(io.BytesIO(archive)) as wheel:
        return {
            name: wheel.read(f"recbole/dataset_example/ml-100k/{name}") for name in (RATINGS, "ml-100k.item")
        }


def download_archive() -> bytes:
    """Return GroupLens' own zip file."""
    with urllib.request.urlopen(ARCHIVE_URL, timeout=20) as response:
        content: bytes = response.read()
    return content


def unpack_archive(archive: bytes) -> dict[str, bytes]:
    """Return the ratings (in atomic form) and the item table in GroupLens' zip file, name -> content."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        return {RATINGS: ATOMIC_HEADER + files.read("ml-100k/u.data"), "u.item": files.read("ml-100k/u.item")}


# The package index comes first: machines that reach nothing else often have a mirror of it.
ORIGINS = {
    "the package index (pip download recbole)": Origin(download_wheel, unpack_wheel),
    "files.grouplens.org": Origin(download_archive, unpack_archive),
}


def _check(name: str, content: bytes) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise ValueError(f"{name} has sha256 {found[:12]}..., expected {SHA256[name][:12]}...")


def _cached(folder: Path) -> tuple[Path, Path] | None:
    """Return the files of ratings and items if both are in `folder` and intact."""

    def intact(name: str) -> bool:
        try:
            _check(name, (folder / name).read_bytes())
        except OSError:
            return False
        except ValueError as error:
            log.warning("%s: %s; ignored", folder, error)
            return False
        return True

    items = next((name for name in ITEM_TABLES if intact(name)), None)
    return (folder / RATINGS, folder / items) if items and intact(RATINGS) else None


def _store(folder: Path, files: dict[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            # Another process may read or write the same cache: a file is there whole or not at all.
            with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}.", delete=False) as part:
                part.write(content)
            Path(part.name).chmod(0o644)
            Path(part.name).replace(folder / name)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write the data set ({error.strerror}); set NAS_CACHE to a folder that can be written"
        ) from None
