"""The first streams of a finished run as a Bytewax source, so that another run need not compute them again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.segments.parquet import read_keys, read_span, read_spans, read_stream
from events.errors import RunError
from events.frames import NO_ROWS, Frame
from events.identity import id_of
from events.records import DeadLetter
from events.schema import NEVER
from events.streams import Columns, Records, Stream
from events.times import DAY_NS

StoredState = tuple[str, int]
"""(what is handed out, how many parts of it were)."""

PARTITION: Final = "stored"
SPAN_NS: Final = 16 * DAY_NS
"""Rows of one instrument are read and handed out by so much time at once."""


class _Part(NamedTuple):
    """What is handed out at once: rows of one span up to `boundary`, or at the end what belongs to no span (boundary NEVER)."""

    order: int
    key: str
    boundary: int


class StoredSource(FixedPartitionedSource[tuple[str, Frame], StoredState]):
    """Rows of a run directory as frames, by time over all instruments; then, by instrument, what is no row of a bar.

    Args:
        directory: of the finished run.
        timed: the streams whose rows have a `ts_close`.
        promise: up to where a stream of `timed` is complete, once all base bars up to a boundary are out.
        others: the streams that nobody waits for.
        steps: the steps whose dead letters are handed out.
    """

    def __init__(
        self,
        directory: Path,
        timed: Mapping[str, Columns],
        promise: Callable[[str, int], int],
        others: Mapping[str, Stream],
        steps: Collection[str],
    ) -> None:
        self.directory, self.timed, self.promise = directory, dict(timed), promise
        self.others, self.steps = dict(others), frozenset(steps)

    def list_parts(self) -> list[str]:
        """The one partition."""
        return [PARTITION]

    def build_part(self, step_id: str, for_part: str, resume_state: StoredState | None) -> StoredPartition:
        """The partition, from the beginning or from where a run stopped.

        Raises:
            RunError: the state is of other streams, or a file is missing or of other settings.
        """
        return StoredPartition(self, resume_state)


class StoredPartition(StatefulSourcePartition[tuple[str, Frame], StoredState]):
    """Hands out the parts one after the other; its state is how many there were."""

    def __init__(self, source: StoredSource, state: StoredState | None) -> None:
        self._source = source
        spans = read_spans(source.directory, source.timed.values(), SPAN_NS)
        # one that has ended is known as far as the others, as in the run itself
        newest: dict[int, int] = {}
        for ends in spans.values():
            for span, close in ends.items():
                newest[span] = max(close, newest.get(span, NEVER))
        timed = [_Part(span, key, boundary) for key in spans for span, boundary in newest.items()]
        keys = {key for stream in source.others.values() for key in read_keys(source.directory, stream)}
        self._parts = [*sorted(timed), *(_Part(0, key, NEVER) for key in sorted(keys))]
        self._identity = id_of("stored", *sorted(source.timed), *sorted(source.others), len(self._parts))
        if state is not None and state[0] != self._identity:
            raise RunError("The run was stopped while it went through other bars: start it over with --again.")
        self._at = 0 if state is None else state[1]

    def next_batch(self) -> list[tuple[str, Frame]]:
        """The frames of one part.

        Raises:
            StopIteration: all is handed out.
            RunError: a file cannot be read.
        """
        if self._at == len(self._parts):
            raise StopIteration
        part = self._parts[self._at]
        frames = self._others(part.key) if part.boundary == NEVER else self._rows(part)
        self._at += 1
        return [(part.key, frame) for frame in frames]

    def snapshot(self) -> StoredState:
        """The position after the last part handed out."""
        return self._identity, self._at

    def _rows(self, part: _Part) -> list[Frame]:
        source, frames = self._source, []
        after, until = part.order * SPAN_NS, (part.order + 1) * SPAN_NS
        for name, stream in source.timed.items():
            rows = read_span(source.directory, stream, part.key, after, until)
            promise = source.promise(name, part.boundary)
            frames.append(Frame(part.key, name, rows if len(rows) else NO_ROWS, promise, in_order=True))
        return frames

    def _others(self, key: str) -> list[Frame]:
        source, frames = self._source, []
        for name, stream in source.others.items():
            rows = read_stream(source.directory, stream, key)
            if isinstance(stream, Records):
                rows = tuple(r for r in rows if not isinstance(r, DeadLetter) or r.step in source.steps)
            frames.append(Frame(key, name, rows, NEVER))
        return frames
