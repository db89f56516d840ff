"""The writer of a tape: what was appended is there after a kill, and what was torn is cut off when it is opened again."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Literal

from connectors.storage import replacing, storage_errors
from connectors.tape.header import Universe, new_header
from connectors.tape.locks import UPKEEP_LOCK, Hold
from connectors.tape.recording import Part, parts_of, read_parts
from connectors.tape.records import Items, encode
from connectors.tape.segment import Segment, open_segment, segment_path
from events.errors import InputError, RunError
from events.frames import Frame

log = logging.getLogger(__name__)
Sync = Literal["none", "epoch"]
SEGMENT_BYTES: Final = 32 << 20


class Tape:
    """The write-ahead log of a live run, open for writing; one process writes to a tape at a time.

    An offset is how many bytes of records are before it, since the tape was begun: it stays what it is when old segments
    are rolled or removed.

    Args:
        directory: of the tape; it is made if it is not there.
        universe: what the tape may hold. One that exists must be of the same.
        segment_bytes: from this size on a segment is closed, and another one begun.
        sync: `epoch`: `sync` waits until the disk has what was appended, so that it survives a power cut; `none`: that is left
            to the system. What was appended survives a kill of the process in either case.
        on_closed: is called when a segment was closed; it must not wait.

    Attributes:
        directory: of the tape.
        first: the offset where it began when it was opened; above 0 where old segments were removed.
        end: the offset where it ends.
        torn_bytes: how many bytes of a record that was cut short were cut off when it was opened.

    Raises:
        InputError: the tape is damaged in its middle, or of another version.
        RunError: another process writes to it, it is of another universe, or the directory cannot be used.

    >>> import tempfile
    >>> from events.feeds import FEEDS
    >>> quiet = Frame("x:A/B", "trades", FEEDS["trades"].empty, 60_000_000_000)
    >>> with Tape(Path(tempfile.mkdtemp()), Universe(("x:A/B",), frozenset(), frozenset({"trades"}))) as tape:
    ...     after = tape.append([("x:A/B", quiet)])
    ...     [(offset == after, items[0][1].watermark) for offset, items in tape.read(0)]
    [(True, 60000000000)]
    """

    def __init__(
        self,
        directory: Path,
        universe: Universe,
        segment_bytes: int = SEGMENT_BYTES,
        sync: Sync = "epoch",
        on_closed: Callable[[], None] | None = None,
    ) -> None:
        self.directory, self._segment_bytes, self._policy, self._on_closed = directory, segment_bytes, sync, on_closed
        self._descriptor = -1
        self._unsynced = self._failed = False
        with storage_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = (directory / "lock").open("w")
        try:
            self._take_lock()
            hold = Hold(directory)
            parts = parts_of(directory)
            hold.close()
            self.torn_bytes = self._cut_torn(parts[-1]) if parts else 0
            self._segment = open_segment(parts[-1].path) if parts else self._begin(None, universe)
            self._check(universe)
            self.first, self.end = (parts or [self._segment])[0].first, self._segment.end
            with storage_errors(self._segment.path):
                self._descriptor = os.open(self._segment.path, os.O_RDWR)
        except BaseException:
            self._lock.close()
            raise

    @property
    def id(self) -> str:
        """The id of the tape, the same as long as it goes on."""
        return self._segment.header.tape

    def append(self, items: Sequence[tuple[str, Frame]]) -> int:
        """Write frames of instruments behind what is there, all of them or none; the offset after them.

        They survive a kill of the process from here on, so this comes before they are handed out.

        Raises:
            RunError: the disk is full, or the like; then nothing was appended.
            ValueError: a frame is of a stream or a row type that tapes do not hold.
        """
        if self._failed:
            raise RunError(f"{self._segment.path} could not be put right after a failure: open the tape again.")
        if not items:
            return self.end
        record = encode(self.end, items)
        if self.end - self._segment.first >= self._segment_bytes:
            self._next_segment()
        with storage_errors(self._segment.path):
            self._write(record)
        self.end += len(record)
        self._unsynced = True
        return self.end

    def sync(self) -> None:
        """Wait until the disk has what was appended, if that is the policy; for the snapshot of a source.

        Raises:
            RunError: the disk failed.
        """
        if self._unsynced and self._policy == "epoch":
            with storage_errors(self._segment.path):
                os.fsync(self._descriptor)
        self._unsynced = False

    def read(self, offset: int) -> Iterator[tuple[int, Items]]:
        """The frames of each record from an offset to the end, with the offset after it.

        Raises:
            RunError: the tape does not reach back or on to that offset.
            InputError: a record is damaged.
        """
        hold = Hold(self.directory)
        try:
            yield from read_parts(self._parts(offset), offset, self.end)
        finally:
            hold.close()

    def truncate(self, offset: int) -> None:
        """Give up all that is behind an offset, which is the end of a record in a segment that is not rolled.

        Raises:
            RunError: it is not.
        """
        parts = self._parts(offset)
        if offset == self.end:
            return
        held = next(part for part in reversed(parts) if part.first <= offset)
        if not isinstance(held, Segment) or held.last_whole(offset) != offset:
            raise RunError(
                f"{self.directory} cannot be cut at offset {offset}: no record that is not rolled ends there."
            )
        with storage_errors(held.path):
            for part in reversed([part for part in parts if part.first > offset]):  # from behind: a kill leaves no hole
                part.path.unlink()
            os.truncate(held.path, held.place(offset))
            os.close(self._descriptor)
            self._descriptor = os.open(held.path, os.O_RDWR)
        self._segment, self.end, self._unsynced = open_segment(held.path), offset, True

    def close(self) -> None:
        """Close it; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._lock.close()

    def discard(self) -> None:
        """Close it and remove it, as nothing was ever recorded; other files in its directory stay."""
        assert self.end == 0, "a tape that holds something"
        self._segment.path.unlink()
        for name in ("lock", UPKEEP_LOCK):
            (self.directory / name).unlink(missing_ok=True)
        self.close()
        with suppress(OSError):  # it stays unless nothing is in it
            self.directory.rmdir()

    def __enter__(self) -> Tape:
        """The tape."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"another process records to {self.directory}: wait for it, or name another directory"
            ) from None

    def _check(self, universe: Universe) -> None:
        held = self._segment.header.universe
        if held != universe:
            raise RunError(
                f"{self.directory} holds a tape of {_tell(held)}, and this run is of {_tell(universe)}: a tape is of one universe. "
                "Run with that, or name another directory."
            )

    def _parts(self, offset: int) -> list[Part]:
        parts = parts_of(self.directory)
        if not parts[0].first <= offset <= self.end:
            raise RunError(
                f"{self.directory} holds offsets {parts[0].first} to {self.end} of its tape, and the run goes on from {offset}: "
                "segments were removed, or the end was not yet on the disk when the machine stopped (sync: none). Start over with "
                "a new tape and a new recovery store."
            )
        return parts

    def _cut_torn(self, last: Part) -> int:
        """Cut off what was torn at the end of the last segment; how many bytes."""
        if not isinstance(last, Segment):
            raise InputError(f"The segment behind {last.path} is missing. Bring it back from a copy.")
        torn = last.end - last.last_whole()
        if torn:
            with storage_errors(last.path):
                os.truncate(last.path, last.size - torn)
            log.warning("%s: the last %d bytes were of a record cut short, and were cut off", last.path, torn)
        return torn

    def _begin(self, after: Segment | None, universe: Universe) -> Segment:
        """Begin a segment; it appears with its whole header."""
        now_ns = time.time_ns()
        new = new_header(secrets.token_hex(8), universe, now_ns)
        header = new if after is None else after.header.at(self.end, now_ns)
        path = segment_path(self.directory, header.first)
        with replacing(path) as temporary:
            temporary.write_bytes(header.to_bytes())
        return open_segment(path)

    def _next_segment(self) -> None:
        self.sync()  # so that only the last segment can be torn
        segment = self._begin(self._segment, self._segment.header.universe)
        with storage_errors(segment.path):
            descriptor = os.open(segment.path, os.O_RDWR)
        os.close(self._descriptor)
        self._segment, self._descriptor = segment, descriptor
        if self._on_closed is not None:
            self._on_closed()

    def _write(self, record: bytes) -> None:
        place, left = self._segment.place(self.end), memoryview(record)
        try:
            while left:
                written = os.pwrite(self._descriptor, left, place)
                place, left = place + written, left[written:]
        except BaseException:
            self._failed = True
            os.ftruncate(self._descriptor, self._segment.place(self.end))
            self._failed = False
            raise


def _tell(universe: Universe) -> str:
    names = ", ".join(universe.instruments[:5]) + (" and others" if len(universe.instruments) > 5 else "")
    return f"{names} ({', '.join(sorted(universe.feeds))}; {len(universe.sequenced)} with consecutive ids)"
