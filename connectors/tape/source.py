"""A tape as a Bytewax source of one partition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event
from typing import Final

import numpy as np
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.progress import Progress
from connectors.tape.batches import batches, opened
from connectors.tape.recording import Recording
from connectors.tape.records import Items
from events.errors import InputError
from events.feeds import BOOKS, PRELOAD
from events.frames import NO_CONTROL, Frame
from events.schema import NEVER

TapeState = tuple[str, int, tuple[str, ...]]
"""(id of the tape, offset after the last frame handed out, which instruments have begun of a tape that was cut short in front)."""

PARTITION: Final = "tape"


class TapeSource(FixedPartitionedSource[tuple[str, Frame], TapeState]):
    """The frames of a tape in the order in which they were handed out, to its end; it says END only where the tape does.

    Args:
        recording: the tape.
        chunk: how many rows a frame holds at most; larger ones are cut, which changes no result.
        on_error: is called with an InputError met during the run, which then ends; None: it is raised.

    Attributes:
        progress: how far the run has come.
        stopping: set it to end the source, so that the run can go on later as if it had never stopped.
    """

    def __init__(self, recording: Recording, chunk: int, on_error: Callable[[InputError], None] | None = None) -> None:
        if chunk < 1:
            raise ValueError(f"chunk is {chunk}: a frame holds one row or more")
        self.recording, self.chunk, self.on_error = recording, chunk, on_error
        self.progress = Progress(recording.total_bytes)
        self.stopping = Event()

    def list_parts(self) -> list[str]:
        """The one partition."""
        return [PARTITION]

    def build_part(self, step_id: str, for_part: str, resume_state: TapeState | None) -> TapePartition:
        """The partition, from the beginning or from where a run stopped, maybe with another `chunk`.

        Raises:
            InputError: the state is of another tape.
        """
        tape = self.recording.header.tape
        if resume_state is not None and resume_state[0] != tape:
            raise InputError(
                f"The run was stopped while it read another tape than {self.recording.directory}, so it cannot go on with this "
                "one. Name that tape, or start a new run."
            )
        return TapePartition(self, resume_state or (tape, self.recording.first, ()))


class TapePartition(StatefulSourcePartition[tuple[str, Frame], TapeState]):
    """Hands out whole records; its state is the offset after the last one."""

    def __init__(self, source: TapeSource, state: TapeState) -> None:
        self._source, (_, self._offset, begun) = source, state
        self._batches, self._begun = batches(source.recording.read(self._offset), source.chunk), set(begun)

    def next_batch(self) -> Items:
        """The frames of some records, up to about 100,000 rows.

        Raises:
            StopIteration: all is handed out, the run is to stop, or an error was reported.
            InputError: the tape is damaged, and nobody is told of errors otherwise.
        """
        if self._source.stopping.is_set():
            raise StopIteration
        try:
            self._offset, items = next(self._batches)
        except InputError as error:
            if self._source.on_error is None:
                raise
            self._source.on_error(error)
            raise StopIteration from None
        recording = self._source.recording
        if recording.first > 0:
            items = opened(items, self._begun, PRELOAD in recording.feeds, recording.lacking)
        out = [(instrument, part) for instrument, frame in items for part in cut(frame, self._source.chunk)]
        self._note(out)
        return out

    def snapshot(self) -> TapeState:
        """The position after the last frame handed out."""
        return self._source.recording.header.tape, self._offset, tuple(sorted(self._begun))

    def _note(self, items: Items) -> None:
        progress, recording = self._source.progress, self._source.recording
        progress.bytes_read = self._offset - recording.first
        newest = max((int(frame.rows["available_at"][-1]) for _, frame in items if len(frame.rows)), default=NEVER)
        progress.newest_ns = max(progress.newest_ns, newest)


def cut(frame: Frame, chunk: int) -> Iterator[Frame]:
    """The frame as frames of about `chunk` rows at most; what it promises and says comes with the last of them.

    >>> from events.feeds import FEEDS
    >>> rows = FEEDS["trades"].empty.copy()
    >>> rows.resize(5)
    >>> [(len(part.rows), part.watermark == 7) for part in cut(Frame("x:A/B", "trades", rows, 7), 2)]
    [(2, False), (2, False), (1, True)]
    """
    rows, first = frame.rows, 0
    for end in _ends(frame, chunk):
        yield frame._replace(rows=rows[first:end], watermark=NEVER, control=NO_CONTROL)
        first = end
    yield frame if first == 0 else frame._replace(rows=rows[first:])


def _ends(frame: Frame, chunk: int) -> list[int]:
    """Where to cut a frame; an update of a book stays in one piece."""
    places = np.arange(chunk, len(frame.rows), chunk)
    if frame.name == BOOKS and len(places):
        ends = np.flatnonzero(frame.rows["last"]) + 1
        places = np.unique(ends[np.searchsorted(ends, places)])
        places = places[places < len(frame.rows)]
    return [int(end) for end in places]
