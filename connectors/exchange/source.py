"""The trades of exchanges as a Bytewax source: one partition per exchange."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.exchange.beside import Seen
from connectors.exchange.feed import Feed
from connectors.exchange.frames import Position, advanced, frames_of
from connectors.exchange.hub import Hub
from connectors.exchange.offers import lacking
from connectors.exchange.options import Options
from connectors.exchange.universe import Changes, Largest, joining, leaving
from connectors.exchange.venues import VENUES
from events.errors import InputError
from events.feeds import FEEDS, PRELOAD, TRADES, UNIVERSE
from events.frames import Frame
from events.identity import like
from events.schema import NEVER

Positions = dict[str, tuple[int, int, tuple[int, ...]]]
"""By symbol, the fields of its `Position`: plain data."""

_BATCH: Final = 10_000
_IDLE: Final = timedelta(milliseconds=5)


class ExchangeSource(FixedPartitionedSource[tuple[str, Frame], Positions]):
    """Trades of exchanges as frames `trades`, each instrument's in the order of its ids, none missing and none twice.

    Rows carry no watermark (NEVER): whoever takes them in derives it from them. Between them come frames without rows: COVERAGE at
    the beginning, from when on the stream is complete; heartbeats, which promise only what is proven; HOLE where trades are
    missing for good. Of venues whose ids count one by one (`sequenced`) there is no HOLE, since the ids of the rows show it.
    Where nothing but the connection proves a heartbeat, it says BEACON.

    A restart goes on after the last row handed out: what was traded meanwhile comes over REST.

    Args:
        exchanges: symbols, in ccxt's spelling, by exchange.
        options: how feeds behave.
        addresses: host and port of servers that stand for exchanges, by exchange.
        cache: folder in which lists of markets are kept for a day; None for nowhere.
        largest: which markets are followed beside those named, by exchange: who joins and leaves is said by rows of `universe`.

    Attributes:
        exchanges: the symbols that are followed now, by exchange.
        named: those that are named.
        seen: how far the streams beside trades had come in an earlier run; known before partitions are built.

    Raises:
        InputError: an exchange is not known, or has no symbols.
    """

    def __init__(
        self,
        exchanges: Mapping[str, Sequence[str]],
        options: Options | None = None,
        addresses: Mapping[str, str] | None = None,
        cache: Path | None = None,
        largest: Mapping[str, Largest] | None = None,
    ) -> None:
        self.largest = dict(largest or {})
        exchanges = {name: exchanges.get(name, ()) for name in (*exchanges, *self.largest)}
        if not exchanges or not all(symbols or name in self.largest for name, symbols in exchanges.items()):
            raise InputError("name at least one exchange, and at least one symbol of each, such as binance: [BTC/USDT]")
        unknown = [name for name in exchanges if name not in VENUES]
        if unknown:
            raise InputError(f"there is no exchange {unknown[0]!r}, only {', '.join(VENUES)}")
        self.named = {name: tuple(dict.fromkeys(symbols)) for name, symbols in exchanges.items()}
        self.exchanges = dict(self.named)
        self.options, self.addresses, self.cache = options or Options(), dict(addresses or {}), cache
        self.hub = Hub()
        self.feeds: dict[str, Feed] = {}
        self.seen: Seen = {}

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that instruments may have, in canonical order."""
        options = self.options
        wanted = {TRADES, *options.beside, *[PRELOAD] * (options.preload is not None), *[UNIVERSE] * bool(self.largest)}
        return tuple(name for name in FEEDS if name in wanted)

    @property
    def likes(self) -> tuple[str, ...]:
        """The names that stand for all that may join (`events.identity.like`)."""
        return tuple(self.like_of.values())

    @property
    def like_of(self) -> dict[str, str]:
        """These by exchange."""
        return {exchange: like(f"{exchange}:{rule.like}") for exchange, rule in self.largest.items()}

    def list_parts(self) -> list[str]:
        """The exchanges."""
        return list(self.exchanges)

    def build_part(self, step_id: str, for_part: str, resume_state: Positions | None) -> ExchangePartition:
        """Connect to an exchange, in the background."""
        return ExchangePartition(self, for_part, resume_state or {})

    def fatal(self) -> BaseException | None:
        """What ended the feeds of this process; None while one of them runs."""
        errors = [feed.error for feed in self.feeds.values()]
        return None if None in errors else errors[0]


class ExchangePartition(StatefulSourcePartition[tuple[str, Frame], Positions]):
    """The trades of one exchange.

    Attributes:
        feed: where they come from.
        drained: whether the last batch was all there was.
        decided_ns: who joins or leaves does so at this time or later.
    """

    def __init__(self, source: ExchangeSource, exchange: str, state: Positions) -> None:
        self._source, self.exchange, self._counts = source, exchange, VENUES[exchange].counts
        self._positions = {symbol: Position(*fields) for symbol, fields in state.items()}
        self.feed = Feed(
            exchange,
            source.exchanges[exchange],
            dict(self._positions),
            source.options,
            source.addresses.get(exchange),
            source.cache,
            source.seen,
            source.largest.get(exchange),
            source.named[exchange],
        )
        self._awake: datetime | None = None
        self.drained, self.decided_ns = False, NEVER
        source.feeds[exchange] = self.feed
        source.hub.start(self.feed)

    def next_batch(self) -> list[tuple[str, Frame]]:
        """What has come since the last call; never waits.

        Raises:
            InputError: no exchange is left, and trying again would not help.
        """
        items = self.feed.take(_BATCH)
        self.drained = len(items) < _BATCH
        if not items and (error := self._source.fatal()) is not None:
            raise error
        out = frames_of(items)
        if not items and self.feed.changes is not None and self.feed.paused.is_set():
            out = self._change(self.feed.changes)
        for instrument, frame in out:
            symbol = instrument.partition(":")[2]
            position = advanced(self._positions.get(symbol), frame, self._counts)
            if position is not None:
                self._positions[symbol] = position
        self._awake = None if out else datetime.now(UTC) + _IDLE
        return out

    def _change(self, changes: Changes) -> list[tuple[str, Frame]]:
        """Let the feed go on with others; what is said of those that leave and join."""
        source, feed, out = self._source, self.feed, list[tuple[str, Frame]]()
        for symbol in changes.leaves:
            instrument, known_ns = f"{self.exchange}:{symbol}", max(feed.known_ns(symbol), self.decided_ns)
            out += leaving(instrument, source.streams, known_ns, changes.turnovers.get(symbol))
            self._positions.pop(symbol, None)
        now_ns = max(feed.clock.now(), self.decided_ns)
        for symbol in changes.joins:
            instrument = f"{self.exchange}:{symbol}"
            lacks = lacking(source.options.beside, [instrument]).get(instrument, frozenset())
            out += joining(instrument, now_ns, changes.turnovers[symbol], lacks)
        followed = [symbol for symbol in feed.symbols if symbol not in changes.leaves] + list(changes.joins)
        source.exchanges[self.exchange] = tuple(followed)
        feed.follow(followed, dict(self._positions))
        return out

    def next_awake(self) -> datetime | None:
        """A moment later, if there was nothing."""
        return self._awake

    def snapshot(self) -> Positions:
        """Where each instrument stands after what was handed out."""
        return {symbol: (at.next_id, at.last_ns, at.recent) for symbol, at in self._positions.items()}

    def close(self) -> None:
        """Close the connections."""
        self._source.hub.stop(self.feed)
