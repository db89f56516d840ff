"""The streams beside trades of one exchange, without its books: what is pushed, what is asked for, and what may be promised."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import ccxt

from connectors.exchange.beside_rows import QUOTE_FIELDS, Parsed, number, quote_row, stamp
from connectors.exchange.channels import (
    INDEXES,
    LIQUIDATION_CACHE,
    MARKS,
    QUOTE_CACHE,
    RATE_CACHE,
    SUBSCRIPTIONS,
    TICKER_CACHE,
    Beacon,
    Channel,
)
from connectors.exchange.client import groups, guard, kind_of, make_client
from connectors.exchange.context import Context
from connectors.exchange.direct_quotes import READERS, DirectQuotes, Quote
from connectors.exchange.frames import Other
from connectors.exchange.heartbeats import proven_until
from connectors.exchange.line import Line
from connectors.exchange.offers import offered
from connectors.exchange.polls import POLLED, Polls
from connectors.exchange.readings import ERRORS, Readings, Told, malformed, told
from connectors.exchange.taps import Tap
from events.feeds import BOOKS, CHECKS, CONTEXT, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, TICKERS, TOPS
from events.frames import control
from events.schema import HOLE, NEVER, RECONNECT
from events.times import SECOND_NS

if TYPE_CHECKING:
    from connectors.exchange.feed import Feed
    from connectors.exchange.instrument import Instrument

log = logging.getLogger(__name__)
_SHARE: Final = 2
"""Of states only the newest are kept from one part in so many of the queue on, so that trades still have room."""
_UNTIMED: Final = {
    ("binance", "spot"): frozenset({TOPS}),
    ("binance", "swap"): frozenset({OPEN_INTEREST, LONG_SHORT}),
    ("bybit", "swap"): frozenset({LONG_SHORT}),
    ("okx", "swap"): frozenset({OPEN_INTEREST, LONG_SHORT}),
    ("kraken", "spot"): frozenset({TOPS, TICKERS}),
}
"""By venue and market type, the streams whose rows stand at the time of their receipt."""

Seen = Mapping[tuple[str, str], tuple[int, int]]
"""By instrument and stream, of an earlier run: `ts_event` of the newest row handed out, and the watermark."""


class Beside:
    """The streams beside trades of a feed.

    Args:
        feed: the feed.
        seen: how far they had come in an earlier run.

    Attributes:
        client: of ccxt, for what is pushed; None where there is nothing.
        lines: by instrument, in ccxt's spelling, and stream.
        channels: what is subscribed to.
        witnessed: while it is a list, best quotes that ccxt reads are put into it too: symbol, time, and the numbers.
        polls: what is asked for.
    """

    def __init__(self, feed: Feed, seen: Seen) -> None:
        self._feed, self._seen = feed, seen
        self.client: Any = None
        self.lines: dict[str, dict[str, Line]] = {}
        self.channels: list[Channel] = []
        self.polls = Polls(feed)
        self._readings = Readings(feed.exchange, feed.options.poll_s)
        self._pushers: dict[tuple[str, str, str], list[Channel]] = {}  # by cache, what is told, symbol
        self.witnessed: list[tuple[Any, ...]] | None = None
        self._proofs: dict[tuple[str, str], Beacon] = {}  # by symbol and stream

    def start(self, tasks: asyncio.TaskGroup, markets: Mapping[str, Any]) -> None:
        """Subscribe, and begin to ask; the instruments of the feed are made, and nothing is connected yet."""
        feed = self._feed
        for one in feed.instruments.values():
            streams = [name for name in feed.options.beside if name in offered(one.key) and name != BOOKS]
            if streams:
                self.lines[one.symbol] = {name: self._line(one, name) for name in streams}
        if not self.lines:
            return
        self.client = client = make_client(feed.exchange, list(markets), feed.address, feed.options.keep_alive_s)
        client.set_markets(list(markets.values()))
        guard(client)
        if feed.exchange in READERS:
            client.on_connected = partial(self._on_connected, client.on_connected)
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
        if lines := self.of(CONTEXT):
            tasks.create_task(Context(feed).run(lines))

    def beat(self) -> None:
        """Hand out what waited for room, and send heartbeats past boundaries that are proven."""
        feed = self._feed
        now, grid_ns = feed.clock.now(), round(feed.options.grid_s * SECOND_NS)
        self._look(now)
        for channel in self.channels:
            self._mend(channel, now)
        for line in self._all():
            line.settle()
            if line.proven:
                line.promise(proven_until(self._proofs[line.one.symbol, line.stream].reached_ns, None), grid_ns)
            else:
                line.promise(now, grid_ns)

    async def close(self) -> None:
        """Close the connections."""
        if self.client is not None:
            await self.client.close()

    def _look(self, now: int) -> None:
        """End connections on which nothing comes, be it that they are dead or mute: each has a symbol that always has news."""
        if self.client is None:
            return
        limit_s, now_ms = self._feed.options.stale_s, self.client.milliseconds()
        # where venues answer pings in words, last_message_at tells nothing
        mute = self._feed.venue.shared and any(
            NEVER < channel.beacon.pushed_ns < now - round(limit_s * SECOND_NS) for channel in self.channels
        )
        for connection in list(self.client.clients.values()):
            if connection.isConnected and connection.error is None:
                made_ms = connection.connectionEstablished
                if now_ms - (made_ms if mute else connection.last_message_at or made_ms) > limit_s * 1000:
                    connection.on_error(ccxt.RequestTimeout(f"nothing was pushed for {limit_s:g} s"))

    def seen_now(self) -> dict[tuple[str, str], tuple[int, int]]:
        """How far all lines have come."""
        return {(line.one.key, line.stream): (line.newest_ns, line.promised_ns) for line in self._all()}

    def of(self, stream: str) -> list[Line]:
        """The lines of a stream; any thread may ask."""
        return [line for line in list(self._all()) if line.stream == stream]

    def counters(self, stream: str) -> dict[str, int]:
        """What was left out of a stream, and what could not be read."""
        lines = self.of(stream)
        return {"conflated": sum(line.conflated for line in lines), "unread": sum(line.unread for line in lines)}

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
        line = Line(
            one, stream, feed.queue, feed.options.queue // _SHARE, proven=stream not in untimed | {CHECKS, CONTEXT}
        )
        line.newest_ns, line.promised_ns = self._seen.get((one.key, stream), (NEVER, NEVER))
        line.ready = stream not in POLLED[feed.exchange] | {CONTEXT}
        return line

    def _subscribe(self, kind: str, known: frozenset[str]) -> None:
        """Make the channels of a market type. On a venue with one connection for all of it, one beacon is that of all."""
        feed, shared = self._feed, Beacon()
        symbols = [symbol for symbol in self.lines if kind_of(symbol) == kind]
        for subscription in SUBSCRIPTIONS[feed.exchange][kind]:
            wanted = subscription.streams & set(feed.options.beside)
            if not wanted:
                continue
            for group in groups(feed.venue, symbols):
                listed = tuple(symbol for symbol in group if symbol in known)
                if feed.venue.shared:
                    beacon = shared
                elif subscription.cache == LIQUIDATION_CACHE:
                    beacon = self._pushers[TICKER_CACHE, MARKS, listed[0]][0].beacon
                else:
                    beacon = Beacon()
                if subscription.tells == MARKS and not feed.venue.shared:
                    _together(self.client, listed)
                for part in [(symbol,) for symbol in listed] if subscription.alone else [listed]:
                    channel = Channel(feed, self.client, subscription, part, wanted, beacon)
                    self.channels.append(channel)
                    for symbol in part:
                        self._pushers.setdefault((subscription.cache, subscription.tells, symbol), []).append(channel)
                        for stream in wanted:
                            self._proofs.setdefault((symbol, stream), beacon)

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
        if channel.alive_ns <= channel.failure[0]:
            return
        for line in ours:
            before = max(self._seen.get((line.one.key, line.stream), (NEVER, NEVER)))  # what an earlier run knew
            since = channel.lost_ns if channel.lost_ns != NEVER else before
            if line.stream == LIQUIDATIONS and channel.subscription.quiet and since != NEVER:
                said = control(HOLE, since, since, max(since, now), RECONNECT)
                feed.queue.append((line.one.key, Other(line.stream, control=said)))
        channel.failure, channel.lost_ns = None, NEVER

    def _take(self, cache: str, symbol: str, parsed: Parsed) -> None:
        """What the caches of ccxt call, for everything that it has parsed."""
        received, tells = self._feed.clock.now(), told(parsed)
        symbols = [symbol]
        if tells == INDEXES:  # its symbol is that of a spot market
            symbols = [name for name in self.lines if name.startswith(f"{symbol}:")]
        if self.witnessed is not None and cache == QUOTE_CACHE:
            self.witnessed.append((symbol, stamp(parsed), *(number(parsed[name]) for name in QUOTE_FIELDS)))
        for name in symbols:
            if cache != LIQUIDATION_CACHE:
                at = stamp(parsed)
                for channel in self._pushers.get((cache, tells, name), ()):
                    channel.pushed_ns = received
                    channel.beacon.push(received, received if at == NEVER else at)
            if name in self.lines:
                self._read(cache, name, parsed, received)

    def _on_connected(self, after: Any, connection: Any, message: Any = None) -> None:
        connection.handle_message = DirectQuotes(self, self._feed.exchange, connection)
        after(connection, message)

    def quoted(self, symbol: str, quote: Quote) -> None:
        """Take a best quote that was read past ccxt."""
        received = self._feed.clock.now()
        for channel in self._pushers.get((QUOTE_CACHE, "", symbol), ()):
            channel.pushed_ns = received
            channel.beacon.push(received, received if quote.at_ns == NEVER else quote.at_ns)
        line = self.lines.get(symbol, {}).get(TOPS)
        if line is not None:
            sample = quote_row(quote.at_ns, *quote[3:], line.one.read, received)
            if sample is not None:
                seq = line.next_seq(received) if quote.number == NEVER else quote.number
                line.put(sample.row(seq), sample.at_ns, received)

    def _read(self, cache: str, symbol: str, parsed: Parsed, received: int) -> None:
        """Hand out the rows of something that was pushed; of what cannot be read a row that says so."""
        for stream in self._readings.streams(cache):
            if (line := self.lines[symbol].get(stream)) is None:
                continue
            try:
                for row, at in self._readings.rows(line, parsed, received):
                    line.put(row, at, received)
            except ERRORS as error:
                line.unread += 1
                log.warning("%s: %s cannot be read: %r: %s", line.one.key, stream, error, str(parsed)[:200])
                line.put(malformed(stream, received, line.next_seq(received)), NEVER, received)


def _together(client: Any, symbols: Sequence[str]) -> None:
    """Let the liquidations of symbols come over the connection of their mark prices, which shows that it is alive."""
    listed = ",".join(symbols)
    client.options["streamBySubscriptionsHash"][f"liquidations::{listed}"] = client.stream(
        "linear", f"markPrice::{listed}"
    )
