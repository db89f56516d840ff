"""What is on a tape: how many rows of each instrument and stream, and of what times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from connectors.storage import storage_errors
from connectors.tape.columns import columns_of
from connectors.tape.recording import Part, Recording
from connectors.tape.roll import rows_table
from connectors.tape.rolled import RENAMED
from connectors.tape.segment import Segment
from events.errors import InputError


class Rows(NamedTuple):
    """Rows of an instrument and stream: how many, and the times of the first and the last (ns since 1970)."""

    n: int
    first_ns: int
    last_ns: int


def contents(recording: Recording) -> dict[tuple[str, str], Rows]:
    """The rows of a tape by instrument and stream.

    Raises:
        InputError: a segment is damaged.
    """
    found: dict[tuple[str, str], Rows] = {}
    for part in recording.parts:
        for stream, table in _tables(part, recording.end):
            time = _time_of(stream)
            by = table.group_by("instrument").aggregate([(time, "count"), (time, "min"), (time, "max")])
            names = ("instrument", f"{time}_count", f"{time}_min", f"{time}_max")
            for instrument, *rows in zip(*(by.column(name).to_pylist() for name in names)):
                before = found.get((instrument, stream), Rows(0, rows[1], rows[2]))
                found[instrument, stream] = Rows(
                    before.n + rows[0], min(before.first_ns, rows[1]), max(before.last_ns, rows[2])
                )
    return dict(sorted(found.items()))


def _time_of(stream: str) -> str:
    return RENAMED.get((stream, "available_at"), "available_at")


def _tables(part: Part, end: int) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each stream of a segment, up to the end of the tape, with the column `instrument`."""
    if isinstance(part, Segment):
        body = part.body_bytes()[: end - part.first]
        columns, whole = columns_of(body, part.first)
        if whole != min(part.end, end):
            raise part.damage(whole)
        yield from ((name, rows_table(columns, name)) for name, rows in columns.rows.items() if len(rows))
        return
    for path in part.files[1:]:
        stream = path.name.split(".", 1)[1].removesuffix(".parquet")
        with storage_errors(path, "read"):
            try:
                yield stream, pq.read_table(path, columns=["instrument", _time_of(stream)])
            except (pa.ArrowException, LookupError) as error:
                raise InputError(f"{path} is damaged ({error}). Bring it back from a copy.") from error
