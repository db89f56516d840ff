"""Bytes of files: what kind a file is, its text however it is packed, every fault of storage as a sentence."""

from __future__ import annotations

import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import pyarrow as pa

from events.errors import InputError

_MAGIC: Final = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
}
_SUFFIXES: Final = {
    ".gz": "gzip",
    ".zip": "zip",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "arrow",
    ".arrow": "arrow",
}
_NAMES: Final = {"gzip": "gzip", "zip": "zip", "parquet": "Parquet", "arrow": "Feather (Arrow IPC)"}
LINE_MAX: Final = 1 << 26
"""Bytes without a line end after which a file is taken for no text."""


@contextmanager
def reading(label: str) -> Iterator[None]:
    """Turn every fault of a file that its reading shows into an InputError."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{label}: there is no such file.") from None
    except PermissionError:
        raise InputError(f"{label}: may not be read; check its permissions.") from None
    except EOFError:
        raise InputError(f"{label} is cut short: its end is missing. Fetch it again.") from None
    except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile, pa.ArrowException) as error:
        raise InputError(f"{label} is damaged ({_first_line(error)}). Fetch it again.") from None
    except (OSError, RuntimeError, NotImplementedError, UnicodeDecodeError) as error:
        raise InputError(f"{label} cannot be read: {_first_line(error)}.") from None


def kind_of(path: Path) -> str:
    """What a file is by its first bytes: gzip, zip, parquet, arrow or text.

    Raises:
        InputError: there is none, it is a directory, it is empty, or it is not what its name says.
    """
    if path.is_dir():
        raise InputError(f"{path} is a directory. Name the files in it, for example {path}/*.csv.")
    if path.suffix.lower() in (".xlsx", ".xls", ".ods"):
        raise InputError(f"{path} is a spreadsheet. Save the sheet as a CSV file.")
    with reading(str(path)), path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise InputError(f"{path} is empty.")
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "text")
    named = _SUFFIXES.get(path.suffix.lower())
    if named is not None and named != kind:
        raise InputError(
            f"{path} is damaged or misnamed: it does not begin as a {_NAMES[named]} file does. Fetch it again."
        )
    return kind


def members(path: Path) -> dict[str, int]:
    """The data files in a zip with their packed sizes, by name.

    Raises:
        InputError: the zip is damaged or holds none.
    """
    with reading(str(path)), zipfile.ZipFile(path) as archive:
        found = {
            info.filename: info.compress_size
            for info in sorted(archive.infolist(), key=lambda info: info.filename)
            if not info.is_dir() and info.file_size and not _is_clutter(info.filename)
        }
    if not found:
        raise InputError(f"{path} holds no data file.")
    return found


def line_chunks(path: Path, kind: str, member: str | None, label: str, size: int) -> Iterator[tuple[bytes, int]]:
    """The text of a file in chunks of whole lines of about `size` bytes, with the bytes of the file read so far.

    The chunks are the same whenever the text is the same, however it is packed.

    Raises:
        InputError: the file is damaged, which may be found at any chunk.
    """
    rest = b""
    with reading(label), path.open("rb") as raw, _unpacked(raw, kind, member) as text:
        start = raw.tell() if kind == "zip" else 0
        while data := text.read(size):
            cut = data.rfind(b"\n") + 1
            if cut:
                yield rest + data[:cut], max(0, raw.tell() - start)
                rest = data[cut:]
            else:
                rest += data
            if len(rest) > LINE_MAX:
                raise InputError(f"{label} is no text: {len(rest)} bytes without the end of a line.")
        if rest.strip():
            yield rest, max(0, raw.tell() - start)


@contextmanager
def _unpacked(raw: IO[bytes], kind: str, member: str | None) -> Iterator[IO[bytes]]:
    if kind == "gzip":
        with gzip.GzipFile(fileobj=raw) as unpacked:
            yield unpacked  # type: ignore[misc]
    elif kind == "zip":
        with zipfile.ZipFile(raw) as archive, archive.open(member or "") as entry:
            yield entry
    else:
        yield raw


def _is_clutter(name: str) -> bool:
    last = name.rsplit("/", 1)[-1]
    return last.startswith(".") or name.startswith("__MACOSX/") or last.lower().endswith((".checksum", ".md", ".pdf"))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
