"""What REST is asked for beside trades: samples that venues do not push, settlements of funding, and what was before the run.

Its calls have breakers of their own, so that an endpoint that fails keeps nobody from asking for trades, nor for other streams.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from connectors.exchange.beside_rows import Parsed, long_short_row, open_interest_row
from connectors.exchange.calls import Calls
from connectors.exchange.faults import reason
from connectors.exchange.funding import funding
from connectors.exchange.klines import klines
from connectors.exchange.line import Line
from events.errors import InputError
from events.feeds import CHECKS, LONG_SHORT, OPEN_INTEREST, RATES
from events.schema import NEVER
from events.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

if TYPE_CHECKING:
    from connectors.exchange.feed import Feed

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_DERIVED: Final = frozenset({RATES, OPEN_INTEREST, LONG_SHORT})
_ANY: Final = frozenset({CHECKS})
POLLED: Final[Mapping[str, frozenset[str]]] = {
    "binance": _DERIVED | _ANY,
    "bybit": _DERIVED | _ANY,
    "okx": _DERIVED | _ANY,
    "kraken": _ANY,
    "coinbase": _ANY,
}
"""By venue, the streams of which REST tells something: the past at least."""
_PUSHED: Final = frozenset({("bybit", OPEN_INTEREST)})
"""Those of which it is asked for nothing else."""

_PERIOD: Final = "5m"
_PERIOD_S: Final = 300
_MS: Final = 1_000_000
_PUBLISHED_NS: Final = MINUTE_NS
"""So long after its time a sample of the past is taken to have been known."""
_PAST_NS: Final = 31 * DAY_NS
_ROWS: Final = {"binance": 500, "bybit": 200, "okx": 100}
"""Samples of the past that one call serves."""
_SETTLING_S: Final = 10.0
_PATIENCE_S: Final = 60.0
"""So long the past is waited for, before a line goes on without it."""
_SPREAD: Final = 16
_SETTLES_H: Final = 8.0
_SLOWLY: Final = 2
"""Long/short ratios change every five minutes: they are asked for at every other time."""


class Polls:
    """The polls of a feed: a task for each line.

    Args:
        feed: the feed.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._calls = {stream: Calls(feed, answered=True) for stream in _DERIVED | _ANY}
        self._begun = 0
        self._settled: dict[str, int] = {}  # by symbol, of when the newest settlement was
        self._compared: dict[str, int] = {}  # by symbol, the close of the newest kline, or when the run began

    async def run(self, line: Line) -> None:
        """Hand out what was before, then sample until cancelled; at times of its own, so that calls are spread."""
        feed, resumed = self._feed, line.newest_ns != NEVER
        self._begun += 1
        first = 0.5 + self._begun % _SPREAD / (2 * _SPREAD)  # of an interval
        if resumed and line.stream == RATES:
            self._settled[line.one.symbol] = line.newest_ns
        await self._try(line, lambda: asyncio.wait_for(self._past(line, resumed), _PATIENCE_S))
        if line.stream == RATES and line.interval_h is None:
            line.interval_h = _SETTLES_H  # the commonest, until the venue says another
        line.begin()
        if (feed.exchange, line.stream) in _PUSHED:
            return
        every_s = feed.options.poll_s * (_SLOWLY if line.stream == LONG_SHORT else 1)
        if line.stream == CHECKS:
            every_s = feed.options.reconcile_s
        ask = {
            RATES: self._settlements,
            OPEN_INTEREST: self._open_interest,
            LONG_SHORT: self._long_short,
            CHECKS: self._klines,
        }[line.stream]
        while True:
            await self._try(line, partial(ask, line))
            await asyncio.sleep(every_s * first)
            first = 1.0

    async def _try(self, line: Line, ask: Callable[[], Awaitable[None]]) -> None:
        """Ask; a refusal is stated, and nothing else comes of it."""
        try:
            await ask()
            line.failure = None
        except (InputError, TimeoutError, KeyError, TypeError, ValueError) as error:
            self._failed(line, error)

    def _failed(self, line: Line, error: BaseException) -> None:
        since = line.failure[0] if line.failure else self._feed.clock.now()
        if line.failure is None:
            log.warning("%s: %s: %s", line.one.key, line.stream, error)
        line.failure = (since, f"REST does not serve it: {reason(error)}"[:200])

    async def _call(self, line: Line, function: Callable[..., Awaitable[_T]], *given: Any) -> _T:
        """What a call gives, however often it takes; while it fails that is stated."""

        async def watched(*given: Any) -> _T:
            try:
                return await function(*given)
            except Exception as error:
                self._failed(line, error)
                raise

        return await self._calls[line.stream].call(watched, *given)

    # ---- the past

    async def _past(self, line: Line, resumed: bool) -> None:
        """What the venue knows of the time before, behind what was handed out by an earlier run.

        It is available when it was published, unless there was such a run, whose promises are past that.
        """
        feed = self._feed
        symbol, rows = line.one.symbol, _ROWS.get(feed.exchange, 0)
        if line.stream == CHECKS:
            last = feed.clock.now() if line.newest_ns == NEVER else line.newest_ns
            self._compared[symbol] = last // MINUTE_NS * MINUTE_NS
        elif line.stream == RATES:
            await self._settlements(line, past=not resumed)
        elif line.stream == OPEN_INTEREST:
            ask = feed.client.fetch_open_interest_history
            self._hand_out(line, await self._call(line, ask, symbol, _PERIOD, None, rows), past=not resumed)
        else:
            self._hand_out(line, await self._call(line, self._ratios, symbol, rows), past=not resumed)

    # ---- samples

    async def _settlements(self, line: Line, past: bool = False) -> None:
        """The settlements since the last one, if another one is due; with `past` those of a month, available at their times."""
        feed, now = self._feed, self._feed.clock.now()
        last = self._settled.get(line.one.symbol, NEVER)
        due_ns = round((line.interval_h or 0.0) * HOUR_NS + _SETTLING_S * SECOND_NS)
        if last != NEVER and now < last + due_ns:
            return
        since = now - _PAST_NS if last == NEVER else last + 1
        rows = await funding(feed.client, line.one.symbol, since, now, partial(self._call, line), feed.clock.now)
        for available, at, received, _, *after in rows.tolist():
            line.hand_out(
                (available if past else received, at, received, line.next_seq(received), *after), at, received
            )
            line.interval_h, self._settled[line.one.symbol] = after[1], at

    async def _open_interest(self, line: Line) -> None:
        client, symbol = self._feed.client, line.one.symbol
        params = {}
        if self._feed.exchange == "okx":  # ccxt takes it from what is not cached of markets
            params["uly"] = client.market_id(symbol).rpartition("-")[0]
        self._hand_out(line, [await self._call(line, client.fetch_open_interest, symbol, params)])

    async def _long_short(self, line: Line) -> None:
        self._hand_out(line, await self._call(line, self._ratios, line.one.symbol, 1))

    async def _klines(self, line: Line) -> None:
        """The klines that closed since the last ones, of a day at most; they are known now."""
        feed, symbol = self._feed, line.one.symbol
        since = max(self._compared[symbol], feed.clock.now() - DAY_NS)
        call, until = partial(self._call, line), feed.clock.now()
        rows = await klines(feed.client, symbol, "1m", since, until, call, feed.clock.now)
        now = feed.clock.now()
        for _, _, _, ts_open, *after in rows.tolist():
            line.put((now, now, line.next_seq(now), ts_open, *after), now, now)
            self._compared[symbol] = ts_open + MINUTE_NS

    async def _ratios(self, symbol: str, rows: int) -> list[Parsed]:
        ask, period = self._feed.client.fetch_long_short_ratio_history, _PERIOD
        if self._feed.exchange == "bybit":  # ccxt hands it on as it is
            period = "5min"
        told: list[Parsed] = await ask(symbol, period, None, rows)
        return told

    def _hand_out(self, line: Line, found: Iterable[Parsed], past: bool = False) -> None:
        """What is newer than what was handed out; of the `past` what was known by now, available when it was published."""
        now = self._feed.clock.now()
        for told in sorted(found, key=lambda told: int(told["timestamp"])):
            published = int(told["timestamp"]) * _MS + _PUBLISHED_NS
            if past and published > now:
                continue
            available = published if past else now
            if line.stream == OPEN_INTEREST:
                sample = open_interest_row(told, line.one.read, now, available)
            else:
                sample = long_short_row(told, _PERIOD_S, now, available)
            if sample.at_ns > line.newest_ns:
                line.hand_out(sample.row(line.next_seq(now)), sample.at_ns, now)
