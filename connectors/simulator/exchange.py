"""A local exchange: Binance and Kraken on one port of this machine, trading a market that is known exactly."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from aiohttp import web

from connectors.simulator.admin import Admin
from connectors.simulator.binance import Binance
from connectors.simulator.capture import read_capture
from connectors.simulator.context import PATH, Context
from connectors.simulator.faults import EVENTS
from connectors.simulator.kraken import Kraken
from connectors.simulator.listings import DEFAULT_INSTRUMENTS, VENUES
from connectors.simulator.recording import read_recording
from connectors.simulator.venue import Venue
from connectors.simulator.world import World, model_tapes
from events.errors import SettingsError
from events.frames import Array
from events.times import DAY_NS, MINUTE_NS, SECOND_NS

_STEP_S: Final = 0.01
_CALL_S: Final = 60.0
_VENUES: Final[dict[str, type[Venue]]] = {"binance": Binance, "kraken": Kraken}

T = TypeVar("T")


class Exchange:
    """A server in a thread of its own; every method may be called from any thread.

    >>> with Exchange(["binance:BTC/USDT"], speed=0, activity=0, start_ns=0) as exchange:
    ...     exchange.trade("binance:BTC/USDT", 60_000.0, 0.5, -1)
    ...     exchange.traded("binance:BTC/USDT")[["trade_id", "price", "side"]].tolist()
    1000
    [(1000, 60000.0, -1)]

    Attributes:
        venues: those that have instruments here, by name; `venues["binance"].counts` tells what was requested, and
            `venues["binance"].faults.happened` what faults did.
        synthetic: whether the market is made by the model, not a recording.
    """

    def __init__(
        self,
        instruments: Sequence[str] = DEFAULT_INSTRUMENTS,
        *,
        seed: int = 1,
        start_ns: int | None = None,
        speed: float = 1.0,
        activity: float = 1.0,
        history_days: float = 10.0,
        funding_minutes: float = 480.0,
        recording: Path | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        """Make it; `start` opens the port.

        Args:
            instruments: such as `binance:BTC/USDT`, `binance:BTC/USDT:USDT`, `kraken:BTC/USD`.
            seed: of the market and of the faults. Same seed, start and history: the same market.
            start_ns: the time at which the market begins to trade; now, if not given.
            speed: how many seconds of the market a second has; with 0 time stands still until `advance`.
            activity: multiplies how many trades there are; with 0 only those of `trade` and `burst`.
            history_days: what REST knows from before the start.
            funding_minutes: the length of a funding interval of perpetuals.
            recording: a Parquet file of trades, or a captured session of Binance (`.gz`) with its book, instead of the model;
                then `instruments` and `activity` mean nothing.
            port: where to listen; 0 is any free one.
            host: on which address; 0.0.0.0 is every one of the machine.

        Raises:
            SettingsError: an instrument that cannot be simulated, or a number out of range.
            InputError: a recording that cannot be served.
        """
        for name, value in (("speed", speed), ("activity", activity), ("history_days", history_days)):
            if not 0 <= value < 1e6:
                raise SettingsError(f"{name} is {value:g}, it must be a number from 0 on")
        if not funding_minutes > 0:
            raise SettingsError(f"funding_minutes is {funding_minutes:g}, it must be above 0")
        start_ns = time.time_ns() if start_ns is None else start_ns
        history_ns = min(round(history_days * DAY_NS), start_ns)
        if recording is not None:
            read = read_capture if recording.suffix == ".gz" else read_recording
            tapes: Any = read(recording, start_ns)
        else:
            tapes = model_tapes(tuple(instruments), seed, start_ns - history_ns, activity)
        self._world = World.of(tapes, seed, start_ns, history_ns, round(funding_minutes * MINUTE_NS))
        self._speed, self._port, self._host, self.synthetic = speed, port, host, recording is None
        self._changed = asyncio.Event()
        made = {name: venue(self._world, self._changed.set) for name, venue in _VENUES.items()}
        self.venues: Mapping[str, Venue] = {name: venue for name, venue in made.items() if venue.ledgers}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._finish: asyncio.Event | None = None

    # --- life

    def start(self) -> Self:
        """Open the port, and let the market trade.

        Raises:
            SettingsError: the port cannot be opened.
        """
        self._thread = threading.Thread(target=self._run, name="local-exchange", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            self.stop()
            raise SettingsError(f"port {self._port} cannot be opened ({self._failed}): choose another one")
        return self

    def stop(self) -> None:
        """Drop all connections and close the port; returns when thread and sockets are gone."""
        if self._thread is None:
            return
        if self._loop is not None and self._finish is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._finish.set)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def context(self) -> str:
        """The address of the figures of fear and greed."""
        return self.url + PATH

    def config(self, client: str) -> dict[str, Any]:
        """What `ccxt.pro`'s class of that id is constructed with, to talk to this server alone.

        Raises:
            SettingsError: there is no such client, or its venue has no instruments here.
        """
        name = next((name for name, ids in VENUES.items() if client in ids), "")
        if name not in self.venues:
            raise SettingsError(f"no instruments of {client!r} are served; venues here: {', '.join(self.venues)}")
        return self.venues[name].config(self.url, client)

    # --- the market

    @property
    def now_ns(self) -> int:
        """The time of the market."""
        return self._world.now_ns

    @property
    def instruments(self) -> tuple[str, ...]:
        """What is listed."""
        return tuple(self._world.ledgers)

    def traded(self, instrument: str, from_id: int | None = None) -> Array:
        """TRADE rows of all that traded since the start, or from an id on: the truth, whatever clients were told."""
        return self._call(lambda: self._world.ledger(instrument).traded(from_id))

    def trade(self, instrument: str, price: float, qty: float, side: int) -> int:
        """Trade once, now; the id of the trade.

        Raises:
            SettingsError: not listed, or not a trade.
        """
        return self._call(lambda: int(self._published(self._world.trade(instrument, price, qty, side), instrument)[0]))

    def burst(self, instrument: str, count: int) -> tuple[int, int]:
        """Trade so many times at once, now; first and last id.

        Raises:
            SettingsError: not listed.
        """
        ids = self._call(lambda: self._published(self._world.burst(instrument, count), instrument))
        return int(ids[0]), int(ids[-1])

    def advance(self, seconds: float) -> None:
        """Let so many seconds of the market pass at once, with what trades in them."""
        self._call(lambda: self._advance(self._world.now_ns + round(seconds * SECOND_NS)))

    # --- faults

    def fault(self, name: str, value: float | None = None, venue: str | None = None) -> None:
        """Turn a knob of `faults.KNOBS`, or let one of `faults.EVENTS` happen; at every venue, if none is named.

        Args:
            name: of the fault.
            value: as the knob says; of `burst`, how many trades (1,000) of the venue's first instrument.
            venue: where.

        Raises:
            SettingsError: there is no such fault or venue.
        """
        self._call(lambda: self._fault(name, value, venue))

    def clear(self, name: str | None = None, venue: str | None = None) -> None:
        """Turn one knob back, or all."""

        def clear() -> None:
            for one in self._chosen(venue):
                one.faults.clear(name)

        self._call(clear)

    # --- waiting

    def subscribers(self, instrument: str) -> int:
        """How many connections have a stream of its trades."""
        return self._call(lambda: self._subscribers(instrument))

    def wait_subscribed(self, instrument: str, count: int = 1, timeout_s: float = 60.0) -> None:
        """Return as soon as so many connections have a stream of its trades.

        Raises:
            TimeoutError: they did not in that time.
        """
        self._wait(lambda: self._subscribers(instrument) >= count, timeout_s)

    def wait_connections(self, count: int, venue: str | None = None, timeout_s: float = 60.0) -> None:
        """Return as soon as exactly so many connections are open.

        Raises:
            TimeoutError: they were not in that time.
        """
        chosen = self._chosen(venue)
        self._wait(lambda: sum(len(one.sessions) for one in chosen) == count, timeout_s)

    # --- inside the thread

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failed = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        app = web.Application()
        for venue in self.venues.values():
            venue.add_routes(app.router)
        Context(self._world).add_routes(app.router)
        Admin(self._world, self.venues, self._fault, self._advance, self._published).add_routes(app.router)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
            self._port = runner.addresses[0][1]
            self._loop, self._finish = asyncio.get_running_loop(), asyncio.Event()
            driver = asyncio.create_task(self._drive()) if self._speed else None
            self._ready.set()
            finished = asyncio.create_task(self._finish.wait())
            await asyncio.wait([finished, *([driver] if driver else [])], return_when=asyncio.FIRST_COMPLETED)
            if driver and not driver.cancel():
                driver.result()  # it never ends by itself: raise what it failed with
        finally:
            for venue in self.venues.values():
                for session in venue.sessions:
                    session.abort()
            await runner.cleanup()

    async def _drive(self) -> None:
        began, began_ns = time.monotonic(), self._world.now_ns
        while True:
            await asyncio.sleep(_STEP_S)
            self._advance(began_ns + round((time.monotonic() - began) * self._speed * SECOND_NS))

    def _advance(self, until_ns: int) -> None:
        self._publish(self._world.advance(until_ns))

    def _published(self, rows: Array, instrument: str) -> Array:
        """Tell of rows that just traded; their ids."""
        self._publish({self._world.ledger(instrument).listing.instrument: rows})
        ids: Array = rows["trade_id"]
        return ids

    def _publish(self, fresh: Mapping[str, Array]) -> None:
        for venue in self.venues.values():
            venue.publish(fresh)

    def _fault(self, name: str, value: float | None, venue: str | None) -> None:
        for one in self._chosen(venue):
            if name not in EVENTS:
                one.faults.set(name, value)
            elif name == "burst":
                instrument = next(iter(one.ledgers))
                self._published(self._world.burst(instrument, round(value or 1_000)), instrument)
                one.faults.happened[name] += 1
            else:
                one.faults.happened[name] += len(one.sessions)
                for session in one.sessions:
                    session.abort() if name == "reset" else session.close_soon()

    def _chosen(self, venue: str | None) -> list[Venue]:
        if venue is not None and venue not in self.venues:
            raise SettingsError(f"there is no venue {venue!r} here; there are {', '.join(self.venues)}")
        return [one for name, one in self.venues.items() if venue in (None, name)]

    def _subscribers(self, instrument: str) -> int:
        ledger = self._world.ledger(instrument)
        venue = self.venues[ledger.listing.venue]
        streams = set(venue.streams_of(ledger))
        return sum(not streams.isdisjoint(session.streams) for session in venue.sessions)

    def _wait(self, done: Callable[[], bool], timeout_s: float) -> None:
        async def waited() -> None:
            async with asyncio.timeout(timeout_s):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()

        loop = self._running()
        asyncio.run_coroutine_threadsafe(waited(), loop).result()

    def _call(self, what: Callable[[], T]) -> T:
        if self._thread is None:
            return what()

        async def called() -> T:
            return what()

        loop = self._running()
        return asyncio.run_coroutine_threadsafe(called(), loop).result(_CALL_S)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._thread is None:
            raise RuntimeError("the exchange is not running: call start() first")
        return self._loop
