"""How far a stream of an instrument has come: what the flow has handed over, and what its topic has of it already."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from connectors.kafka.tail import Written
from events.frames import CONTROL, NO_CONTROL, Array, Frame
from events.schema import LEAVE, NEVER

StandingState = tuple[str, str, int, int, int, tuple[str, ...], tuple[bytes, ...]]
"""Instrument, stream, and the attributes of `Standing` in their order."""

GONE: Final = object()
"""In place of the newest row, of an instrument that has left."""


@dataclass(slots=True)
class Standing:
    """Where a stream of an instrument stands. A resumed flow hands over rows again that were written behind its snapshot: they are
    left out here, by their numbers, and so is what else was said of them.

    Attributes:
        handed: rows that the flow has handed over since the stream began.
        written: rows that its topic has, or that are on their way there; more than `handed` until the flow has caught up.
        watermark: the newest that was written since the instrument joined.
        ids: of records that were written and will be handed over again.
        control: control rows, as bytes, that were written and will be handed over again.
        newest: the newest row or record for the topic of the newest, None if that has it; GONE of one that has left.
    """

    handed: int = 0
    written: int = 0
    watermark: int = NEVER
    ids: list[str] = field(default_factory=list)
    control: list[bytes] = field(default_factory=list)
    newest: Any = None

    @property
    def caught_up(self) -> bool:
        """Whether all that was written has been handed over, so that the newest row is the newest there is."""
        return self.handed >= self.written and not self.ids

    def found(self, written: Written) -> bool:
        """Take what was written behind the snapshot; whether it follows on what was written before."""
        if written.first is not None and written.first > self.written:
            return False
        self.written = max(self.written, written.rows)
        left = any(map(_leaves, written.control))
        self.watermark = written.watermark if left else max(self.watermark, written.watermark)
        self.ids, self.control = [*self.ids, *written.ids], [*self.control, *written.control]
        return True

    def rest(self, frame: Frame) -> tuple[int, Frame] | None:
        """What of a frame is still to be written, and how many rows of the stream stand before it; None if nothing is.

        >>> from events.rows import GAP_ROW
        >>> standing = Standing(handed=0, written=2, watermark=9)
        >>> first, frame = standing.rest(Frame("x:A/B", "gaps", np.zeros(3, GAP_ROW), 5))
        >>> first, len(frame.rows), frame.watermark == NEVER
        (2, 1, True)
        >>> standing.rest(Frame("x:A/B", "gaps", np.zeros(0, GAP_ROW), 9)) is None
        True
        """
        rows, first = frame.rows, self.handed
        self.handed += len(rows)
        skip = min(len(rows), max(0, self.written - first))
        if len(rows):
            self.newest = rows[-1:]
            rows = rows[skip:]
        control, known = frame.control, any(map(_leaves, self.control))
        leaves = len(control) > 0 and LEAVE in control["kind"]
        if leaves:
            self.newest = GONE
        if len(control):
            control = self._unsaid(control)
        if known:  # that the instrument leaves was written, and so was all before that
            return None
        if not len(rows) and not len(control) and frame.watermark <= self.watermark:
            return None
        self.written = max(self.written, self.handed)
        watermark = frame.watermark if frame.watermark > self.watermark else NEVER  # what is known needs no header
        self.watermark = max(self.watermark, watermark)
        rest = frame._replace(rows=rows, control=control, watermark=watermark)
        if leaves:
            self.watermark = NEVER  # should it join again, it begins anew
        return first + skip, rest

    def rest_of_records(self, frame: Frame) -> Frame | None:
        """The records of a frame that are still to be written, as a frame; None if none is."""
        records = frame.rows
        if len(frame.control) and LEAVE in frame.control["kind"]:
            self.newest = GONE
        if not len(records):  # an empty array, of a heartbeat
            return None
        self.newest = records[-1]
        if self.ids:
            records = tuple(record for record in records if not self._was_written(record.record_id))
        return frame._replace(rows=records) if records else None

    def state(self, instrument: str, stream: str) -> StandingState:
        """As immutable data."""
        return instrument, stream, self.handed, self.written, self.watermark, tuple(self.ids), tuple(self.control)

    def _unsaid(self, control: Array) -> Array:
        """The control rows that were not written behind the snapshot."""
        if not self.control:
            return control
        kept = []
        for row in control:
            if row.tobytes() in self.control:
                self.control.remove(row.tobytes())
            else:
                kept.append(row)
        return np.array(kept, CONTROL) if kept else NO_CONTROL

    def _was_written(self, record_id: str) -> bool:
        if record_id not in self.ids:
            return False
        self.ids.remove(record_id)
        return True


def _leaves(row: bytes) -> bool:
    """Whether a control row says that the instrument leaves."""
    return bool(np.frombuffer(row, CONTROL)["kind"][0] == LEAVE)
