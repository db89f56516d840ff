"""`tidewax probe`: what is relied on and only a live exchange can show, checked by a few calls and some seconds of stream."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import ccxt
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from connectors.exchange.client import groups, guard, kind_of, load_markets, make_client
from connectors.exchange.faults import REFUSALS, not_served, reason, refused, unreachable
from connectors.exchange.pagers import PAGERS, Asked, Page
from connectors.exchange.sequencer import AVAILABLE_AT, Arrival
from connectors.exchange.taps import NotATrade, Tap, Trade, TradeReader
from connectors.exchange.venues import VENUES
from connectors.retry import Backoff
from events.times import SECOND_NS
from flows.doctor_exchanges import asked
from flows.probe_checks import Checked, Heard, Verdict, judged

_BACK_IDS: Final = 20_000
_BACK_NS: Final = 6 * 3600 * SECOND_NS
_PAGES: Final = 20
_CONTACT_S: Final = 5.0
_CAUGHT_UP_S: Final = 10.0
_WEIGHT: Final = {"spot": 4, "swap": 20}
"""What a page of trades costs of Binance's budget a minute, at most."""


class Probe:
    """One exchange, probed.

    Args:
        exchange: its name.
        symbols: to be listened to; those that trade all the time, if none are given.
        address: of a server that stands for it.
        seconds: how long to listen.

    Raises:
        InputError: there is no such exchange.
    """

    def __init__(self, exchange: str, symbols: Sequence[str], address: str | None, seconds: float) -> None:
        self.exchange, self.seconds = exchange, seconds
        busy = VENUES[exchange].busy.values() if exchange in VENUES else ()
        self.symbols = tuple(dict.fromkeys(symbols)) or tuple(busy)
        self._keep_alive_s = min(15.0, max(0.5, seconds / 8))  # three of them unanswered have to fit in
        self.client = make_client(exchange, self.symbols, address, self._keep_alive_s)
        self.venue = VENUES[exchange]
        self._ask = partial(asked, exchange, self.client)
        self.heard: dict[str, Heard] = {}
        self._readers: dict[str, TradeReader] = {}
        self._failures: list[BaseException] = []
        self._refused = 0
        self._stop = asyncio.Event()

    async def run(self) -> list[Checked]:
        """Probe it; Ctrl-C ends the listening, and what was seen by then is judged.

        Raises:
            InputError: it does not answer, does not serve us, or does not have a symbol.
        """
        try:
            await self._contact()
            markets = await load_markets(
                self.exchange, self.client, self.symbols, None, partial(self._ask, self.client.load_markets)
            )
            for symbol in self.symbols:
                self.heard[symbol] = Heard(symbol)
                self._readers[symbol] = self.venue.reader(markets[symbol])
            weights = [await self._weight(symbol) for symbol in self._first_of_each_kind()] if self._weighs else []
            await self._listen()
            pongs = self._pongs()
            for heard in self.heard.values():
                await self._read(heard)
        finally:
            with suppress(Exception):
                await self.client.close()
        found = [check for heard in self.heard.values() for check in judged(self.venue, heard)]
        return [*found, pongs, *self._subscription(), *weights]

    async def _contact(self) -> None:
        """The shortest of all answers, so that an exchange that gives none is soon known."""
        try:
            async with asyncio.timeout(_CONTACT_S):
                await self._ask(self.client.fetch_time)
        except TimeoutError as error:
            raise unreachable(self.exchange, self.client, _CONTACT_S, error) from None

    def _first_of_each_kind(self) -> list[str]:
        return list({kind_of(symbol): symbol for symbol in reversed(self.symbols)}.values())

    # --- the stream

    async def _listen(self) -> None:
        guard(self.client)
        subscribed_ns = self.client.milliseconds() * 1_000_000
        tasks = []
        for group in groups(self.venue, self._filled(), busy=False):
            for symbol in group:
                self.client.trades[symbol] = Tap(self._take)
            for part in [(symbol,) for symbol in group] if self.venue.by_symbol else [group]:
                tasks.append(asyncio.create_task(self._watch(part)))
        for heard in self.heard.values():
            heard.subscribed_ns = subscribed_ns
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._stop.set)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), self.seconds)
        loop.remove_signal_handler(signal.SIGINT)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._refused >= REFUSALS:
            raise not_served(self.exchange)

    def _filled(self) -> list[str]:
        """The symbols, and others of the same type up to what one subscription may have."""
        if self.venue.by_symbol:
            return list(self.symbols)
        out = list(self.symbols)
        for kind in {kind_of(symbol) for symbol in self.symbols}:
            listed = [symbol for symbol in self.symbols if kind_of(symbol) == kind]
            others = [
                name
                for name, market in self.client.markets.items()
                if kind_of(name) == kind and market[kind] and market.get("active") is not False and name not in listed
            ]
            out += others[: max(0, self.venue.chunk - len(listed))]
        return out

    def _take(self, trade: Trade) -> None:
        heard = self.heard.get(self.venue.named(trade))
        if heard is None:
            return  # of those that only fill the subscription
        try:
            heard.pushed.append(self._readers[heard.symbol](trade, 0))
        except NotATrade as error:
            self._failures.append(error)

    async def _watch(self, symbols: tuple[str, ...]) -> None:
        watch = self.client.watch_trades if self.venue.by_symbol else self.client.watch_trades_for_symbols
        what = symbols[0] if self.venue.by_symbol else list(symbols)
        backoff, task = Backoff(0.1, 5.0), asyncio.current_task()
        while True:
            try:
                await watch(what, params=dict(self.venue.params))
                backoff.reset()
                await asyncio.sleep(0.05)
                continue
            except asyncio.CancelledError as error:
                if task is None or task.cancelling():
                    raise
                failure: BaseException = error  # ccxt cancels what waits on a connection that it closes
            except ccxt.BaseError as error:
                failure = error
            self._failures.append(failure)
            self._refused += refused(failure)
            if self._refused >= REFUSALS:
                self._stop.set()
            await asyncio.sleep(backoff.next())

    # --- REST

    async def _page(self, symbol: str, anchor: int | None, anchor_ns: int) -> Page:
        given = Asked(self.client, symbol, self._readers[symbol], anchor, anchor_ns, 0)
        return await self._ask(lambda: PAGERS[self.exchange](given))

    async def _read(self, heard: Heard) -> None:
        """What REST has of the time in which the stream was heard, and what it has of long ago."""
        if heard.pushed and self.venue.counts:
            heard.page = await self._since(heard)
        else:
            heard.page = (await self._page(heard.symbol, None, 0)).rows
        if self.venue.counts and heard.page:
            await self._long_ago(heard, heard.page[-1])

    async def _since(self, heard: Heard) -> list[Arrival]:
        """From the first trade that was pushed on to the last."""
        found: dict[int, Arrival] = {}
        first = min(heard.pushed, key=lambda arrival: arrival.first)
        newest, until_s = max(arrival.last for arrival in heard.pushed), time.monotonic() + _CAUGHT_UP_S
        anchor, anchor_ns = first.first, first.row[AVAILABLE_AT]
        for _ in range(_PAGES):
            page = await self._page(heard.symbol, anchor, anchor_ns)
            found.update((arrival.last, arrival) for arrival in page.rows if arrival.last >= first.first)
            if page.rows:
                anchor, anchor_ns = page.rows[-1].last, page.rows[-1].row[AVAILABLE_AT]
            if anchor >= newest or time.monotonic() > until_s:
                break
            if not page.full:
                await asyncio.sleep(1.0)
        return [found[number] for number in sorted(found)]

    async def _long_ago(self, heard: Heard, newest: Arrival) -> None:
        """Ask for a trade of long ago: by its id, or by its time where that is what REST takes."""
        if self.exchange == "kraken":
            heard.asked_ns = newest.row[AVAILABLE_AT] - _BACK_NS
            heard.older = (await self._page(heard.symbol, 1, heard.asked_ns)).rows
        elif newest.last > _BACK_IDS:
            heard.asked_id = newest.last - _BACK_IDS
            heard.older = (await self._page(heard.symbol, heard.asked_id, 0)).rows

    # --- the connection

    def _pongs(self) -> Checked:
        expected = f"pings are answered, here every {self._keep_alive_s:g} s"
        unanswered = [error for error in self._failures if "ping-pong" in str(error)]
        if unanswered:
            return Checked("pings", expected, reason(unanswered[0]), "differs")
        open_ms = [
            (connection.lastPong or 0) - (connection.connectionEstablished or 0)
            for connection in self.client.clients.values()
        ]
        answered = any(after_ms > 1_500 * self._keep_alive_s for after_ms in open_ms)
        seen = "answered" if answered else f"no connection was open for {2 * self._keep_alive_s:g} s"
        return Checked("pings", expected, seen, "confirmed" if answered else "not seen in time")

    def _subscription(self) -> list[Checked]:
        """Whether as many symbols as one subscription has are taken, and what else the connection said."""
        said = [error for error in self._failures if not isinstance(error, ccxt.NetworkError | asyncio.CancelledError)]
        many = len(self._filled())
        expected = (
            "symbol by symbol" if self.venue.by_symbol else f"up to {self.venue.chunk} symbols in one subscription"
        )
        if said:
            return [Checked("subscription", expected, reason(said[0])[:200], "differs")]
        heard = any(heard.pushed for heard in self.heard.values())
        verdict: Verdict = "confirmed" if heard else "not seen in time"
        return [Checked("subscription", expected, f"{many} symbols, {len(self._failures)} connections lost", verdict)]

    @property
    def _weighs(self) -> bool:
        return self.exchange == "binance"

    async def _weight(self, symbol: str) -> Checked:
        """What a page of trades costs, by what the exchange says that we have used before and after."""
        used = []
        for _ in range(2):
            page = await self._page(symbol, None, 0)
            anchor = page.rows[-1].last if page.rows else 1
            await self._page(symbol, max(1, anchor - 1_000), 0)
            headers = {name.lower(): value for name, value in (self.client.last_response_headers or {}).items()}
            used.append(int(headers.get("x-mbx-used-weight-1m", 0)))
        most = _WEIGHT[kind_of(symbol)]
        cost = (used[1] - used[0]) / 2
        expected = f"a page of trades costs {most} or less of the budget of a minute"
        if cost <= 0:  # another minute began, or it does not count
            return Checked(f"{symbol}: weight", expected, "it does not say", "not seen in time")
        return Checked(f"{symbol}: weight", expected, f"{cost:g}", "confirmed" if cost <= most else "differs")


def print_checked(found: Sequence[Checked], console: Console) -> bool:
    """The table; whether nothing differs."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("check", "expected", "seen", "verdict"):
        table.add_column(column, overflow="fold")
    for checked in found:
        table.add_row(*checked)
    console.print(table)
    differs = sum(checked.verdict == "differs" for checked in found)
    confirmed = sum(checked.verdict == "confirmed" for checked in found)
    console.print(f"{confirmed} of {len(found)} confirmed, {differs} differ", soft_wrap=True)
    return not differs
