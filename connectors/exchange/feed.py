"""The trades of one exchange: subscribed to, tapped, sequenced, refilled over REST, and put into a queue, on the hub's loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ccxt

from connectors.exchange.beside import Beside, Seen
from connectors.exchange.books import Books
from connectors.exchange.calls import Calls
from connectors.exchange.chooser import Changed, Chooser
from connectors.exchange.client import groups, guard, kind_of, load_markets, make_client
from connectors.exchange.direct import Direct
from connectors.exchange.faults import REFUSALS, not_served, refused, unexpected, words, wrong_clock
from connectors.exchange.frames import Item, Position, Said
from connectors.exchange.health import NOT_YET
from connectors.exchange.heartbeats import SourceClock, heartbeat, proven_until
from connectors.exchange.instrument import Instrument
from connectors.exchange.options import Options
from connectors.exchange.overlap import Overlap
from connectors.exchange.preload import Preload
from connectors.exchange.refill import Refill
from connectors.exchange.sequencer import AVAILABLE_AT, Arrival, Hole, Row, Sequencer
from connectors.exchange.taps import Tap, Trade
from connectors.exchange.universe import Changes, Largest
from connectors.exchange.venues import VENUES, Market
from connectors.retry import Backoff
from events.frames import NO_CONTROL, control
from events.schema import BEACON, HOLE, ID_HOLE, NEVER, RECONNECT
from events.times import SECOND_NS

log = logging.getLogger(__name__)
_TICK_S = 0.2
_REWATCH_S = 0.05  # what comes meanwhile goes through the taps


class Feed:
    """The trades of one exchange.

    Args:
        exchange: the venue's name.
        symbols: in ccxt's spelling.
        positions: by symbol, where to go on; an instrument that is not there begins with the newest trade.
        options: how it behaves.
        address: host and port of a server that stands for the exchange.
        cache: folder of lists of markets.
        seen: how far the streams beside trades had come in an earlier run.
        largest: which markets are followed beside those of `always`; None for no others.
        always: symbols that are followed in any case.

    Attributes:
        queue: what is to be handed out, in order; another thread takes from it.
        error: what ended the feed, None while it runs.
        closed: set when it has ended and its connections are closed.
        connected_ns: when the newest connection was made.
        broken: the connections that do not push, as far as is known: since when, and why.
        timed: whether the venue's clock is known.
        beside: its streams beside trades.
        counts: of connections, failures, refills.
        changes: who is to join and to leave. From then on it waits, without connections once `paused` is set, to be told by
            `follow` to go on with others.
        paused: see there.
        witnessed: while it is a list, what arrives is put into it too.
    """

    def __init__(
        self,
        exchange: str,
        symbols: Sequence[str],
        positions: Mapping[str, Position],
        options: Options,
        address: str | None = None,
        cache: Path | None = None,
        seen: Seen | None = None,
        largest: Largest | None = None,
        always: Sequence[str] = (),
    ) -> None:
        self.exchange, self.options, self.cache = exchange, options, cache
        self.venue, self.address = VENUES[exchange], address
        self.chooser = None if largest is None else Chooser(self, largest, always)
        self.changes: Changes | None = None
        self.paused = threading.Event()
        self.queue: deque[Item] = deque()
        self.error: BaseException | None = None
        self.closed = threading.Event()
        self.counts = {"connected": 0, "lost": 0, "stale": 0, "mute": 0, "holes": 0, "calls": 0, "failed_calls": 0}
        self.clock = SourceClock(time.time_ns)
        self.timed = False
        self._refusals = 0
        self._begin_with(symbols, positions, seen or {})

    def _begin_with(self, symbols: Sequence[str], positions: Mapping[str, Position], seen: Seen) -> None:
        """All that is of these symbols, before anything is connected."""
        self.symbols = tuple(symbols)
        beyond = () if self.chooser is None else (self.chooser.rule.like,)
        self.client = make_client(self.exchange, (*symbols, *beyond), self.address, self.options.keep_alive_s)
        self.connected_ns = NEVER
        self.broken: dict[int, tuple[int, str]] = {}
        self.witnessed: list[tuple[int, Instrument | None, Arrival | None]] | None = None
        self.instruments: dict[str, Instrument] = {}
        self._positions = positions
        self._beacons: list[int] = []  # of each connection, when it pushed last
        self._stamps: list[int] = []  # and the newest time that a trade on it had
        self.calls = Calls(self)
        self.refill = Refill(self)
        self.preload = Preload(self)
        self.beside = Beside(self, seen)
        self.books = Books(self, seen)
        self._resumed = asyncio.Event()

    def follow(self, symbols: Sequence[str], positions: Mapping[str, Position]) -> None:
        """Go on with these symbols, all that was queued being handed out; called by the thread that takes, once it has paused."""
        loop, resumed = self._loop, self._resumed
        self.changes = None
        self.paused.clear()
        self._begin_with(symbols, positions, self.beside.seen_now() | self.books.seen_now())
        loop.call_soon_threadsafe(resumed.set)

    def known_ns(self, symbol: str) -> int:
        """A time that nothing said of an instrument is later than; not before the source clock."""
        one, position, book = self.instruments.get(symbol), self._positions.get(symbol), self.books.books.get(symbol)
        times = [self.clock.now(), NEVER if position is None else position.last_ns]
        times += [NEVER if one is None else max(one.watermark_ns, one.order.last_ns)]
        times += [NEVER if book is None else book.known_ns]
        times += [max(line.newest_ns, line.promised_ns) for line in self.beside.lines.get(symbol, {}).values()]
        return max(times)

    def take(self, most: int) -> list[Item]:
        """Up to `most` items, and as many of books, which are then handed out."""
        queue, out = self.queue, []
        try:
            for _ in range(most):
                out.append(queue.popleft())
        except IndexError:
            pass
        out += self.books.take(most)
        return out

    def room(self, one: Instrument, share: int = 1) -> bool:
        """Whether what waits of an instrument is less than this share of what may."""
        if one.held is not None:
            return len(one.held) < self.options.waiting // share
        return len(self.queue) < self.options.queue // share

    @property
    def pushed_ns(self) -> int:
        """When the newest trade was pushed, NEVER for none."""
        return max(self._beacons, default=NEVER)

    def failures(self) -> list[tuple[int, str]]:
        """Since when connections do not push, and why; any thread may ask."""
        return [failure for place, failure in list(self.broken.items()) if self._beacons[place] <= failure[0]]

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            InputError: nothing that is tried again would work.
        """
        self._loop = asyncio.get_running_loop()
        while True:
            resumed = self._resumed
            try:
                async with asyncio.TaskGroup() as tasks:
                    self.refill.spawn = tasks.create_task
                    await self._start(tasks)
            except BaseExceptionGroup as errors:
                for error in errors.exceptions:
                    if not isinstance(error, Changed):
                        raise error from None
                    self.changes = error.found
            finally:
                await self.books.close()
                await self.beside.close()
                await self.client.close()
            self.paused.set()
            await resumed.wait()

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        client = self.client
        await self._set_clock()  # the shortest of all answers, so that an exchange that gives none is soon known
        chooser, load = self.chooser, partial(self.calls.call, client.load_markets)
        if chooser is None:
            markets = await load_markets(self.exchange, client, self.symbols, self.cache, load)
        else:  # whoever may join is not in the cache
            markets = await load_markets(self.exchange, client, sorted(chooser.always), None, load)
            chooser.gone(client.markets)
            markets |= {symbol: client.markets[symbol] for symbol in self.symbols}
        for symbol in self.symbols:
            self.instruments[symbol] = one = self._instrument(symbol, markets[symbol])
            if one.held is not None:
                tasks.create_task(self.preload.run(one))
        client.on_connected = partial(self._on_connected, client.on_connected)
        guard(client)
        subscribed = [
            tuple(symbol for symbol in group if symbol in markets) for group in groups(self.venue, self.symbols)
        ]
        self._beacons = [NEVER] * (len(subscribed) + 1)
        self._stamps = list(self._beacons)
        for number, group in enumerate(subscribed):
            place = ("spot", "swap").index(kind_of(group[0])) if self.venue.shared else number
            for symbol in group:
                if symbol in self.instruments:
                    self.instruments[symbol].subscription = place
                client.trades[symbol] = Tap(partial(self._take, place))
            self.broken[place] = (self.clock.now(), NOT_YET)
            for part in [(symbol,) for symbol in group] if self.venue.by_symbol else [group]:
                tasks.create_task(self._watch(part, place))
        self.beside.start(tasks, markets)
        self.books.start(tasks, markets)
        tasks.create_task(self._look_after())
        tasks.create_task(self.refill.audits())
        if self.chooser is not None:
            tasks.create_task(self.chooser.run())

    async def _set_clock(self) -> None:
        began = time.time_ns()
        theirs = await self.calls.call(self.client.fetch_time)
        offset_ns = int(theirs) * 1_000_000 - (began + time.time_ns()) // 2
        if abs(offset_ns) > self.options.clock_limit_s(self.address) * SECOND_NS:
            raise wrong_clock(self.exchange, offset_ns)
        self.clock.offset_ns, self.timed = offset_ns, True

    def _instrument(self, symbol: str, market: Market) -> Instrument:
        key = f"{self.exchange}:{symbol}"
        position = self._positions.get(symbol)
        one = Instrument(symbol, key, self.venue.reader(market))
        order = Sequencer if self.venue.counts else Overlap
        one.order = order(key, partial(self.put, one), partial(self.hole, one), most_waiting=self.options.waiting)
        if position is None:
            one.held = None if self.options.preload is None else []
            one.may_begin = not self.options.preload
        elif self.clock.now() - position.last_ns > self.options.refill_s * SECOND_NS:
            one.left = position
        else:
            one.order.resume(*position)
        return one

    def put(self, one: Instrument, what: Row | Said) -> None:
        """Queue a trade of an instrument, or what is said of it."""
        (self.queue if one.held is None else one.held).append((one.key, what))

    def hole(self, one: Instrument, hole: Hole) -> None:
        """State that trades of an instrument are missing for good."""
        self.counts["holes"] += 1
        log.warning("%s: trades are missing, and the exchange does not serve them: %s", one.key, hole)
        if not self.venue.sequenced:  # else whoever takes the rows in sees it in their ids
            reason = RECONNECT if hole.id_from == NEVER else ID_HOLE
            said = control(HOLE, hole.since, hole.since, hole.until, reason, hole.id_from, hole.id_to)
            self.put(one, Said(control=said))

    def _on_connected(self, after: Any, connection: Any, message: Any = None) -> None:
        connection.handle_message = Direct(self, connection)
        after(connection, message)
        self.counts["connected"] += 1
        self.connected_ns = self.clock.now()
        for one in self.instruments.values():
            one.order.interrupted()
            self.refill.start(one, ask=True)

    def _take(self, place: int, trade: Trade) -> None:
        """What the taps call, for every trade that ccxt has parsed."""
        now = self.clock.now()
        one = self.instruments.get(self.venue.named(trade))
        if one is None:
            self.arrived(place, None, None, self.venue.stamp(trade), now)
        else:
            arrival = one.read(trade, now)
            self.arrived(place, one, arrival, arrival.row[AVAILABLE_AT], now)

    def arrived(self, place: int, one: Instrument | None, arrival: Arrival | None, at_ns: int, now: int) -> None:
        """Take a trade of the time `at_ns` that was pushed on a connection; of an instrument that is none of ours only that."""
        silent_ns = now - self._beacons[place]
        self._beacons[place] = now
        self._stamps[place] = max(self._stamps[place], at_ns)
        if self.witnessed is not None:
            self.witnessed.append((place, one, arrival))
        if one is None or arrival is None:
            return
        if not self.venue.counts and silent_ns > self.options.mute_s * SECOND_NS:
            for other in self.instruments.values():  # without ids, only the silence shows that some may be missing
                if other.subscription == place:
                    other.order.interrupted()
        if one.order.next_id is None and one.may_begin:
            self.refill.begin_with(one, arrival)
        one.order.push(arrival, self.room(one))
        if one.task is None and one.order.missing:
            self.refill.start(one)

    async def _watch(self, symbols: tuple[str, ...], place: int) -> None:
        """Hold a subscription. What it gives is in the taps already."""
        watch = self.client.watch_trades if self.venue.by_symbol else self.client.watch_trades_for_symbols
        what = symbols[0] if self.venue.by_symbol else list(symbols)
        backoff = Backoff(0.05, 5.0)
        task = asyncio.current_task()
        while True:
            try:
                await watch(what, params=dict(self.venue.params))  # ccxt writes into it
                backoff.reset()
                await asyncio.sleep(_REWATCH_S)
                continue
            except (ccxt.NetworkError, OSError) as error:  # the latter where a connection is gone as it subscribes
                failure: BaseException = error
            except ccxt.BaseError as error:
                raise unexpected(self.exchange, error) from None
            except asyncio.CancelledError as error:
                if task is None or task.cancelling():
                    raise
                failure = error  # ccxt cancels what waits on a connection that it closes
            self.counts["lost"] += 1
            self.broken[place] = (self.clock.now(), f"connection lost: {words(failure)}"[:200])
            log.info("%s: connection lost: %r", self.exchange, failure)
            self._refusals = self._refusals + 1 if refused(failure) else 0
            if self._refusals >= REFUSALS:
                raise not_served(self.exchange)
            await asyncio.sleep(backoff.next())

    async def _look_after(self) -> None:
        """Send heartbeats, and end connections that are dead."""
        while True:
            await asyncio.sleep(_TICK_S)
            self._beat()
            self.beside.beat()
            self._mend()
            self.books.look()
            now_ms = self.client.milliseconds()
            for connection in list(self.client.clients.values()):
                if not connection.isConnected or connection.error is not None:
                    continue
                newest_ms = connection.last_message_at or connection.connectionEstablished
                if now_ms - newest_ms > self.options.stale_s * 1000:
                    self.counts["stale"] += 1
                    connection.on_error(ccxt.RequestTimeout(f"no message for {self.options.stale_s:g} s"))

    def _beat(self) -> None:
        grid_ns = round(self.options.grid_s * SECOND_NS)
        for one in self.instruments.values():
            if one.order.next_id is None or one.order.missing or one.task is not None:
                continue
            proven = proven_until(self.reached_ns(one), one.audited_ns if self.venue.counts else None)
            since = one.watermark_ns
            at = heartbeat(proven, since, grid_ns)
            if at is not None:
                one.promised_ns = at
                said = NO_CONTROL if self.venue.counts else control(BEACON, since, since, at)
                self.put(one, Said(at, said))

    def _mend(self) -> None:
        """Forget a failure once its connection has pushed trades, or REST knows of none that it should have pushed."""
        for place, (since_ns, _) in list(self.broken.items()):
            quiet = [one.quiet_ns for one in self.instruments.values() if one.subscription == place]
            answered = since_ns < self.connected_ns < min(quiet, default=NEVER)
            if answered or self._beacons[place] > since_ns:
                del self.broken[place]

    def reached_ns(self, one: Instrument) -> int:
        """Up to when its connection has pushed, in the venue's own time: its clock may be off, or it may be behind."""
        return min(self._beacons[one.subscription], self._stamps[one.subscription])

    def silent(self, one: Instrument) -> bool:
        """Whether its connection has pushed nothing for so long that it may be mute."""
        return self.clock.now() - self._beacons[one.subscription] > self.options.mute_s * SECOND_NS

    def suspect(self, one: Instrument) -> None:
        """REST had trades that were not pushed; end the connection if it has pushed nothing else either."""
        if self.silent(one):
            self.counts["mute"] += 1
            for connection in list(self.client.clients.values()):
                connection.on_error(ccxt.NetworkError("trades were made that it did not push"))
