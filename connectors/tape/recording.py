"""A tape for reading: its segments in order, as far as they are whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from connectors.tape.header import Header
from connectors.tape.locks import Hold
from connectors.tape.records import Items
from connectors.tape.rolled import FRAMES, Rolled, open_rolled, rolled_path
from connectors.tape.segment import SUFFIX, Segment, open_segment
from events.errors import InputError, RunError
from events.identity import id_of, is_among
from events.times import SECOND_NS, iso

Part = Segment | Rolled


def parts_of(directory: Path, until: int | None = None) -> list[Part]:
    """The segments of a tape in order, rolled or not, those that begin before `until`; none where there is no tape.

    Raises:
        InputError: one is missing, is of another tape or version, or is shorter than it was.
    """
    found: dict[int, Part] = {}
    opens: tuple[tuple[str, Callable[[Path], Part]], ...] = (
        (f"*{SUFFIX}", open_segment),  # before the rolled ones: what is rolled meanwhile is found among them
        (f"rolled/*.{FRAMES}.parquet", open_rolled),
    )
    for pattern, opened in opens:
        for path in sorted(directory.glob(pattern)):
            try:
                part = opened(path)
            except RunError as error:
                if _vanished(error):
                    continue
                raise
            found.setdefault(part.first, part)  # one that is there twice was not rolled to the end
    parts = [part for first, part in sorted(found.items()) if until is None or first < until]
    for before, after in pairwise(parts):
        if before.header.tape != after.header.tape:
            raise InputError(
                f"{before.path} and {after.path} are of two tapes. Keep each tape in a directory of its own."
            )
        if before.end != after.first:
            raise InputError(
                f"{before.path} ends at offset {before.end} of the tape and {after.path} begins at {after.first}: what is between "
                f"them is missing. Bring it back from a copy, or replay what is before with --until {min(before.end, after.first)}."
            )
    return parts


def read_parts(parts: list[Part], offset: int, end: int) -> Iterator[tuple[int, Items]]:
    """The frames of each record from `offset` to `end`, with the offset after it.

    Raises:
        InputError: a record is damaged, or holds what this version does not know.
    """
    for part in parts:
        if part.end > offset and part.first < end:
            span = max(offset, part.first), min(end, part.end)
            try:
                yield from part.read(*span)
            except RunError as error:
                if isinstance(part, Rolled) or not _vanished(error):
                    raise
                # It was rolled after it was listed. A file that is open stays, so nothing of it is out yet.
                yield from open_rolled(rolled_path(part.path.parent, part.first, FRAMES)).read(*span)


def _vanished(error: RunError) -> bool:
    """Whether it says that a file is not there."""
    return isinstance(error.__cause__, FileNotFoundError)


class Recording:
    """A tape as it is when it is opened; what a run appends meanwhile is not seen, and nothing of it is removed meanwhile.

    Args:
        directory: of the tape.
        until: take it for as long as the records that end at this offset or before; None: for as long as it is.

    Attributes:
        parts: its segments.
        header: of the newest segment.
        first: the offset where it begins; above 0 where old segments were removed.
        end: the offset where it ends.
        torn_bytes: bytes behind the end, of a record that was cut short; 0 where `until` is given.

    Raises:
        InputError: there is no tape, it is damaged, or is of another version.
    """

    def __init__(self, directory: Path, until: int | None = None) -> None:
        self.directory = directory
        self._hold = Hold(directory) if directory.is_dir() else None
        self.parts = parts_of(directory, until)
        if not self.parts:
            before = "" if until is None else f" before offset {until}"
            raise InputError(f"{directory} holds no tape{before}. Name the directory that a live run recorded to.")
        last = self.parts[-1]
        self.header: Header = last.header
        self.first = self.parts[0].first
        self.end = last.last_whole(until)
        self.torn_bytes = last.end - self.end if until is None else 0

    def read(self, offset: int) -> Iterator[tuple[int, Items]]:
        """The frames of each record from an offset to the end, with the offset after it.

        Raises:
            InputError: a record is damaged, or the offset is not one of the tape.
        """
        if not self.first <= offset <= self.end:
            raise InputError(
                f"{self.directory} holds offsets {self.first} to {self.end} of its tape, and not {offset}, from where it is to be "
                "read: segments were removed, or the end was not yet on the disk when the machine stopped."
            )
        yield from read_parts(self.parts, offset, self.end)

    @property
    def begun_ns(self) -> int:
        """When what is left of it was begun, by the clock of the machine that recorded it."""
        return self.parts[0].header.created_ns

    @property
    def instruments(self) -> tuple[str, ...]:
        """The instruments of the run that wrote it."""
        return self.header.universe.instruments

    @property
    def feeds(self) -> frozenset[str]:
        """The streams of the run that wrote it."""
        return self.header.universe.feeds

    @property
    def lacking(self) -> Mapping[str, frozenset[str]]:
        """The streams of that run that an instrument did not have, where there were any."""
        return self.header.universe.lacking

    def sequenced(self, instrument: str) -> bool:
        """Whether the trades of an instrument have consecutive ids."""
        return is_among(instrument, self.header.universe.sequenced)

    @property
    def total_bytes(self) -> int:
        """Bytes of its records."""
        return self.end - self.first

    @cached_property
    def fingerprint(self) -> str:
        """What has to be the same for a run to go on where another one stopped."""
        return id_of("tape", self.header.tape, self.first, self.end)

    def describe(self) -> list[dict[str, Any]]:
        """Path, id, offsets, streams and instruments, and when it was begun, to the second."""
        return [
            {
                "path": str(self.directory),
                "tape": self.header.tape,
                "first": self.first,
                "until": self.end,
                "feeds": sorted(self.feeds),
                "instruments": list(self.instruments),
                "created_by": self.header.created_by,
                "begun": iso(self.begun_ns // SECOND_NS * SECOND_NS),
            }
        ]
