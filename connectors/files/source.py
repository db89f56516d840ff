"""The files of a run as a Bytewax source of one partition."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Final

import numpy as np
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.files.inputs import Inputs
from connectors.files.merge import Merge, Merged, Source
from connectors.progress import Progress
from events.errors import InputError
from events.feeds import BOOKS, FEEDS
from events.frames import Frame, control
from events.schema import END, NEVER
from events.times import MINUTE_NS

FileState = tuple[str, int, int, bool]
"""(fingerprint of the inputs, merged blocks handed out in full, rows handed out of the next one, whether it is done)."""

PARTITION: Final = "files"
_BATCH_ROWS: Final = 100_000
_BATCH_FRAMES: Final = 64
_SKIPPED_BLOCKS: Final = 4


class FileSource(FixedPartitionedSource[tuple[str, Frame], FileState]):
    """Rows of files as frames of the streams of their instruments, merged by time, and heartbeats between them.

    Frames with rows carry no watermark (NEVER): whoever takes them in derives it from the rows. After each merged
    block every stream of every instrument gets a heartbeat: the minute up to which all rows of the run are out, less the
    lateness. That holds for the stream its bars are made of and for every other of the run, whether it has rows of the
    instrument or not. A stream ends with a frame whose control says END, when its files are exhausted or at the end of the run.

    Args:
        inputs: the files, from `open_inputs`.
        chunk: how many rows a frame holds at most; an update of a book is never cut, so such a frame goes on to its end.
        lateness_ns: how far behind the merged position heartbeats stay.
        on_error: is called with an InputError met during the run, which then ends without END; None: it is raised.

    Attributes:
        progress: how far the run has come.
        stopping: set it to end the source without END, so that the run can go on later as if it had never stopped.

    Raises:
        InputError: an instrument has nothing to make bars of.
    """

    def __init__(
        self,
        inputs: Inputs,
        chunk: int,
        lateness_ns: int = 0,
        on_error: Callable[[InputError], None] | None = None,
    ) -> None:
        if chunk < 1:
            raise ValueError(f"chunk is {chunk}: a frame holds one row or more")
        if lateness_ns < 0:
            raise ValueError(f"lateness_ns is {lateness_ns}: it cannot be negative")
        inputs.check_driven()
        self.inputs, self.chunk, self.lateness_ns, self.on_error = inputs, chunk, lateness_ns, on_error
        self.progress = Progress(inputs.total_bytes)
        self.stopping = Event()

    def list_parts(self) -> list[str]:
        """The one partition."""
        return [PARTITION]

    def build_part(self, step_id: str, for_part: str, resume_state: FileState | None) -> FilePartition:
        """The partition, from the beginning or from where a run stopped, maybe with another `chunk`.

        Raises:
            InputError: the state is of other files.
        """
        fingerprint = self.inputs.fingerprint
        if resume_state is not None and resume_state[0] != fingerprint:
            raise InputError(
                "The run was stopped while it read other files, so it cannot go on with these. Name the same files in "
                "the same order, with the same --instrument or --exchange, or start a new run."
            )
        return FilePartition(self, resume_state or (fingerprint, 0, 0, False))


class FilePartition(StatefulSourcePartition[tuple[str, Frame], FileState]):
    """Hands out the frames of all files; its state is a position in the sequence of merged blocks."""

    def __init__(self, source: FileSource, state: FileState) -> None:
        self._source = source
        self._fingerprint, self._resume_block, self._rows_out, self._done = state
        self._merge = Merge(source.inputs)
        self._number = -1  # of the current block
        self._block: Merged | None = None
        self._watermarks: dict[Source, int] = {}

    def next_batch(self) -> list[tuple[str, Frame]]:
        """Some frames, up to about 100,000 rows of one merged block; none while a resumed run finds its place.

        Raises:
            StopIteration: all is handed out, the run is to stop, or an error was reported.
            InputError: a file cannot be read on, and nobody is told of errors otherwise.
        """
        if self._done or self._source.stopping.is_set():
            raise StopIteration
        try:
            if self._block is None and not self._load():
                return []
        except InputError as error:
            if self._source.on_error is None:
                raise
            self._source.on_error(error)
            raise StopIteration from None
        return self._frames()

    def snapshot(self) -> FileState:
        """The position after the last frame handed out."""
        return (
            self._fingerprint,
            max(self._resume_block, self._number + (self._block is None)),
            self._rows_out,
            self._done,
        )

    def close(self) -> None:
        """Close the files."""
        self._merge.close()

    def _load(self) -> bool:
        """Make the next block current; False while blocks are skipped that a former run handed out."""
        for _ in range(_SKIPPED_BLOCKS):
            block = next(self._merge)
            self._number += 1
            progress = self._source.progress
            progress.bytes_read, progress.newest_ns = self._merge.bytes_done, self._merge.newest_ns
            if self._number >= self._resume_block:
                self._block = block
                return True
            self._tail(block)
        return False

    def _frames(self) -> list[tuple[str, Frame]]:
        block, out, rows_in_batch, start = self._block, list[tuple[str, Frame]](), 0, 0
        assert block is not None
        for (instrument, stream), rows in block.rows.items():
            end = start + len(rows)
            cuts = np.flatnonzero(rows["last"]) + 1 if stream == BOOKS and self._rows_out < end else None
            while self._rows_out < end:
                if rows_in_batch >= _BATCH_ROWS or len(out) >= _BATCH_FRAMES:
                    return out
                first = self._rows_out - start
                cut = first + self._source.chunk
                if cuts is not None:
                    place = int(cuts.searchsorted(cut))
                    cut = int(cuts[place]) if place < len(cuts) else len(rows)
                part = rows[first:cut]
                out.append((instrument, Frame(instrument, stream, part, NEVER)))
                self._rows_out += len(part)
                rows_in_batch += len(part)
            start = end
        out += self._tail(block)
        self._block, self._rows_out = None, 0
        self._done = block.horizon is None
        return out

    def _tail(self, block: Merged) -> list[tuple[str, Frame]]:
        """The frames without rows after a block: ENDs, and heartbeats where the minute has risen."""
        out: list[tuple[str, Frame]] = []
        for source, last_ns in block.ended:
            instrument, stream = source
            self._watermarks[source] = last_ns + 1
            end = Frame(instrument, stream, FEEDS[stream].empty, last_ns + 1, control(END, last_ns))
            out.append((instrument, end))
        if block.horizon is None:
            watermark = self._merge.newest_ns + 1
        else:
            watermark = (block.horizon - self._source.lateness_ns) // MINUTE_NS * MINUTE_NS
        for source in self._merge.sources:
            if watermark > self._watermarks.get(source, NEVER):
                self._watermarks[source] = watermark
                instrument, stream = source
                out.append((instrument, Frame(instrument, stream, FEEDS[stream].empty, watermark)))
        return out
