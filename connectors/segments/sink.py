"""The segment sink: append-only Arrow files, one per stream, cut back to the last snapshot on resume."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from bytewax.outputs import FixedPartitionedSink

from connectors.partition import BufferedPartition
from connectors.pending import BUFFER_BYTES, OrdinalState
from connectors.segments.reading import check_segment
from connectors.storage import storage_errors, sync_directory
from events.codec import arrow_schema, to_arrow
from events.errors import RunError
from events.frames import Frame, concat
from events.identity import canonical_json
from events.records import DeadLetter
from events.streams import Columns, Stream

SegmentState = tuple[tuple[tuple[str, int], ...], OrdinalState]
"""((file name, bytes), ...) and the memory of the ordinals."""

BATCH_ROWS: Final = 8_192
DEAD_LETTERS: Final = DeadLetter.stream


def segments_of(directory: Path) -> Path:
    """Where the segments of a run directory are."""
    return directory / "segments"


def segment_name(stream: str) -> str:
    """The file of a stream's segment: an Arrow IPC stream, or JSON lines for dead letters.

    >>> segment_name("bars.1m"), segment_name("dead_letters")
    ('bars.1m.arrows', 'dead_letters.jsonl')
    """
    return f"{stream}.jsonl" if stream == DEAD_LETTERS else f"{stream}.arrows"


class _Segment:
    """An open file that only grows; `sync` makes it durable and tells its length in bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab")
        self._dirty = False

    def write(self, message: Any) -> None:
        self._dirty = True
        self._file.write(message)

    def sync(self) -> int:
        if self._dirty:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._dirty = False
        return self._file.tell()

    def close(self) -> None:
        with suppress(OSError):  # what is not synced is not promised; a failure was told when it happened
            self._file.close()


class SegmentPartition(BufferedPartition[SegmentState]):
    """Writes the rows of frames as record batches, each sorted by key."""

    def __init__(
        self,
        directory: Path,
        streams: Mapping[str, Stream],
        analysis_hash: str,
        batch_rows: int,
        state: SegmentState | None,
    ) -> None:
        lengths, ordinals = state if state is not None else ((), ())
        super().__init__(streams, ordinals)
        self._directory, self._streams = directory, streams
        self._schemas = {name: arrow_schema(stream, analysis_hash) for name, stream in streams.items()}
        self._batch_rows = batch_rows
        self._segments: dict[str, _Segment] = {}
        self._lengths = dict(lengths)
        with storage_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            _cut_back(directory, self._lengths)
        for name, schema in self._schemas.items():
            if name != DEAD_LETTERS and segment_name(name) in self._lengths:
                check_segment(directory / segment_name(name), schema)

    def write_batch(self, values: list[Frame]) -> None:
        """Take the rows of frames; write those of a stream and key when they fill a batch."""
        with self._guard():
            for frame in values:
                if self._pending.add(frame) >= self._batch_rows:
                    rows = self._pending.take(frame.name, frame.instrument)
                    self._write(self._streams[frame.name], [(frame.instrument, rows)])
            if self._pending.bytes > BUFFER_BYTES:
                self._write_all()

    def snapshot(self) -> SegmentState:
        """Write what waits and make it durable; the lengths of all files, and the memory of the ordinals."""
        with self._guard():
            self._write_all()
            new = self._segments.keys() - self._lengths.keys()
            for name, segment in self._segments.items():
                self._lengths[name] = segment.sync()
            if new:
                sync_directory(self._directory)
        return tuple(sorted(self._lengths.items())), self._ordinals.snapshot()

    def _sentences(self) -> AbstractContextManager[None]:
        return storage_errors(self._directory)

    def _finish(self) -> None:
        self._write_all()
        for segment in self._segments.values():
            segment.sync()

    def _release(self) -> None:
        for segment in self._segments.values():
            segment.close()

    def _write_all(self) -> None:
        for stream, waiting in self._pending.take_all():
            self._write(stream, waiting)

    def _write(self, stream: Stream, waiting: list[tuple[str, Any]]) -> None:
        segment = self._segment(stream.name)
        ordinals = np.concatenate([self._ordinals.of(stream, key, rows) for key, rows in waiting])
        if stream.name == DEAD_LETTERS:
            for record in chain.from_iterable(rows for _, rows in waiting):
                segment.write((canonical_json(record.model_dump() | {"id": record.record_id}) + "\n").encode())
            return
        # One batch for many keys: live, a minute's rows of 1,000 instruments cost one message, not a
        # thousand.
        keys = [key for key, rows in waiting for _ in range(len(rows))]
        parts = [rows for _, rows in waiting]
        rows = concat(parts) if isinstance(stream, Columns) else tuple(chain.from_iterable(parts))
        for first in range(0, len(rows), self._batch_rows):
            piece = slice(first, first + self._batch_rows)
            batch = to_arrow(stream, self._schemas[stream.name], keys[piece], rows[piece], ordinals[piece])
            segment.write(batch.serialize())

    def _segment(self, stream: str) -> _Segment:
        name = segment_name(stream)
        if name not in self._segments:
            self._segments[name] = _Segment(self._directory / name)
            if name not in self._lengths and stream != DEAD_LETTERS:
                self._segments[name].write(self._schemas[stream].serialize())
        return self._segments[name]


class SegmentSink(FixedPartitionedSink[Frame, SegmentState]):
    """Keeps all rows of these streams in `directory/segments`; nothing is lost or twice after a kill.

    Takes items `(instrument, Frame)`. Without a recovery state it starts empty and removes the segments it
    finds. Each snapshot (once an epoch, and at the end of a bounded run) makes the rows before it durable;
    `roll` makes Parquet of them.

    Args:
        directory: the run directory.
        streams: what the streams are; frames of other streams are ignored.
        analysis_hash: what the rows were computed with, 16 hex digits; stands in every file.
        batch_rows: the most rows of a record batch, and those of one stream and key that wait for a snapshot.

    Raises:
        RunError: while running, when the directory cannot be written, or does not hold what the recovery
            state says.
    """

    def __init__(
        self,
        directory: str | Path,
        streams: Mapping[str, Stream],
        analysis_hash: str = "",
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        self._directory, self._streams = Path(directory), dict(streams)
        self._analysis_hash, self._batch_rows = analysis_hash, batch_rows

    def list_parts(self) -> list[str]:
        """One partition: the files of a stream have one writer."""
        return ["segments"]

    def part_fn(self, item_key: str) -> int:
        """Every key goes to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: SegmentState | None) -> SegmentPartition:
        """The writer, with the files cut back to the resume state."""
        return SegmentPartition(
            segments_of(self._directory), self._streams, self._analysis_hash, self._batch_rows, resume_state
        )


def _cut_back(directory: Path, lengths: Mapping[str, int]) -> None:
    """Make the segments in a directory those of a snapshot: cut what was written later, remove what was begun later."""
    for name, length in lengths.items():
        path = directory / name
        held = path.stat().st_size if path.exists() else 0
        if held < length:
            raise RunError(
                f"{path} holds {held} bytes, but the recovery store says {length}: it was removed, cut or replaced since the"
                " run stopped. Bring it back, or start over with a new recovery store and run directory."
            )
        if held > length:
            os.truncate(path, length)
    for path in [*directory.glob("*.arrows"), *directory.glob("*.jsonl")]:
        if path.name not in lengths:
            path.unlink()
