"""Recorded Binance websocket messages beside trades to tables: books with their snapshots, best quotes, mark prices, funding,
liquidations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec
import numpy as np
import polars as pl

from connectors.files.binance_capture import event_ns
from connectors.files.binance_stream import Names
from connectors.files.decode import Piece, line_of
from connectors.files.json_lines import bad_line
from events.feeds import BOOKS, LIQUIDATIONS, RATES, TICKERS, TOPS
from events.schema import BOOK_DELTA, BOOK_SNAPSHOT
from events.times import HOUR_NS

Levels = list[tuple[float, float]]
_INTERVAL_H: Final = 8.0


class _Depth(msgspec.Struct, gc=False):
    s: str
    E: int
    U: int
    u: int
    b: Levels
    a: Levels
    pu: int | None = None  # only USD-M messages have it


class _Snapshot(msgspec.Struct, gc=False):
    lastUpdateId: int
    bids: Levels
    asks: Levels


class _Quote(msgspec.Struct, gc=False):
    s: str
    u: int
    b: float
    B: float
    a: float
    A: float
    E: int | None = None  # only USD-M messages have it


class _Mark(msgspec.Struct, gc=False):
    s: str
    E: int
    p: float
    i: float | None = None
    r: str = ""  # empty of a contract that is delivered
    T: int = 0


class _Order(msgspec.Struct, gc=False):
    s: str
    S: str
    ap: float
    z: float


class _Forced(msgspec.Struct, gc=False):
    E: int
    o: _Order


class _Reader(Protocol):
    """Takes lines of one kind, and gives their rows as columns by role."""

    marks: re.Pattern[bytes]
    sizes: list[int]
    """Rows of each line that was taken."""

    def take(self, message: bytes, local_ns: int | None) -> None: ...

    def columns(self) -> dict[str, Any]: ...


def _decoder(kind: Any) -> Callable[[bytes], Any]:
    """Decodes a message of this kind, alone or wrapped as `{"stream": ..., "data": ...}`."""
    wrapped: Any = msgspec.json.Decoder(msgspec.defstruct("Wrapped", [("data", kind)], gc=False), strict=False)
    plain = msgspec.json.Decoder(kind, strict=False)
    return lambda message: wrapped.decode(message).data if b'"data"' in message else plain.decode(message)


class _Books:
    """A row per level; a snapshot stands at the time of the update before it, or of the first one behind it where there is none."""

    marks = re.compile(rb'"depthUpdate"|"lastUpdateId"')

    def __init__(self, names: Names, _clock_ns: int) -> None:
        self._names, self._newest_ns, self._symbol = names, 0, ""
        self._symbols: set[tuple[str, bool]] = set()
        self._decode, self._snapshot = _decoder(_Depth), msgspec.json.Decoder(_Snapshot, strict=False)
        self._early: list[tuple[_Snapshot, int | None]] = []
        self._clear()

    def _clear(self) -> None:
        self.sizes: list[int] = []
        self._heads: list[tuple[int, int | None, int | None, int, int | None, int]] = []
        self._sides: list[int] = []
        self._levels: Levels = []
        self._instruments: list[str] = []

    def take(self, message: bytes, local_ns: int | None) -> None:
        if b'"depthUpdate"' not in message:
            if b'"stream"' not in message:  # else a partial book, which says what the updates say
                self._take_snapshot(self._snapshot.decode(message), local_ns)
            return
        update = self._decode(message)
        of = update.s, update.pu is not None
        self._symbols.add(of)
        self._newest_ns, self._symbol = max(self._newest_ns, event_ns(update.E)), self._names.of(*of)
        for snapshot, at_ns in self._early:
            self._take_snapshot(snapshot, at_ns)
        self._early = []
        head = event_ns(update.E), local_ns, update.U, update.u, update.pu, BOOK_DELTA
        self._add(head, update.b, update.a)

    def _take_snapshot(self, snapshot: _Snapshot, local_ns: int | None) -> None:
        if len(self._symbols) > 1:
            raise ValueError(
                "a snapshot that does not say which of the several symbols it is of; split the file by symbol"
            )
        if not self._symbol:
            self._early.append((snapshot, local_ns))
            return
        head = self._newest_ns, local_ns, None, snapshot.lastUpdateId, None, BOOK_SNAPSHOT
        self._add(head, snapshot.bids, snapshot.asks)

    def _add(self, head: Any, bids: Levels, asks: Levels) -> None:
        none = not bids and not asks
        self._levels += bids
        self._levels += asks or ([(0.0, 0.0)] if none else [])
        self._sides += (len(bids), len(asks), int(none))
        self.sizes.append(len(bids) + len(asks) + none)
        self._heads.append(head)
        self._instruments.append(self._symbol)

    def columns(self) -> dict[str, Any]:
        sizes, levels = np.array(self.sizes), np.array(self._levels)
        heads = pl.DataFrame(
            dict(zip(("time", "recv", "u_first", "u_last", "u_prev", "kind"), zip(*self._heads))),
            schema=dict.fromkeys(("time", "recv", "u_first", "u_last", "u_prev", "kind"), pl.Int64),
        ).with_columns(instrument=pl.Series(self._instruments))
        rows = heads[np.repeat(np.arange(len(sizes)), sizes)].to_dict()
        last = np.zeros(len(levels), np.int64)
        last[np.cumsum(sizes) - 1] = 1
        side = np.repeat(np.tile([1, -1, 0], len(sizes)), self._sides)
        self._clear()
        return rows | {"price": levels[:, 0], "qty": levels[:, 1], "side": side, "last": last}


class _Rows:
    """One row a message."""

    kind: Any
    marks: re.Pattern[bytes]
    roles: tuple[str, ...]

    def __init__(self, names: Names, clock_ns: int) -> None:
        self._names, self._clock_ns = names, clock_ns
        self._decode = _decoder(self.kind)
        self.sizes: list[int] = []
        self._rows: list[tuple[Any, ...]] = []

    def take(self, message: bytes, local_ns: int | None) -> None:
        row = self._row(self._decode(message), local_ns)
        if row is not None:
            self.sizes.append(1)
            self._rows.append((local_ns, *row))

    def _row(self, message: Any, local_ns: int | None) -> tuple[Any, ...] | None:
        """Instrument, time, and the values of the roles."""
        raise NotImplementedError

    def columns(self) -> dict[str, Any]:
        columns: dict[str, Any] = dict(zip(("recv", "instrument", "time", *self.roles), map(list, zip(*self._rows))))
        columns["recv"] = pl.Series(columns["recv"], dtype=pl.Int64)
        self.sizes, self._rows = [], []
        return columns


class _Quotes(_Rows):
    kind, marks = _Quote, re.compile(rb'@bookTicker|"bookTicker"|\{"u":')
    roles = ("seq", "bid", "bid_qty", "ask", "ask_qty", "no_event_time")
    _newest_ns = 0

    def _row(self, message: _Quote, local_ns: int | None) -> tuple[Any, ...] | None:
        stated = message.E is not None
        if message.E is not None:
            at = event_ns(message.E)
        elif local_ns is not None:
            at = self._newest_ns = max(self._newest_ns, local_ns + self._clock_ns)
        else:
            raise ValueError("a best quote without any time; leave them out with --feeds")
        name = self._names.of(message.s, stated)
        return name, at, message.u, message.b, message.B, message.a, message.A, int(not stated)


class _Marks(_Rows):
    kind, marks, roles = _Mark, re.compile(rb'"markPriceUpdate"'), ("mark", "index")

    def _row(self, message: _Mark, _local_ns: int | None) -> tuple[Any, ...] | None:
        return self._names.of(message.s, True), event_ns(message.E), message.p, message.i


class _Rates(_Rows):
    """What the next settlement would be now; the hours between settlements are 8 until two of them are nearer to each other."""

    kind, marks = _Mark, re.compile(rb'"markPriceUpdate"')
    roles = ("rate", "interval_h", "ts_next", "mark", "index", "predicted")

    def __init__(self, names: Names, clock_ns: int) -> None:
        super().__init__(names, clock_ns)
        self._next: dict[str, int] = {}
        self._hours: dict[str, float] = {}

    def _row(self, message: _Mark, _local_ns: int | None) -> tuple[Any, ...] | None:
        if not message.r or not message.T:
            return None
        name, next_ns = self._names.of(message.s, True), event_ns(message.T)
        since = next_ns - self._next.get(name, next_ns)
        if since > 0:
            self._hours[name] = min(since / HOUR_NS, self._hours.get(name, _INTERVAL_H))
        self._next[name] = next_ns
        hours = self._hours.get(name, _INTERVAL_H)
        return name, event_ns(message.E), float(message.r), hours, next_ns, message.p, message.i, 1


class _Liquidations(_Rows):
    """Of one symbol at most one a second is pushed, so they are not all there were."""

    kind, marks = _Forced, re.compile(rb'"forceOrder"')
    roles = ("price", "qty", "pos", "complete")

    def _row(self, message: _Forced, _local_ns: int | None) -> tuple[Any, ...] | None:
        order, at = message.o, event_ns(message.E)
        return self._names.of(order.s, True), at, order.ap, order.z, {"SELL": 1, "BUY": -1}.get(order.S, 0), 0


_READERS: Final[Mapping[str, Callable[[Names, int], _Reader]]] = {
    BOOKS: _Books,
    TOPS: _Quotes,
    TICKERS: _Marks,
    RATES: _Rates,
    LIQUIDATIONS: _Liquidations,
}


def beside_pieces(
    chunks: Iterable[tuple[bytes, int]], feed: str, names: Names, clock_ns: int, label: str
) -> Iterator[Piece]:
    """The rows of one stream of a recording, other than its trades, as tables, one per chunk of text that holds any.

    Args:
        chunks: the text in whole lines.
        feed: the stream.
        names: says the instruments.
        clock_ns: how far the recording's local clock is behind that of the venue.
        label: the file, as messages name it.

    Raises:
        InputError: a message cannot be decoded, or its symbol cannot be split and no instrument is given.
    """
    reader = _READERS[feed](names, clock_ns)
    concerns, first = reader.marks.search, 1
    for chunk, bytes_done in chunks:
        lines, numbers = chunk.splitlines(), list[int]()
        for number, line in enumerate(lines, first):
            if concerns(line) is None:
                continue
            brace = line.find(b"{")
            before = len(reader.sizes)
            try:
                local = line[:brace].strip()
                reader.take(line[brace:], int(local) if local else None)
            except (msgspec.MsgspecError, ValueError) as error:
                raise bad_line(label, number, f"no message of Binance that can be used ({error})") from None
            for size in reader.sizes[before:]:
                numbers += [number] * size
        first += len(lines)
        if numbers:
            yield Piece(pl.DataFrame(reader.columns()), line_of(numbers), bytes_done)
