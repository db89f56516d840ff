"""The streams of Binance that somebody listens to, and what each of them tells as time passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from connectors.simulator import binance_frames as made
from connectors.simulator.binance_books import DEPTH_MS, BookStreams
from connectors.simulator.binance_futures import Futures
from connectors.simulator.faults import Faults
from connectors.simulator.ledger import Ledger
from connectors.simulator.quotes import day_figures, liquidations
from connectors.simulator.world import World
from events.frames import Array
from events.times import SECOND_NS, timeframe_ns

_MS: Final = 1_000_000
_TRADES: Final = ("aggTrade", "trade", "forceOrder")
_FIGURES: Final = {
    False: {"ticker": SECOND_NS, "miniTicker": SECOND_NS},
    True: {
        "ticker": 2 * SECOND_NS,
        "miniTicker": SECOND_NS // 2,
        "markPrice@1s": SECOND_NS,
        "markPrice": 3 * SECOND_NS,
    },
}
"""Those of spot, and of USD-M, that tell something once in so many ns."""


@dataclass
class Stream:
    """One stream.

    Attributes:
        name: as a client says it, behind the segment.
        kind: what stands behind the `@`.
        every_ns: of one that tells figures, or klines, how often it does so; else 0.
        told_ns: when it told something last, or began.
    """

    name: str
    kind: str
    ledger: Ledger
    every_ns: int
    told_ns: int = 0


class Streams:
    """Those of both segments; only what somebody listens to takes time."""

    def __init__(self, world: World, ledgers: Iterable[Ledger], faults: Faults, futures: Futures) -> None:
        self._world, self._faults, self._futures = world, faults, futures
        self._known = {stream.name: stream for ledger in ledgers for stream in _streams_of(ledger)}
        self._active: dict[str, Stream] = {}
        self._on_trades: dict[str, dict[str, Stream]] = defaultdict(dict)
        self._timed: dict[int, dict[str, Stream]] = defaultdict(dict)
        self._books: dict[str, BookStreams] = {}
        self._now_ns = world.now_ns

    def begin(self, names: Iterable[str]) -> None:
        """Follow what these streams tell of from now on, if nobody listened before."""
        for name in names:
            stream = self._known.get(name)
            if stream is None or name in self._active:
                continue
            self._active[name], instrument = stream, stream.ledger.listing.instrument
            stream.told_ns = 0 if stream.kind == "forceOrder" else self._world.now_ns
            if stream.kind in _TRADES or stream.kind.startswith("kline"):
                self._on_trades[instrument][name] = stream
            if stream.every_ns:
                self._timed[stream.every_ns][name] = stream
            elif stream.kind not in _TRADES:
                if instrument not in self._books:
                    books = self._world.books[instrument]
                    self._books[instrument] = BookStreams(stream.ledger, books, self._world.now_ns, self._faults)
                self._books[instrument].add(stream.kind, name)

    def frames(self, wanted: Mapping[str, None], fresh: Mapping[str, Array]) -> dict[str, list[str]]:
        """The frames of each stream after these rows have traded."""
        self._end(self._active.keys() - wanted.keys())
        out: dict[str, list[str]] = {}
        before, now = self._now_ns, self._world.now_ns
        self._now_ns = now
        for instrument, streams in self._books.items():
            rows = fresh.get(instrument)
            if rows is not None or now >= streams.due_ns:
                for name, frame in streams.advance(now, rows):
                    out.setdefault(name, []).append(frame)
        for every_ns, timed in self._timed.items():
            if before // every_ns != now // every_ns:
                for stream in timed.values():
                    out[stream.name] = list(self._told(stream, fresh.get(stream.ledger.listing.instrument)))
        for instrument, rows in fresh.items():
            for name, stream in self._on_trades.get(instrument, {}).items():
                if name not in out:
                    out[name] = list(self._told(stream, rows))
        return out

    def _end(self, names: Iterable[str]) -> None:
        """Follow these no longer."""
        for name in names:
            stream = self._active.pop(name)
            instrument = stream.ledger.listing.instrument
            self._on_trades[instrument].pop(name, None)
            if stream.every_ns:
                del self._timed[stream.every_ns][name]
            if instrument in self._books and not self._books[instrument].remove(name):
                del self._books[instrument]

    def _told(self, stream: Stream, rows: Array | None) -> Iterator[str]:
        """What a stream tells now, which is not of the book."""
        ledger, now, skew_ns = stream.ledger, self._now_ns, self._faults.ns("clock-skew")
        event_ms, since = (now + skew_ns) // _MS, stream.told_ns
        if stream.kind == "forceOrder":
            closed = () if rows is None else liquidations(rows, self._world.seed).tolist()
            if closed and now - since >= SECOND_NS:  # the newest in a second, no more
                stream.told_ns = now
                yield made.liquidation_frame(ledger.listing, closed[-1], event_ms)
        elif stream.kind.startswith("kline"):
            stream.told_ns = now
            yield from made.kline_frames(ledger, stream.kind[6:], since, now, rows is not None, event_ms)
        elif rows is not None and stream.kind in _TRADES:
            make = made.aggregate_frames if stream.kind == "aggTrade" else made.trade_frames
            yield from make(ledger.listing, rows, event_ms)
        elif stream.every_ns:
            stream.told_ns = now
            for time_ns in range((since // stream.every_ns + 1) * stream.every_ns, now + 1, stream.every_ns):
                yield self._figures(stream, time_ns, (time_ns + skew_ns) // _MS)

    def _figures(self, stream: Stream, time_ns: int, event_ms: int) -> str:
        if stream.kind.startswith("markPrice"):
            return self._futures.mark_frame(stream.ledger, time_ns, event_ms)
        figures = day_figures(stream.ledger, time_ns, stream.ledger.id_at(time_ns))
        make = made.day_frame if stream.kind == "ticker" else made.mini_frame
        return make(stream.ledger.listing, figures, event_ms)


def stream_name(ledger: Ledger, kind: str) -> str:
    """The name of a stream, behind that of its segment."""
    segment = "linear" if ledger.listing.linear else "spot"
    return f"{segment} {ledger.listing.market_id.lower()}@{kind}"


def _streams_of(ledger: Ledger) -> Iterator[Stream]:
    linear = ledger.listing.linear
    for kind in (*_TRADES[: 2 + linear], "bookTicker", *DEPTH_MS[linear]):
        yield Stream(stream_name(ledger, kind), kind, ledger, 0)
    for kind, every_ns in _FIGURES[linear].items():
        yield Stream(stream_name(ledger, kind), kind, ledger, every_ns)
    for interval in made.INTERVALS:
        yield Stream(stream_name(ledger, "kline_" + interval), "kline_" + interval, ledger, timeframe_ns(interval))
