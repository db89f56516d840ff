"""Where rows enter the graph: validated, de-duplicated, with an exact watermark; what is refused becomes a dead letter."""

from __future__ import annotations

from typing import Any

import numpy as np

from events.faults import faults
from events.feeds import BOOKS, CHECKS, FEEDS, KLINE_NS, KLINES, LIQUIDATIONS, PRELOAD, RATES, TRADES, UNIVERSE
from events.frames import NO_ROWS, Array, Frame, concat, control
from events.identity import is_among
from events.records import DeadLetter, IntakeCounts
from events.schema import END, HOLE, ID_HOLE, LEAVE, NEVER
from events.validation import COUNTED, REASONS, klines_at_fault
from operators.admission import HOLE_SPAN, admit_funding, admit_preload, admit_trades, new_state, remember
from operators.admission_beside import admit_book, admit_events, admit_samples

STEP = "intake"
_TABLE = 2048  # ids, for a start
_NO_HOLES = np.empty(0, HOLE_SPAN)


class _Stream:
    """One stream of one instrument: what it has seen, and what it is about to hand on."""

    def __init__(self, name: str, lateness_ns: int, sequenced: bool) -> None:
        self.name, self.lateness_ns, self.sequenced = name, lateness_ns, sequenced
        self.state = new_state()
        self.ids, self.times = np.full(_TABLE, NEVER), np.full(_TABLE, NEVER)
        self.received = self.accepted = 0
        self.rejected: dict[str, int] = {}
        self.unjudged: list[Array] = []
        self.rows: list[Array] = []
        self.in_order = True
        self.control: list[Array] = []
        self.handed = NEVER
        self.left = False

    def judge(self, rows: Array) -> tuple[Array, int, Array]:
        """(reason per row, rows refused, holes in the ids)."""
        reasons = np.zeros(len(rows), np.uint8)
        self.state["in_order"] = self.name == TRADES
        if self.name == RATES:
            return reasons, admit_funding(rows, self.lateness_ns, self.state, reasons), _NO_HOLES
        if self.name == PRELOAD:
            return reasons, admit_preload(rows, self.state, reasons), _NO_HOLES
        if self.name in (KLINES, CHECKS):
            return reasons, self._judge_klines(rows, reasons), _NO_HOLES
        if self.name != TRADES:
            reasons = faults(self.name, rows)
            return reasons, self._judge_beside(rows, reasons), _NO_HOLES
        holes, found, refused, at = np.empty(len(rows) if self.sequenced else 0, HOLE_SPAN), 0, 0, 0
        while at < len(rows):
            at, n, bad = admit_trades(
                rows,
                at,
                self.lateness_ns,
                self.sequenced,
                self.state,
                self.ids,
                self.times,
                reasons,
                holes[found:],
            )
            found, refused = found + n, refused + bad
            if at < len(rows):
                self._memorise(*self._live())
        return reasons, refused, holes[:found]

    def _judge_beside(self, rows: Array, reasons: Array) -> int:
        if self.name == BOOKS:
            return admit_book(rows, self.lateness_ns, self.state, reasons)
        at_ns = np.ascontiguousarray(rows["available_at"])
        if self.name != LIQUIDATIONS:
            keys = np.ascontiguousarray(rows["ts_event" if "ts_event" in (rows.dtype.names or ()) else "seq"])
            return admit_samples(at_ns, keys, self.lateness_ns, self.state, reasons)
        return self._judge_events(at_ns, np.ascontiguousarray(rows["liq_id"]), reasons)

    def _judge_klines(self, rows: Array, reasons: Array) -> int:
        klines_at_fault(rows, KLINE_NS, reasons)
        at_ns, opens = np.ascontiguousarray(rows["available_at"]), np.ascontiguousarray(rows["ts_open"])
        return self._judge_events(at_ns, opens, reasons)

    def _judge_events(self, at_ns: Array, keys: Array, reasons: Array) -> int:
        """Of rows that repeat others of the same key, in any order."""
        refused = at = 0
        while at < len(at_ns):
            at, bad = admit_events(at_ns, at, keys, self.lateness_ns, self.state, self.ids, self.times, reasons)
            refused += bad
            if at < len(at_ns):
                self._memorise(*self._live())
        return refused

    def _memorise(self, ids: Array, times: Array) -> None:
        """A table with these ids and much room."""
        size = max(_TABLE, 1 << (8 * len(ids)).bit_length())
        self.ids, self.times = np.full(size, NEVER), np.full(size, NEVER)
        self.state["used"] = remember(ids, times, self.ids, self.times)

    def _live(self) -> tuple[Array, Array]:
        """The ids that can still be repeated, in an order of their own."""
        live = (self.ids != NEVER) & (self.times >= self.state["watermark"][0])
        order = np.lexsort((self.ids[live], self.times[live]))
        return self.ids[live][order], self.times[live][order]

    def snapshot(self) -> Any:
        counts = self.received, self.accepted, tuple(sorted(self.rejected.items()))
        return self.state.tobytes(), self._live(), counts, self.handed, self.left

    def restore(self, snapshot: Any) -> None:
        state, (ids, times), (self.received, self.accepted, rejected), self.handed, self.left = snapshot
        self.state = np.frombuffer(state, self.state.dtype).copy()
        self.rejected = dict(rejected)
        self._memorise(ids, times)


