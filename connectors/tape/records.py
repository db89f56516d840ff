"""Records of a tape: the frames of one append as bytes, behind a head that says how long they are and whether they are whole.

A record is its head (`HEAD_BYTES`) and the frames, each as: watermark, counts and lengths, the two names, control rows, rows.
Rows are their bytes, so all bits come back. Everything is padded to 8 bytes, so that rows are aligned where they are read.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np

from events.errors import InputError
from events.feeds import FEEDS, Feed
from events.frames import CONTROL, NO_CONTROL, Frame

Items = list[tuple[str, Frame]]
"""(instrument, frame) as sources hand them out."""

MAGIC: Final = b"TWXr"
_HEAD: Final = struct.Struct("<4sIQQII")  # magic, frames, offset, bytes of them, their checksum, checksum of the head
CHECKED_BYTES: Final = _HEAD.size - 4
"""Bytes of the head that its checksum is of, which follows them."""
_FRAME: Final = struct.Struct("<qIIIHH")  # watermark, rows, control rows, flags, bytes of the instrument, of the stream
IN_ORDER: Final = 1
HEAD_BYTES: Final = _HEAD.size


class Head(NamedTuple):
    """The head of a record: how many frames, how many bytes they take behind the head, and their checksum."""

    frames: int
    length: int
    checksum: int

    @property
    def size(self) -> int:
        """Bytes of the whole record."""
        return HEAD_BYTES + self.length


def encode(offset: int, items: Sequence[tuple[str, Frame]]) -> bytes:
    """The record of these frames at `offset` of a tape.

    Raises:
        ValueError: a frame is not of its instrument, or not of a stream and a row type that tapes hold.
    """
    parts: list[bytes] = []
    for instrument, frame in items:
        rows, control, feed = frame.rows, frame.control, FEEDS.get(frame.name)
        if frame.instrument != instrument or feed is None or (len(rows) and getattr(rows, "dtype", None) != feed.dtype):
            kind = getattr(rows, "dtype", type(rows).__name__)
            raise ValueError(
                f"a tape holds frames of {', '.join(FEEDS)}, under their instruments; here under {instrument} is one of "
                f"{frame.instrument}, stream {frame.name}, rows of {kind}"
            )
        names, lengths = padded_names(instrument, frame.name)
        flags = IN_ORDER if frame.in_order else 0
        parts += (_FRAME.pack(frame.watermark, len(rows), len(control), flags, *lengths), names)
        if len(control):
            parts.append(control.tobytes())
        if len(rows):
            parts.append(rows.tobytes())
    body = b"".join(parts)
    checked = _HEAD.pack(MAGIC, len(items), offset, len(body), crc32(body), 0)[:CHECKED_BYTES]
    return b"".join((checked, struct.pack("<I", crc32(checked)), body))


def head_at(data: bytes, at: int, offset: int) -> Head | None:
    """The head of the record of `offset` at a place in `data`; None where there is none, or not all of it."""
    if at + HEAD_BYTES > len(data):
        return None
    magic, frames, found, length, checksum, own = _HEAD.unpack_from(data, at)
    if magic != MAGIC or found != offset or own != crc32(memoryview(data)[at : at + CHECKED_BYTES]):
        return None
    return Head(frames, length, checksum)


def is_whole(data: bytes, at: int, head: Head) -> bool:
    """Whether all bytes of the record at a place in `data` are there, and are those that were written."""
    end = at + head.size
    return end <= len(data) and crc32(memoryview(data)[at + HEAD_BYTES : end]) == head.checksum


def decode(data: bytes, at: int, head: Head) -> Items:
    """The frames of the whole record at a place in `data`; their rows are views of `data`, read-only.

    Raises:
        InputError: a frame is of a stream that this version does not know.
    """
    items: Items = []
    at += HEAD_BYTES
    for _ in range(head.frames):
        watermark, n_rows, n_control, flags, *lengths = _FRAME.unpack_from(data, at)
        at += _FRAME.size
        end = at + _padded(sum(lengths))
        instrument, name = _read_names(data[at:end], *lengths)
        feed, at = feed_of(instrument, name), end
        control, rows = NO_CONTROL, feed.empty
        if n_control:
            control = np.frombuffer(data, CONTROL, n_control, at)
            at += control.nbytes
        if n_rows:
            rows = np.frombuffer(data, feed.dtype, n_rows, at)
            at += rows.nbytes
        items.append((instrument, Frame(instrument, name, rows, watermark, control, bool(flags & IN_ORDER))))
    return items


def feed_of(instrument: str, name: str) -> Feed:
    """What is known of a stream.

    Raises:
        InputError: nothing.
    """
    feed = FEEDS.get(name)
    if feed is None:
        raise InputError(
            f"The tape holds frames of a stream {name!r} of {instrument}, which this version does not know. Replay it with the "
            "version of Tidewax that wrote it, or a later one."
        )
    return feed


def _padded(length: int) -> int:
    return -(-length // 8) * 8


@lru_cache(maxsize=16_384)
def padded_names(instrument: str, name: str) -> tuple[bytes, tuple[int, int]]:
    """The two names as they stand in a frame, and the bytes of each."""
    first, second = instrument.encode(), name.encode()
    joined = first + second
    return joined.ljust(_padded(len(joined)), b"\0"), (len(first), len(second))


@lru_cache(maxsize=16_384)
def _read_names(padded: bytes, first: int, second: int) -> tuple[str, str]:
    return padded[:first].decode(), padded[first : first + second].decode()
