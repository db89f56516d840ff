"""A live source: what exchanges send, recorded on a tape before it is handed out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.exchange import (
    VENUES,
    ExchangePartition,
    ExchangeSource,
    Health,
    Position,
    Positions,
    Standing,
    StandingState,
    StreamHealth,
    advanced,
    lacking,
    offered,
    sequenced,
    voids,
    voids_beside,
)
from connectors.members import certain_until, changed, promised
from connectors.tape import Tape, Universe
from connectors.tape.batches import absent, batches, opened
from connectors.tape.records import Items
from events.errors import InputError
from events.feeds import MEMBERS, PRELOAD, TRADES, UNIVERSE
from events.identity import id_of
from events.schema import LEAVE, NEVER
from events.times import MINUTE_NS, SECOND_NS

LiveState = tuple[str, int, dict[str, Positions], dict[str, StandingState], dict[tuple[str, str], StandingState]]
"""(id of the tape, offset after the last frame handed out, where each exchange stands there, how far each instrument has come, and
how far each of its streams beside trades)."""

PARTITION: Final = "live"
_IDLE: Final = timedelta(milliseconds=5)
_LOOK_S: Final = 0.2
_ALL: Final = "*", MEMBERS


def universe_of(
    exchanges: Mapping[str, tuple[str, ...]],
    preloaded: bool = False,
    beside: tuple[str, ...] = (),
    like: tuple[str, ...] = (),
) -> Universe:
    """What a tape of the trades of these symbols, by exchange, may hold; with klines of the time before them, if so asked, with
    these streams beside them, and with instruments that come and go, by the names that stand for all of a kind.

    >>> universe_of({"binance": ("BTC/USDT",), "okx": ("BTC/USDT",)}).sequenced
    frozenset({'binance:BTC/USDT'})
    """
    named = (f"{exchange}:{symbol}" for exchange, symbols in exchanges.items() for symbol in symbols)
    instruments = (*named, *like)
    feeds = (TRADES, *[PRELOAD] * preloaded, *[UNIVERSE, MEMBERS] * bool(like), *beside)
    numbered = frozenset(filter(sequenced, instruments))
    return Universe(instruments, numbered, frozenset(feeds), lacking(beside, instruments))


class LiveSource(FixedPartitionedSource[tuple[str, Any], LiveState]):
    """The frames of exchanges, one partition; each is on the tape before it is handed out.

    A run that was stopped or killed goes on from its offset of the tape: first what was recorded after it, just as it was
    handed out then, and then the exchanges, from the trades after the last one on the tape. So nothing is lost, nothing comes
    twice, and a replay of the tape sees exactly what the live run saw.

    Where the trades of an instrument are not known up to a boundary of the base timeframe, a VOID tells joins of other
    instruments to do without them; it is on the tape too. States of components (`components`) are not: they say how this process
    fared, with the source clock, and no other stream depends on them. What a kill cuts off of them is lost, and a start states
    them anew.

    Args:
        exchange: the exchanges.
        tape: open for writing, of the universe of those exchanges.

    Attributes:
        stopping: set it to end the source; it says no END, so that the run can go on later as if it had never stopped.
        live: whether what was recorded before is out, and the exchanges are connected to.
        standings: how far the trades of each instrument have come since the tape began.
        beside: how far its other streams have, by instrument and stream.
        recorded_ns: up to where each instrument was known when the exchanges were connected to; what follows is new.
        health: the state of each exchange, once live.
        streams: those of its streams beside trades.
        lags: takes (exchange, seconds from a trade to its receipt), of one of the newest trades of each batch that comes live.
    """

    def __init__(self, exchange: ExchangeSource, tape: Tape) -> None:
        self.exchange, self.tape = exchange, tape
        self.stopping, self.live = threading.Event(), threading.Event()
        self.standings: dict[str, Standing] = {}
        self.beside: dict[tuple[str, str], Standing] = {}
        for instrument in self.named:
            self.join(instrument)
        self.recorded_ns: dict[str, int] = {}
        self.health: dict[str, Health] = {}
        self.streams: list[StreamHealth] = []
        self.lags: Callable[[str, float], None] | None = None

    def join(self, instrument: str) -> None:
        """Follow an instrument from now on."""
        self.standings[instrument] = Standing()
        wanted = offered(instrument).intersection(self.exchange.options.beside)
        self.beside |= {(instrument, stream): Standing() for stream in self.exchange.options.beside if stream in wanted}

    def leave(self, instrument: str) -> None:
        """Follow it no longer."""
        self.standings.pop(instrument, None)
        self.recorded_ns.pop(instrument, None)
        self.beside = {at: standing for at, standing in self.beside.items() if at[0] != instrument}

    def followed(self, exchange: str) -> list[str]:
        """The instruments of an exchange that are followed now."""
        return [name for name in self.standings if name.partition(":")[0] == exchange]

    def list_parts(self) -> list[str]:
        """The one partition."""
        return [PARTITION]

    def build_part(self, step_id: str, for_part: str, resume_state: LiveState | None) -> LivePartition:
        """The partition, from the beginning of the tape or from where a run stopped.

        Raises:
            InputError: the state is of another tape.
        """
        if resume_state is not None and resume_state[0] != self.tape.id:
            raise InputError(
                f"The run recorded to another tape than {self.tape.directory}, so it cannot go on with this one. Bring that tape "
                "back, or give the run another directory."
            )
        return LivePartition(self, resume_state or (self.tape.id, self.tape.first, {}, {}, {}))

    @property
    def rows(self) -> int:
        """How many trades were handed out since the tape began."""
        return sum(standing.rows for standing in self.standings.values())

    @property
    def newest_ns(self) -> int:
        """The time of the newest of them, NEVER before the first."""
        return max(standing.newest_ns for standing in self.standings.values())

    def is_new(self, instrument: str, at_ns: int) -> bool:
        """Whether what follows from the trades of an instrument at a time was not known when the exchanges were connected to."""
        return self.live.is_set() and at_ns > self.recorded_ns.get(instrument, NEVER)

    def now_ns(self, exchange: str) -> int:
        """The source clock of an exchange."""
        feed = self.exchange.feeds.get(exchange)
        return time.time_ns() + (0 if feed is None else feed.clock.offset_ns)

    @property
    def instruments(self) -> tuple[str, ...]:
        """The instruments that are named, `exchange:SYMBOL`, and the names that stand for those that come and go."""
        return self._universe.instruments

    @property
    def feeds(self) -> frozenset[str]:
        """The streams."""
        return self._universe.feeds

    @property
    def lacking(self) -> Mapping[str, frozenset[str]]:
        """The streams of the run that an instrument does not have, where there are any."""
        return self._universe.lacking

    @property
    def _universe(self) -> Universe:
        exchange, options = self.exchange, self.exchange.options
        return universe_of(exchange.named, options.preload is not None, options.beside, exchange.likes)

    @property
    def named(self) -> list[str]:
        """Those that are named."""
        return [f"{exchange}:{symbol}" for exchange, symbols in self.exchange.named.items() for symbol in symbols]

    @property
    def total_bytes(self) -> int:
        """0: it has no end."""
        return 0

    @property
    def fingerprint(self) -> str:
        """What has to be the same for a run to go on where another one stopped."""
        return id_of("live", self.tape.id)

    def sequenced(self, instrument: str) -> bool:
        """Whether the trades of an instrument have consecutive ids."""
        return sequenced(instrument)

    def describe(self) -> list[dict[str, Any]]:
        """The exchanges with their symbols, and the tape."""
        symbols = {exchange: list(symbols) for exchange, symbols in self.exchange.exchanges.items()}
        return [{"exchanges": symbols, "live_tape": self.tape.id, "path": str(self.tape.directory)}]


class LivePartition(StatefulSourcePartition[tuple[str, Any], LiveState]):
    """First the tape from an offset on, then the exchanges."""

    def __init__(self, source: LiveSource, state: LiveState) -> None:
        self._source, self._tape = source, source.tape
        _, self._offset, positions, standings, *more = state
        for instrument in standings:
            source.join(instrument)
        source.standings.update({instrument: Standing(*fields) for instrument, fields in standings.items()})
        for beside in more:  # none in states of before there were such streams
            source.beside.update({at: Standing(*fields) for at, fields in beside.items()})
        self._members = source.beside.pop(_ALL, Standing())
        self._positions = {
            exchange: {symbol: Position(*fields) for symbol, fields in positions.get(exchange, {}).items()}
            for exchange in source.exchange.exchanges
        }
        self._recorded: Iterator[tuple[int, Items]] | None = batches(self._tape.read(self._offset))
        self._begun = {f"{exchange}:{symbol}" for exchange, symbols in self._positions.items() for symbol in symbols}
        self._parts: list[ExchangePartition] = []
        self._health: list[tuple[str, Health | StreamHealth]] = []
        self._began_ns: dict[str, int] = {}
        self._looked_s = 0.0
        self._stopped = False
        self._awake: datetime | None = None

    def next_batch(self) -> Items:
        """What was recorded after the offset, some at a time; then what has come from the exchanges; never waits.

        Raises:
            StopIteration: the run is to stop.
            InputError: the tape is damaged, or no exchange is left and trying again would not help.
            RunError: nothing can be recorded, as the disk is full or the like.
        """
        if self._source.stopping.is_set():
            return self._stop()
        self._awake = None
        if self._recorded is not None:
            again = next(self._recorded, None)
            if again is not None:
                self._offset, out = again
                if self._tape.first > 0:
                    out = opened(out, self._begun, PRELOAD in self._source.feeds, self._source.lacking)
                self._advance(out)
                self._note(out)
                return out
            self._connect()
        out = [item for part in self._parts for item in part.next_batch()]
        self._note(out)
        self._lag(out)
        changes, states = changed(out, self._source.exchange.like_of), Items()
        if time.monotonic() - self._looked_s > _LOOK_S:
            self._looked_s = time.monotonic()
            missing = self._voids() + ([] if changes else self._promise())
            self._note(missing)
            out, states = out + missing, self._states()
        out += changes
        if out:
            if not self._tape.end:
                out = [item for name in self._source.named for item in absent(name, self._source.lacking)] + out
            self._offset = self._tape.append(out)
        elif not states:
            self._awake = datetime.now(UTC) + _IDLE
        return out + states

    def next_awake(self) -> datetime | None:
        """A moment later, if there was nothing."""
        return self._awake

    def snapshot(self) -> LiveState:
        """The position after the last frame handed out, which the tape has safe."""
        self._tape.sync()
        live = {part.exchange: part.snapshot() for part in self._parts}
        standings = {instrument: standing.state for instrument, standing in self._source.standings.items()}
        beside = {at: standing.state for at, standing in self._source.beside.items()}
        beside |= {_ALL: self._members.state} if MEMBERS in self._source.feeds else {}
        return self._tape.id, self._offset, live or self._recorded_positions(), standings, beside

    def close(self) -> None:
        """Close the connections."""
        for part in self._parts:
            part.close()

    def _advance(self, items: Items) -> None:
        """Where the exchanges stand after frames of the tape; once live, their partitions know."""
        for instrument, frame in items:
            if frame.name == MEMBERS:
                continue
            exchange, _, symbol = instrument.partition(":")
            positions = self._positions[exchange]
            position = advanced(positions.get(symbol), frame, VENUES[exchange].counts)
            if position is not None:
                positions[symbol] = position
            if frame.name == UNIVERSE and LEAVE in frame.control["kind"]:
                positions.pop(symbol, None)

    def _recorded_positions(self) -> dict[str, Positions]:
        return {
            exchange: {symbol: (at.next_id, at.last_ns, at.recent) for symbol, at in symbols.items()}
            for exchange, symbols in self._positions.items()
        }

    def _note(self, items: Items) -> None:
        for instrument, frame in items:
            if frame.name == UNIVERSE:
                for change in frame.rows["change"].tolist():
                    (self._source.join if change > 0 else self._source.leave)(instrument)
            elif frame.name == TRADES:
                self._source.standings[instrument].passed(frame)
            elif frame.name == MEMBERS:
                self._members.passed(frame)
            elif (instrument, frame.name) in self._source.beside:
                self._source.beside[instrument, frame.name].passed(frame)

    def _lag(self, items: Items) -> None:
        """Tell how late the newest trade of a batch was received."""
        tell = self._source.lags
        if tell is None:
            return
        for instrument, frame in reversed(items):
            if frame.name == TRADES and len(frame.rows):
                received, at = frame.rows[["ts_recv", "available_at"]][-1].item()
                tell(instrument.partition(":")[0], (received - at) / SECOND_NS)
                return

    def _voids(self) -> Items:
        """Of each exchange whose clock is known, and whose trades have all been taken: what is behind a boundary since it began.

        At a boundary before that nothing is said, since what was traded while nobody listened is being fetched. Of an exchange
        that ended before its clock was known, that of this machine is near enough; not so of a server that stands for one.
        """
        found, source = Items(), self._source
        for part in self._parts:
            feed, exchange = part.feed, part.exchange
            if not part.drained or not (feed.timed or (feed.error is not None and feed.address is None)):
                continue
            now_ns = source.now_ns(exchange)
            began_ns = self._began_ns.setdefault(exchange, now_ns)
            boundary_ns = (now_ns - round(feed.options.void_after_s * SECOND_NS)) // MINUTE_NS * MINUTE_NS
            if boundary_ns > began_ns:
                found += voids(source.standings, source.followed(exchange), boundary_ns)
                found += voids_beside(source.beside, source.followed(exchange), boundary_ns)
        return found

    def _promise(self) -> Items:
        """Up to when it is certain who takes part; what is decided after that is stamped accordingly."""
        source = self._source
        if MEMBERS not in source.feeds:
            return []
        clocks = {part.exchange: source.now_ns(part.exchange) for part in self._parts if part.feed.timed}
        until, likes = certain_until(clocks, source.standings, source.exchange.largest), source.exchange.like_of
        out = promised(self._members.watermark_ns, until, likes, source.named, source.standings)
        for _, frame in out:
            for part in self._parts:
                part.decided_ns = frame.watermark
        return out

    def _states(self) -> Items:
        """What has changed of the exchanges."""
        now_ns = self._source.now_ns
        return [item for exchange, health in self._health for item in health.look(now_ns(exchange))]

    def _stop(self) -> Items:
        """The last thing to say, before the end."""
        if self._stopped or not self._health:
            raise StopIteration
        self._stopped = True
        now_ns = self._source.now_ns
        return [item for exchange, health in self._health for item in health.stop(now_ns(exchange))]

    def _connect(self) -> None:
        self._recorded = None
        positions = self._recorded_positions()
        exchange = self._source.exchange
        exchange.seen = {
            at: (standing.newest_ns, standing.watermark_ns) for at, standing in self._source.beside.items()
        }
        for name in exchange.exchanges:
            exchange.exchanges[name] = tuple(key.partition(":")[2] for key in self._source.followed(name))
        self._parts = [exchange.build_part("", name, positions[name]) for name in exchange.list_parts()]
        for part in self._parts:
            part.decided_ns = self._members.watermark_ns
        self._source.health.update({part.exchange: Health(part.feed) for part in self._parts})
        self._source.streams = [
            StreamHealth(part.feed, stream)
            for part in self._parts
            for stream in exchange.options.beside
            if any((instrument, stream) in self._source.beside for instrument in self._source.followed(part.exchange))
        ]
        self._health = list(self._source.health.items())
        self._health += [(health.exchange, health) for health in self._source.streams]
        self._source.recorded_ns.update(
            {instrument: standing.watermark_ns for instrument, standing in self._source.standings.items()}
        )
        self._source.live.set()
