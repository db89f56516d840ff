"""All frames of a segment at once, as columns: numpy passes over its bytes, and back again to the very same bytes.

All that is in a record takes up whole words of 8 bytes, so a segment is an array of words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import numpy as np

from connectors.tape.records import CHECKED_BYTES, HEAD_BYTES, IN_ORDER, MAGIC, Head, feed_of, padded_names
from events.feeds import FEEDS
from events.frames import CONTROL, Array

_WORD: Final = 8
_HEAD: Final = HEAD_BYTES // _WORD  # magic and frames, offset, bytes of them, two checksums
_FRAME: Final = 3  # watermark, rows and control rows, flags and bytes of both names
_CONTROL: Final = CONTROL.itemsize // _WORD
_LOW: Final = 0xFFFF_FFFF
_MAGIC: Final = int.from_bytes(MAGIC, "little")


@dataclass(frozen=True)
class Columns:
    """The frames of a segment.

    Attributes:
        first: offset of its first record.
        offset: offset after the record that each frame is of.
        source: of each frame, the place in `sources`.
        sources: instrument and stream.
        watermark, in_order: of each frame.
        n_rows, n_control: how many rows and control rows each frame has.
        control: the control rows, one frame's after the other's.
        rows: by stream, its rows, one frame's after the other's.
    """

    first: int
    offset: Array
    source: Array
    sources: list[tuple[str, str]]
    watermark: Array
    in_order: Array
    n_rows: Array
    n_control: Array
    control: Array
    rows: dict[str, Array]

    def of_stream(self, name: str) -> Array:
        """Which frames are of a stream."""
        return np.array([stream == name for _, stream in self.sources], bool)[self.source]

    def to_bytes(self) -> bytes:
        """The records, without their checksums.

        Raises:
            ValueError: there are more or fewer rows than the frames have.
        """
        names = [padded_names(*source) for source in self.sources]
        name_words = np.array([len(padded) // _WORD for padded, _ in names], np.int64)[self.source]
        row_words = _row_words(self.sources)[self.source]
        size = _FRAME + name_words + self.n_control * _CONTROL + self.n_rows * row_words
        begins = np.diff(self.offset, prepend=self.first) > 0  # a record
        place = np.cumsum(size) - size + _HEAD * np.cumsum(begins)
        head = place[begins] - _HEAD
        words = np.zeros(int(size.sum()) + _HEAD * len(head), np.int64)
        words[head] = _MAGIC | np.diff(np.flatnonzero(begins), append=len(place)) << 32
        words[head + 1] = self.first + head * _WORD
        words[head + 2] = (np.diff(head, append=len(words)) - _HEAD) * _WORD
        lengths = np.array([one | other << 16 for _, (one, other) in names], np.int64)
        words[place] = self.watermark
        words[place + 1] = self.n_rows | self.n_control << 32
        words[place + 2] = self.in_order * IN_ORDER | lengths[self.source] << 32
        for code, (padded, _) in enumerate(names):
            text = np.frombuffer(padded, np.int64)
            words[place[self.source == code][:, None] + _FRAME + np.arange(len(text))] = text
        at = place + _FRAME + name_words
        words[_places(at, self.n_control * _CONTROL)] = self.control.view(np.int64)
        for name, rows in self.rows.items():
            mine = self.of_stream(name)
            if len(rows) != self.n_rows[mine].sum():
                raise ValueError(f"there are {len(rows)} rows of {name}, and frames of {self.n_rows[mine].sum()}")
            words[_places((at + self.n_control * _CONTROL)[mine], (self.n_rows * row_words)[mine])] = rows.view(
                np.int64
            )
        return words.tobytes()


def heads_of(body: bytes, first: int) -> Iterator[tuple[int, Head]]:
    """Where each record is in the bytes of a segment, and its head, as far as they are one after the other.

    Args:
        body: the bytes of the records.
        first: the offset of the first one.
    """
    at, words = _heads(body, first)
    frames, lengths, sums = words[at] >> 32, words[at + 2], words[at + 3] & _LOW
    for place, *head in zip((at * _WORD).tolist(), frames.tolist(), lengths.tolist(), sums.tolist()):
        yield place, Head(*head)


def _heads(body: bytes, first: int) -> tuple[Array, Array]:
    """The words at which records begin, as far as they are one after the other; and all words."""
    words = np.frombuffer(body, np.uint64, len(body) // _WORD)
    at = np.flatnonzero((words & _LOW) == _MAGIC)
    at = at[at + _HEAD <= len(words)]
    at = at[words[at + 1] == (first + at * _WORD).astype(np.uint64)]  # else it is in a row
    ends = at + _HEAD + (words[at + 2] // _WORD).astype(np.int64)
    begins = np.concatenate([np.zeros(1, np.int64), ends])[: len(at)]
    wrong = np.flatnonzero((at != begins) | (ends > len(words)))
    return (at[: int(wrong[0])] if len(wrong) else at), words


def _whole(body: bytes, first: int) -> tuple[Array, Array]:
    """The words at which records begin and end, up to the first whose checksums are not those of its bytes."""
    at, words = _heads(body, first)
    ends, view = at + _HEAD + (words[at + 2] // _WORD).astype(np.int64), memoryview(body)
    places = (at * _WORD).tolist()
    own = np.array([crc32(view[a : a + CHECKED_BYTES]) for a in places], np.uint64)
    sums = np.array([crc32(view[a + HEAD_BYTES : b]) for a, b in zip(places, (ends * _WORD).tolist())], np.uint64)
    wrong = np.flatnonzero(words[at + 3] != (sums | own << np.uint64(32)))
    n = int(wrong[0]) if len(wrong) else len(at)
    return at[:n], ends[:n]


def columns_of(body: bytes, first: int) -> tuple[Columns, int]:
    """The frames of a segment, and the offset after the last record that is whole, one after the other from its beginning.

    Args:
        body: the bytes of the records.
        first: the offset of the first one.

    Raises:
        InputError: a frame is of a stream that this version does not know.
    """
    words, sources = np.frombuffer(body, np.int64, len(body) // _WORD), _Sources(body)
    begins, ends = _whole(body, first)
    left, record = words[begins] >> 32 & _LOW, np.arange(len(begins))
    place, found = begins + _HEAD, [np.empty((6, 0), np.int64)]
    while len(place := place[left > 0]):  # the first frame of each record, then the second of each that has one ...
        left, record = left[left > 0], record[left > 0]
        n_rows, n_control = words[place + 1] & _LOW, words[place + 1] >> 32 & _LOW
        source, control = sources.of(place + _FRAME, words[place + 2] >> 32 & _LOW)
        found.append(np.array([place, record, source, n_rows, n_control, control]))
        place, left = control + n_control * _CONTROL + n_rows * sources.row_words[source], left - 1
    every = np.concatenate(found, axis=1)
    place, record, source, n_rows, n_control, control = every[:, np.argsort(every[0], kind="stable")]
    at, size, rows = control + n_control * _CONTROL, n_rows * sources.row_words[source], dict[str, Array]()
    for name in sources.streams:
        mine = sources.are_of(name)[source]
        rows[name] = words[_places(at[mine], size[mine])].view(FEEDS[name].dtype)
    said = words[_places(control, n_control * _CONTROL)].view(CONTROL)
    in_order = (words[place + 2] & IN_ORDER).astype(bool)
    offset = first + ends[record] * _WORD
    made = Columns(first, offset, source, sources.names, words[place], in_order, n_rows, n_control, said, rows)
    return made, first + (int(ends[-1]) * _WORD if len(ends) else 0)


class _Sources:
    """The instruments and streams of frames, as they are met."""

    def __init__(self, body: bytes) -> None:
        self._body, self._codes = body, dict[tuple[bytes, int], int]()
        self.names: list[tuple[str, str]] = []
        self.row_words = np.empty(0, np.int64)

    def of(self, at: Array, lengths: Array) -> tuple[Array, Array]:
        """The places in `names` of those that stand at these words, and the words behind them."""
        ends = at + -(-((lengths & 0xFFFF) + (lengths >> 16)) // _WORD)
        body, codes = self._body, self._codes
        spans = zip(at.tolist(), ends.tolist(), lengths.tolist())
        found = [codes.setdefault((body[a * _WORD : b * _WORD], n), len(codes)) for a, b, n in spans]
        for padded, both in list(codes)[len(self.names) :]:
            one, other = both & 0xFFFF, both >> 16
            self.names.append((padded[:one].decode(), padded[one : one + other].decode()))
        self.row_words = _row_words(self.names)
        return np.array(found, np.int64), ends

    @property
    def streams(self) -> list[str]:
        return list(dict.fromkeys(name for _, name in self.names))

    def are_of(self, name: str) -> Array:
        return np.array([stream == name for _, stream in self.names], bool)


def _row_words(sources: list[tuple[str, str]]) -> Array:
    """Words of a row of each."""
    return np.array([feed_of(*source).dtype.itemsize // _WORD for source in sources], np.int64)


def without_checksums(body: bytes, first: int) -> bytes:
    """The records as `Columns.to_bytes` gives them."""
    at, words = _heads(body, first)
    words = words.copy()
    words[at + _HEAD - 1] = 0
    return words.tobytes()


def _places(starts: Array, counts: Array) -> Array:
    """The places `start` to `start + count` of all, one after the other.

    >>> _places(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    return np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
