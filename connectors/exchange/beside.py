"""The streams beside trades of one exchange: what it pushes, what it is asked for, and what may be promised of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from connectors.exchange.beside_rows import (
    Parsed,
    Sample,
    liquidation_rows,
    pushed_open_interest,
    rate_of,
    rate_row,
    stamp,
    ticker_row,
    top_row,
    update_ticker,
)
from connectors.exchange.channels import (
    LIQUIDATION_CACHE,
    QUOTE_CACHE,
    RATE_CACHE,
    SUBSCRIPTIONS,
    TICKER_CACHE,
    Beacon,
    Channel,
)
from connectors.exchange.client import groups, kind_of
from connectors.exchange.frames import Other
from connectors.exchange.heartbeats import proven_until
from connectors.exchange.line import Line, Row
from connectors.exchange.offers import offered
from connectors.exchange.polls import POLLED, Polls
from connectors.exchange.taps import Tap
from events.feeds import FEEDS, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, RATES, TICKERS, TOPS
from events.frames import control
from events.schema import HOLE, MALFORMED, NEVER, RECONNECT
from events.times import MINUTE_NS, SECOND_NS

if TYPE_CHECKING:
    from connectors.exchange.feed import Feed
    from connectors.exchange.instrument import Instrument

log = logging.getLogger(__name__)
_TICKER_NS: Final = SECOND_NS
"""Tickers and mark prices are handed out no more often than this."""
_UNTIMED: Final = {
    ("binance", "spot"): frozenset({TOPS}),
    ("binance", "swap"): frozenset({OPEN_INTEREST, LONG_SHORT}),
    ("bybit", "swap"): frozenset({LONG_SHORT}),
    ("okx", "swap"): frozenset({OPEN_INTEREST, LONG_SHORT}),
    ("kraken", "spot"): frozenset({TOPS, TICKERS}),
}
"""By venue and market type, the streams whose rows stand at the time of their receipt."""

_STREAMS: Final = {
    TICKER_CACHE: (TICKERS, RATES, OPEN_INTEREST),
    QUOTE_CACHE: (TOPS,),
    RATE_CACHE: (RATES,),
    LIQUIDATION_CACHE: (LIQUIDATIONS,),
}
"""Which streams come of what is in a cache of ccxt. Of a ticker of Kraken the best quotes come too."""

Seen = Mapping[tuple[str, str], tuple[int, int]]
"""By instrument and stream, of an earlier run: `ts_event` of the newest row handed out, and the watermark."""


class Told(dict[str, Any]):
    """A cache of ccxt that tells of everything that is put into it."""

    def __init__(self, content: Mapping[str, Any], take: Callable[[str, Parsed], None]) -> None:
        super().__init__(content)
        self._take = take

    def __setitem__(self, symbol: str, parsed: Any) -> None:
        """Called by ccxt for everything it has parsed."""
        super().__setitem__(symbol, parsed)
        self._take(symbol, parsed)


class Beside:
    """The streams beside trades of a feed.

    Args:
        feed: the feed.
        seen: how far they had come in an earlier run.

    Attributes:
        lines: by instrument, in ccxt's spelling, and stream.
        channels: what is subscribed to.
        polls: what is asked for.
    """

    def __init__(self, feed: Feed, seen: Seen) -> None:
        self._feed, self._seen = feed, seen
        self.lines: dict[str, dict[str, Line]] = {}
        self.channels: list[Channel] = []
        self.polls = Polls(feed)
        self._tickers: dict[str, dict[str, float]] = {}
        self._told: dict[
            tuple[str, str], int
        ] = {}  # by symbol and stream, of when the row was that was handed out last
        self._next: dict[str, int] = {}  # by symbol, the next settlement as predicted last
        self._beacons: dict[tuple[str, bool, str], Beacon] = {}  # by cache, whether it is a mark price, and symbol
        self._proofs: dict[tuple[str, str], Beacon] = {}  # by symbol and stream

    def start(self, tasks: asyncio.TaskGroup, markets: Mapping[str, Any]) -> None:
        """Subscribe, and begin to ask; the instruments of the feed are made, and nothing is connected yet."""
        feed, client = self._feed, self._feed.client
        for one in feed.instruments.values():
            streams = [name for name in feed.options.beside if name in offered(one.key)]
            if streams:
                self.lines[one.symbol] = {name: self._line(one, name) for name in streams}
        if not self.lines:
            return
        for cache in (TICKER_CACHE, QUOTE_CACHE, RATE_CACHE):
            setattr(client, cache, Told(getattr(client, cache) or {}, partial(self._take, cache)))
        client.liquidations = Tap(lambda parsed: self._take(LIQUIDATION_CACHE, parsed["symbol"], parsed))
        for kind in sorted({kind_of(symbol) for symbol in self.lines}):
            self._subscribe(kind, frozenset(markets))
        for channel in self.channels:
            tasks.create_task(channel.run())
        for line in self._all():
            if line.stream in POLLED[feed.exchange]:
                tasks.create_task(self.polls.run(line))

    def beat(self) -> None:
        """Hand out what waited for room, and send heartbeats past boundaries that are proven."""
        feed = self._feed
        now, grid_ns = feed.clock.now(), round(feed.options.grid_s * SECOND_NS)
        for channel in self.channels:
            self._mend(channel, now)
        for line in self._all():
            line.settle()
            if line.proven:
                line.promise(proven_until(self._reached_ns(line), None), grid_ns)
            else:
                line.promise(now, grid_ns)

    def seen_now(self) -> Seen:
        """How far all lines have come."""
        return {(line.one.key, line.stream): (line.newest_ns, line.promised_ns) for line in self._all()}

    def of(self, stream: str) -> list[Line]:
        """The lines of a stream; any thread may ask."""
        return [line for line in list(self._all()) if line.stream == stream]

    def failures(self, stream: str) -> Iterator[tuple[int, str]]:
        """Since when, and why, something of a stream does not come; any thread may ask."""
        for channel in list(self.channels):
            failure = channel.failure
            if stream in channel.wanted and failure is not None:
                yield failure
        yield from (line.failure for line in self.of(stream) if line.failure is not None)

    def _all(self) -> Iterator[Line]:
        return (line for lines in list(self.lines.values()) for line in lines.values())

    def _line(self, one: Instrument, stream: str) -> Line:
        feed = self._feed
        untimed = _UNTIMED.get((feed.exchange, kind_of(one.symbol)), frozenset())
        line = Line(one, stream, feed.queue, feed.options.queue, proven=stream not in untimed)
        line.newest_ns, line.promised_ns = self._seen.get((one.key, stream), (NEVER, NEVER))
        line.ready = stream not in POLLED[feed.exchange]
        return line

    def _subscribe(self, kind: str, known: frozenset[str]) -> None:
        """Make the channels of a market type. On a venue with one connection for all of it, one beacon is that of all."""
        feed, shared = self._feed, Beacon()
        symbols = [symbol for symbol in self.lines if kind_of(symbol) == kind]
        for subscription in SUBSCRIPTIONS[feed.exchange][kind]:
            wanted = subscription.streams & set(feed.options.beside)
            if not wanted:
                continue
            for group in groups(feed.venue, symbols, busy=not feed.venue.shared):
                listed = tuple(symbol for symbol in group if symbol in known)
                if feed.venue.shared:
                    beacon = shared
                elif subscription.cache == LIQUIDATION_CACHE:
                    beacon = self._beacons[TICKER_CACHE, True, listed[0]]
                else:
                    beacon = Beacon()
                if subscription.marks:
                    _together(feed.client, listed)
                for symbol in listed:
                    self._beacons[subscription.cache, subscription.marks, symbol] = beacon
                    for stream in wanted:
                        self._proofs.setdefault((symbol, stream), beacon)
                for part in [(symbol,) for symbol in listed] if subscription.alone else [listed]:
                    self.channels.append(Channel(feed, subscription, part, wanted, beacon))

    def _reached_ns(self, line: Line) -> int:
        """Up to when the connection of a line has pushed, in the venue's own time."""
        reached = self._proofs[line.one.symbol, line.stream].reached_ns
        return max(reached, self._feed.reached_ns(line.one)) if self._feed.venue.shared else reached

    def _mend(self, channel: Channel, now: int) -> None:
        """Forget a failure once its connection has pushed again, and say what may have been lost meanwhile."""
        feed = self._feed
        if channel.failure is None:
            return
        ours = [
            lines[name]
            for s in channel.symbols
            if (lines := self.lines.get(s))
            for name in channel.wanted & lines.keys()
        ]
        pushed = channel.beacon.pushed_ns
        if feed.venue.shared:
            pushed = max([pushed, *(feed.pushed_of(line.one) for line in ours)])
        if pushed <= channel.failure[0]:
            return
        for line in ours:
            since = channel.lost_ns if channel.lost_ns != NEVER else line.promised_ns
            if line.stream == LIQUIDATIONS and channel.subscription.quiet and since != NEVER:
                said = control(HOLE, since, since, max(since, now), RECONNECT)
                feed.queue.append((line.one.key, Other(line.stream, control=said)))
        channel.failure, channel.lost_ns = None, NEVER

    def _take(self, cache: str, symbol: str, parsed: Parsed) -> None:
        """What the caches of ccxt call, for everything that it has parsed."""
        received, info = self._feed.clock.now(), parsed.get("info")
        marks = isinstance(info, dict) and info.get("e") == "markPriceUpdate"
        if isinstance(info, dict) and "idxPx" in info:
            for contract in [name for name in self.lines if name.partition(":")[0] == symbol and ":" in name]:
                self._read(cache, contract, parsed, received)
            return
        beacon = self._beacons.get((cache, marks, symbol))
        if beacon is not None and cache != LIQUIDATION_CACHE:
            at = stamp(parsed)
            beacon.push(received, received if at == NEVER else at)
        if symbol in self.lines:
            self._read(cache, symbol, parsed, received)

    def _read(self, cache: str, symbol: str, parsed: Parsed, received: int) -> None:
        """Hand out the rows of something that was pushed; of what cannot be read a row that says so."""
        lines = self.lines[symbol]
        both = (TOPS,) if self._feed.exchange == "kraken" else ()
        for stream in _STREAMS[cache] + both:
            if (line := lines.get(stream)) is None or not line.ready:
                continue  # what was before comes first
            try:
                for sample in self._samples(stream, line, parsed, received):
                    self._told[symbol, stream] = sample.at_ns
                    line.put(sample.row(self._number(line, parsed, received)), sample.at_ns, received)
            except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
                line.unread += 1
                log.warning("%s: %s cannot be read: %r: %s", line.one.key, stream, error, str(parsed)[:200])
                line.put(malformed(stream, received, line.next_seq(received)), line.newest_ns, received)

    def _samples(self, stream: str, line: Line, parsed: Parsed, received: int) -> Iterator[Sample]:
        symbol, read = line.one.symbol, line.one.read
        if stream == LIQUIDATIONS:
            yield from liquidation_rows(self._feed.exchange, line.one.key, parsed, read, received)
            return
        if stream == TOPS:
            sample = top_row(parsed, read, received)
            if sample is not None:
                yield sample
            return
        at = stamp(parsed)
        at = received if at == NEVER else at
        told = self._told.get((symbol, stream), NEVER)
        if stream == TICKERS:
            state = self._tickers.setdefault(symbol, {})
            update_ticker(state, parsed, read)
            if told == NEVER or at - told >= _TICKER_NS:
                yield ticker_row(state, at, received)
        elif (
            stream == RATES and (rate := rate_of(parsed)) is not None and (hours := rate.interval_h or line.interval_h)
        ):
            if told == NEVER or at - told >= MINUTE_NS or rate.next_ns != self._next.get(symbol):
                self._next[symbol] = rate.next_ns
                yield rate_row(rate, hours, at, received)
        elif stream == OPEN_INTEREST and (told == NEVER or at - told >= self._feed.options.poll_s * SECOND_NS):
            pushed = pushed_open_interest(parsed, at, received)
            if pushed is not None:
                yield pushed

    def _number(self, line: Line, parsed: Parsed, received: int) -> int:
        """The venue's own number of a change of the best quotes, which tells repeats; else one of ours."""
        if line.stream == TOPS and self._feed.exchange == "binance":
            return int(parsed["info"]["u"])
        return line.next_seq(received)


def malformed(stream: str, received_ns: int, seq: int) -> Row:
    """A row that says that something came which could not be read."""
    row = np.zeros(1, FEEDS[stream].dtype)
    for name in ("available_at", "ts_event", "ts_recv"):
        if name in (row.dtype.names or ()):
            row[name] = received_ns
    row["seq"], row["flags"] = seq, MALFORMED
    return tuple(row[0].tolist())


def _together(client: Any, symbols: Sequence[str]) -> None:
    """Let the liquidations of symbols come over the connection of their mark prices, which shows that it is alive."""
    listed = ",".join(symbols)
    client.options["streamBySubscriptionsHash"][f"liquidations::{listed}"] = client.stream(
        "linear", f"markPrice::{listed}"
    )
