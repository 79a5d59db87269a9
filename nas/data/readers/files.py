"""Bytes of a file, with every way of not getting them told as a `UserError`."""

import gzip
import logging
import zlib
from pathlib import Path

from nas.errors import UserError

log = logging.getLogger("nas.data")

GZIP_MAGIC = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
# Tab, line feed, form feed and carriage return are the control characters of honest text files.
CONTROL = bytes(set(range(32)) - {9, 10, 12, 13})
OTHER_FORMATS = {b"PAR1": "a parquet file", b"PK\x03\x04": "a zip archive", b"\xff\xfe": "UTF-16 text"}


def read_bytes(path: Path) -> bytes:
    """Return the content of `path`, decompressed where it is gzip.

    Raises `UserError` when the file is missing, a directory, not readable, empty or a broken gzip file.
    """
    try:
        raw = path.read_bytes()
        if raw.startswith(GZIP_MAGIC):
            raw = gzip.decompress(raw)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path (relative to the experiment file)") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory; give the path of a file in it") from None
    except PermissionError:
        raise UserError(f"{path}: permission denied; make the file readable") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: broken gzip file ({error}); compress or fetch it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a readable file") from None
    if not raw or raw.isspace():
        raise UserError(f"{path}: the file is empty; expected one interaction or item a line")
    return raw


def read_text(path: Path) -> bytes:
    r"""Return the content of `path` as UTF-8 bytes, without a byte order mark, lines ended by `\n` or `\r\n`.

    Where no line ends so, `\r` ends them, as on old Macs. Text that is not UTF-8 is taken as latin-1, as in
    MovieLens' older files, and a line of the logger `nas.data` says so. Raises `UserError` for binary files, and
    as `read_bytes` does.
    """
    raw = read_bytes(path)
    kind = next((kind for magic, kind in OTHER_FORMATS.items() if raw.startswith(magic)), None)
    # Deleting nothing but control characters shortens the sample only if there are some.
    sample = raw[:65536]
    if kind or b"\0" in raw or len(sample.translate(None, CONTROL)) < len(sample):
        raise UserError(f"{path}: {kind or 'a binary file'}, where text (UTF-8 or latin-1) is expected")
    raw = raw.removeprefix(BOM)
    raw = raw if b"\n" in raw else raw.replace(b"\r", b"\n")
    if not raw.isascii():
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            log.warning("%s, line %d: not UTF-8, so the whole file is read as latin-1", path, line)
            raw = raw.decode("latin-1").encode()
    return raw
