"""What `tidewax doctor` asks an exchange: whether it answers, how far our clocks are apart, its symbols, a websocket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import ccxt

from connectors.exchange import VENUES, Options
from connectors.exchange.client import groups, kind_of, load_markets, make_client
from connectors.exchange.context import asked as figures_at
from connectors.exchange.context import opened
from connectors.exchange.faults import AGAIN, REFUSALS, host, not_served, reason, refused, unexpected, wrong_clock
from connectors.retry import Backoff
from events.errors import InputError
from events.times import SECOND_NS, iso
from flows.doctor_checks import Finding, State

_T = TypeVar("_T")

NO_ANSWER: Final = "no answer"
_NETWORK: Final = "look at the network, at proxies and firewalls"
_MS_NS: Final = 1_000_000
_SAMPLES: Final = 3
_CLOCK_WARNING_NS: Final = SECOND_NS


class Offset(NamedTuple):
    """How far the clock of an exchange is ahead of ours, by how much that may be wrong, and how long the answer took."""

    ahead_ns: int
    within_ns: int
    took_ns: int

    @classmethod
    def of(cls, asked_ns: int, answered_ns: int, theirs_ms: int) -> Offset:
        """Of one answer: its time was told somewhere between question and answer. Some exchanges tell whole seconds.

        >>> Offset.of(1_000_000_000, 1_040_000_000, 1_023)
        Offset(ahead_ns=3500000, within_ns=20500000, took_ns=40000000)
        >>> Offset.of(1_000_000_000, 1_040_000_000, 1_000)
        Offset(ahead_ns=480000000, within_ns=520000000, took_ns=40000000)
        """
        unit_ns = SECOND_NS if theirs_ms % 1000 == 0 else _MS_NS
        took_ns = answered_ns - asked_ns
        told_ns = theirs_ms * _MS_NS + unit_ns // 2
        return cls(told_ns - asked_ns - took_ns // 2, (took_ns + unit_ns) // 2, took_ns)


class Patient:
    """One exchange under examination.

    Args:
        exchange: its name.
        symbols: that a run is to be of; one that is always there, if none are given.
        options: of live runs.
        address: of a server that stands for it.
    """

    def __init__(self, exchange: str, symbols: Sequence[str], options: Options, address: str | None) -> None:
        self.exchange, self.options, self.address = exchange, options, address
        self.venue = VENUES[exchange]
        self.symbols = tuple(dict.fromkeys(symbols)) or (self.venue.busy["spot"],)
        self.client = make_client(exchange, self.symbols, address, options.keep_alive_s)
        self.findings: list[Finding] = []
        self._ask = partial(asked, exchange, self.client)

    async def examine(self, seconds: float) -> list[Finding]:
        """What was found within so many seconds."""
        stage, stages = "", {"REST": self._clock, "symbols": self._symbols, "websocket": self._websocket}
        try:
            async with asyncio.timeout(seconds):
                for name, look in stages.items():
                    stage = name
                    await look()
        except InputError as error:
            self._say(stage, "wrong", str(error))
        except TimeoutError:
            self._say(stage, "wrong", f"{NO_ANSWER} within {seconds:g} s; tried {host(self.client)}", _NETWORK)
        finally:
            with suppress(Exception):
                await asyncio.wait_for(self.client.close(), 1.0)
        return self.findings

    def _say(self, what: str, state: State, found: str, remedy: str = "") -> None:
        self.findings.append(Finding(f"{self.exchange} {what}", state, found, remedy))

    async def _clock(self) -> None:
        """The narrowest of some answers says how far the clocks are apart."""
        self.client.enableRateLimit = False  # waiting in between would look like a slow answer
        offsets = []
        for _ in range(_SAMPLES):
            asked_ns, answer, answered_ns = await self._ask(self._timed)
            offsets.append(Offset.of(asked_ns, answered_ns, int(answer)))
            await asyncio.sleep(self.client.rateLimit / 1000)
        self.client.enableRateLimit = True
        best = min(offsets, key=lambda offset: offset.took_ns)
        where = f"at {self.address}" if self.address else "over REST"
        self._say("REST", "ok", f"answers {where} in {best.took_ns / _MS_NS:,.0f} ms")
        limit_s = self.options.clock_limit_s(self.address)
        how = "behind" if best.ahead_ns > 0 else "ahead of"
        apart_s, within_s = abs(best.ahead_ns) / SECOND_NS, best.within_ns / SECOND_NS
        said = f"ours is {apart_s:.3f} s {how} its, give or take {within_s:.3f} s"
        if apart_s > limit_s:
            self._say("clock", "wrong", str(wrong_clock(self.exchange, best.ahead_ns)))
        elif limit_s < float("inf") and apart_s - within_s > min(_CLOCK_WARNING_NS / SECOND_NS, limit_s):
            self._say("clock", "warning", said, "set it, best by NTP")
        else:
            self._say("clock", "ok", said)

    async def _timed(self) -> tuple[int, Any, int]:
        asked_ns = time.time_ns()
        return asked_ns, await self.client.fetch_time(), time.time_ns()

    async def _symbols(self) -> None:
        """Raises `InputError` where one is not there, and names those that are not traded at the moment."""
        load = partial(self._ask, self.client.load_markets)
        markets = await load_markets(self.exchange, self.client, self.symbols, None, load)
        idle = [symbol for symbol in self.symbols if markets[symbol].get("active") is False]
        if idle:
            self._say("symbols", "warning", f"{', '.join(idle)}: not traded at the moment", "leave them out, or wait")
        else:
            self._say("symbols", "ok", f"{', '.join(self.symbols)}; {len(self.client.markets):,} markets are listed")

    async def _websocket(self) -> None:
        """Subscribe as a live run does, once per market type, until the connection stands."""
        for kind in sorted({kind_of(symbol) for symbol in self.symbols}):
            listed = [symbol for symbol in self.symbols if kind_of(symbol) == kind]
            began_s = time.monotonic()
            group = groups(self.venue, listed, busy=False)[0]
            await self._ask(partial(self._connected, group))
            took_ms = 1000 * (time.monotonic() - began_s)
            self._say(f"websocket, {kind}", "ok", f"connects in {took_ms:,.0f} ms")

    async def _connected(self, symbols: Sequence[str]) -> None:
        connected, after = asyncio.Event(), self.client.on_connected

        def noted(connection: Any, message: Any = None) -> None:
            after(connection, message)
            connected.set()

        self.client.on_connected = noted
        watch = self.client.watch_trades if self.venue.by_symbol else self.client.watch_trades_for_symbols
        what = symbols[0] if self.venue.by_symbol else list(symbols)
        tasks = [
            asyncio.ensure_future(watch(what, params=dict(self.venue.params))),
            asyncio.create_task(connected.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.cancelled():  # ccxt cancels what waits on a connection that it closes
                    raise ccxt.NetworkError(f"{self.exchange}: the connection was closed")
                task.result()
        finally:
            self.client.on_connected = after
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def context_figures(address: str, seconds: float) -> list[Finding]:
    """Whether figures of fear and greed are served at an address."""
    try:
        async with opened(seconds) as session:
            newest = (await figures_at(session, address))[-1]
    except InputError as error:
        return [Finding("fear and greed", "wrong", str(error))]
    return [Finding("fear and greed", "ok", f"{newest.value:g} at {iso(newest.at_ns)}")]


async def asked(exchange: str, client: Any, function: Callable[[], Awaitable[_T]]) -> _T:
    """What the function, which asks an exchange by its client, gives; at the third try at the latest.

    Raises:
        InputError: in a sentence, why it cannot.
    """
    backoff, refusals = Backoff(0.2, 1.0), 0
    for left in reversed(range(REFUSALS)):
        try:
            return await function()
        except AGAIN as error:
            refusals += refused(error, client.last_status)
            if refusals == REFUSALS:
                raise not_served(exchange) from None
            if not left:
                raise InputError(f"{NO_ANSWER}; tried {host(client)}. Last: {reason(error)}: {_NETWORK}") from None
        except InputError:
            raise
        except Exception as error:
            if refused(error, client.last_status):
                raise not_served(exchange) from None
            raise unexpected(exchange, error) from None
        await asyncio.sleep(backoff.next())
    raise AssertionError("the last try has returned or raised")