class Intake:
    """A stage. In: frames as sources send them. Out: the same streams, valid and with exact watermarks; "gaps", "dead_letters",
    and "counts" when a stream ends.

    Args:
        lateness_ns: by how much rows may be out of order, per stream; 0 for one not named.
        sequenced: the streams whose ids are consecutive integers, by instrument; a jump in them is a hole, stated as such.
        punctual: those whose trades come in order, by instrument: their lateness is 0, whatever that of the stream is.
    """

    def __init__(
        self,
        lateness_ns: dict[str, int] | None = None,
        sequenced: frozenset[str] = frozenset(),
        punctual: frozenset[str] = frozenset(),
    ) -> None:
        self.lateness_ns, self.sequenced, self.punctual = lateness_ns or {}, sequenced, punctual
        self.streams: dict[str, _Stream] = {}
        self.instrument = ""
        self.joined = NEVER  # when it joined the universe, where it came after the run began: dead letters are numbered from there
        self.dead: list[DeadLetter] = []
        self.ended: list[IntakeCounts] = []

    def push(self, frame: Frame) -> None:
        """Take a frame in. Its rows are judged at the latest by `advance`, so many small frames cost one call."""
        self.instrument = frame.instrument
        stream = self._stream(frame.name)
        if frame.name == UNIVERSE and self.joined == NEVER and len(frame.rows):
            self.joined = int(frame.rows["available_at"][0])
        if len(frame.rows):
            stream.unjudged.append(frame.rows)
        if frame.watermark == NEVER and not len(frame.control):
            return
        self._judge(stream)
        if frame.watermark > stream.state["watermark"][0]:
            stream.state["watermark"] = frame.watermark
        if len(frame.control):
            stream.control.append(frame.control)
            stream.left |= LEAVE in frame.control["kind"]
            for ts in frame.control["available_at"][np.isin(frame.control["kind"], (END, LEAVE))].tolist():
                self.ended.append(self._count(stream, ts))

    def advance(self) -> list[Frame]:
        """What was accepted since the last time."""
        out = []
        for stream in self.streams.values():
            self._judge(stream)
            watermark = int(stream.state["watermark"][0])
            if stream.rows or stream.control or watermark > stream.handed:
                rows = concat(stream.rows) if stream.rows else NO_ROWS
                frame = Frame(self.instrument, stream.name, rows, watermark, in_order=stream.in_order)
                out.append(frame._replace(control=concat(stream.control)) if stream.control else frame)
                stream.rows, stream.control, stream.handed, stream.in_order = [], [], watermark, True
        if self.dead:
            out.append(Frame(self.instrument, "dead_letters", tuple(self.dead), NEVER))
        if self.ended:
            out.append(Frame(self.instrument, "counts", tuple(self.ended), NEVER))
        self.dead, self.ended = [], []
        return out

    @property
    def left(self) -> bool:
        """Whether the instrument has left the universe: all of its streams said so."""
        return all(stream.left for stream in self.streams.values())

    def _judge(self, stream: _Stream) -> None:
        """Judge the rows that wait, one after the other."""
        if not stream.unjudged:
            return
        rows, stream.unjudged = concat(stream.unjudged), []
        reasons, refused, holes = stream.judge(rows)
        if refused:
            self._refuse(stream, rows, reasons)
        kept = rows[reasons == 0] if refused else rows
        if len(kept):
            stream.in_order &= bool(stream.state["in_order"][0]) and not stream.rows
            stream.rows.append(kept)
        for since, until, id_from, id_to in holes.tolist():
            stream.control.append(control(HOLE, since, since, until, ID_HOLE, id_from, id_to))
        stream.received += len(rows)
        stream.accepted += len(kept)

    def _stream(self, name: str) -> _Stream:
        if name not in self.streams:
            if name not in FEEDS:
                raise ValueError(f"there are no rules of admission for a stream {name!r}")
            sequenced = name == TRADES and is_among(self.instrument, self.sequenced)
            punctual = name == TRADES and is_among(self.instrument, self.punctual)
            self.streams[name] = _Stream(name, 0 if punctual else self.lateness_ns.get(name, 0), sequenced)
        return self.streams[name]

    def _refuse(self, stream: _Stream, rows: Array, reasons: Array) -> None:
        names = rows.dtype.names or ()
        for i in np.flatnonzero(reasons).tolist():
            reason = REASONS[reasons[i]]
            stream.rejected[reason] = stream.rejected.get(reason, 0) + 1
            if reasons[i] in COUNTED:
                continue
            raw = dict(zip(names, rows[i].tolist()))
            at = raw["available_at"]
            said = f"{stream.name} row {stream.received + i} of {self.instrument}: {reason.lower().replace('_', ' ')}"
            self.dead.append(
                DeadLetter(
                    key=self.instrument,
                    ts=at,
                    source=f"{self.instrument}/{stream.name}" + (f"@{self.joined}" if self.joined != NEVER else ""),
                    offset=stream.received + i,
                    ts_event=raw.get("ts_event", at),
                    ts_recv=raw["ts_recv"],
                    step=STEP,
                    reason=reason,
                    detail=said,
                    raw=raw,
                )
            )

    def _count(self, stream: _Stream, ts: int) -> IntakeCounts:
        return IntakeCounts(
            key=self.instrument,
            ts=ts,
            name=stream.name,
            received=stream.received,
            accepted=stream.accepted,
            reordered=int(stream.state["reordered"][0]),
            rejected=dict(sorted(stream.rejected.items())),
        )

    def snapshot(self) -> Any:
        """Watermarks, ids that may be repeated, and counts, per stream."""
        return self.instrument, self.joined, {name: stream.snapshot() for name, stream in self.streams.items()}

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.instrument, self.joined, streams = snapshot
        for name, state in streams.items():
            self._stream(name).restore(state)
