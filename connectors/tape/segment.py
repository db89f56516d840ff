"""Segments of a tape as they are written: a header, then records; named by the offset of the first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.storage import storage_errors
from connectors.tape.header import Header, read_header
from connectors.tape.records import MAGIC, Head, Items, decode, head_at, is_whole
from events.errors import InputError

SUFFIX: Final = ".tape"
_CHUNK_BYTES: Final = 256 << 10
"""So much is read at a time; rows that are held back keep that much in memory."""


def segment_path(directory: Path, first: int) -> Path:
    """The file of the segment whose first record has this offset.

    >>> segment_path(Path("tape"), 67108872).name
    '00000000000067108872.tape'
    """
    return directory / f"{first:020d}{SUFFIX}"


@dataclass(frozen=True)
class Segment:
    """A segment.

    Attributes:
        path: of the file.
        header: what its head says.
        body: bytes of the head, so where the first record is.
        size: bytes of the file when it was opened.
    """

    path: Path
    header: Header
    body: int
    size: int

    @property
    def first(self) -> int:
        """Offset of its first record."""
        return self.header.first

    @property
    def end(self) -> int:
        """Offset of the end of the file; in a segment that is written to, that of the last whole record may be below."""
        return self.first + self.size - self.body

    def place(self, offset: int) -> int:
        """Where in the file the record of an offset is."""
        return self.body + offset - self.first

    def read(self, offset: int, end: int) -> Iterator[tuple[int, Items]]:
        """The frames of each record from `offset` to `end`, with the offset after it.

        Raises:
            InputError: a record is damaged or not all there, or holds what this version does not know.
        """
        for data, at, head in self.records(offset, end):
            offset += head.size
            yield offset, decode(data, at, head)
        if offset < end:
            raise self.damage(offset)

    def body_bytes(self) -> bytes:
        """The bytes of all records."""
        with storage_errors(self.path, "read"), closing(_Reader(self.path)) as file:
            return file.read(self.body, self.size - self.body)

    def records(self, offset: int, end: int) -> Iterator[tuple[bytes, int, Head]]:
        """The records that end at `end` or before, each as some bytes, where in them it is, and its head; up to one not whole."""
        with storage_errors(self.path, "read"), closing(_Reader(self.path)) as file:
            data, base = b"", offset
            while offset < end:
                at = offset - base
                head = head_at(data, at, offset)
                if head is None or at + head.size > len(data):
                    data, base, at = file.read(self.place(offset), _CHUNK_BYTES), offset, 0
                    head = head_at(data, at, offset)
                    if head is not None and head.size > len(data):
                        data = file.read(self.place(offset), head.size)
                if head is None or offset + head.size > end or not is_whole(data, at, head):
                    return
                yield data, at, head
                offset += head.size

    def last_whole(self, until: int | None = None) -> int:
        """The offset after the last whole record, or the last that ends at `until` or before; what is behind it was cut short.

        Raises:
            InputError: a record is damaged, and others follow it.
        """
        offset = self.first
        for _, _, head in self.records(offset, self.end if until is None else min(self.end, until)):
            offset += head.size
        if until is None and offset < self.end and self._goes_on(offset):
            raise self.damage(offset)
        return offset

    def _goes_on(self, offset: int) -> bool:
        """Whether any record follows one at `offset` that is not whole."""
        with storage_errors(self.path, "read"), closing(_Reader(self.path)) as file:
            place = self.place(offset)
            rest = file.read(place, self.size - place)
        at = rest.find(MAGIC, 1)
        while at >= 0:
            if head_at(rest, at, offset + at) is not None:
                return True
            at = rest.find(MAGIC, at + 1)
        return False

    def damage(self, offset: int) -> InputError:
        """The error for a record that is not what was written."""
        return InputError(
            f"{self.path} is damaged at byte {self.place(offset)}: the record there, at offset {offset} of the tape, fails its "
            f"checksum. Bring the file back from a copy, or replay what is before it with --until {offset}."
        )


def open_segment(path: Path) -> Segment:
    """The segment in a file.

    Raises:
        InputError: it is no segment, or of another version.
        RunError: it cannot be read.
    """
    with storage_errors(path, "read"):
        header, body = read_header(path)
        if segment_path(path.parent, header.first) != path:
            raise InputError(
                f"{path} begins at offset {header.first} of its tape, its name says otherwise. Give it back its name."
            )
        return Segment(path, header, body, path.stat().st_size)


class _Reader:
    """A file that is read at places."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)

    def read(self, place: int, length: int) -> bytes:
        """So many bytes from a place on; fewer where the file ends."""
        parts = []
        while length > 0 and (part := os.pread(self._descriptor, length, place)):
            parts.append(part)
            place, length = place + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)
