"""A live source: what exchanges send, recorded on a tape before it is handed out."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.exchange import VENUES, ExchangePartition, ExchangeSource, Position, Positions, advanced, sequenced
from connectors.tape import Tape, Universe
from connectors.tape.batches import batches
from connectors.tape.records import Items
from events.errors import InputError
from events.feeds import TRADES
from events.identity import id_of
from events.schema import NEVER

LiveState = tuple[str, int, dict[str, Positions]]
"""(id of the tape, offset after the last frame handed out, where each exchange stands there)."""

PARTITION: Final = "live"
_IDLE: Final = timedelta(milliseconds=5)


def universe_of(exchanges: Mapping[str, tuple[str, ...]]) -> Universe:
    """What a tape of the trades of these symbols, by exchange, may hold.

    >>> universe_of({"binance": ("BTC/USDT",), "okx": ("BTC/USDT",)}).sequenced
    frozenset({'binance:BTC/USDT'})
    """
    instruments = tuple(f"{exchange}:{symbol}" for exchange, symbols in exchanges.items() for symbol in symbols)
    return Universe(instruments, frozenset(filter(sequenced, instruments)), frozenset({TRADES}))


class LiveSource(FixedPartitionedSource[tuple[str, Any], LiveState]):
    """The frames of exchanges, one partition; each is on the tape before it is handed out.

    A run that was stopped or killed goes on from its offset of the tape: first what was recorded after it, just as it was
    handed out then, and then the exchanges, from the trades after the last one on the tape. So nothing is lost, nothing comes
    twice, and a replay of the tape sees exactly what the live run saw.

    Args:
        exchange: the exchanges.
        tape: open for writing, of the universe of those exchanges.

    Attributes:
        stopping: set it to end the source; it says no END, so that the run can go on later as if it had never stopped.
        live: whether what was recorded before is out, and the exchanges are connected to.
        rows: how many this run has handed out.
        newest_ns: the largest `available_at` of them, NEVER before the first.
    """

    def __init__(self, exchange: ExchangeSource, tape: Tape) -> None:
        self.exchange, self.tape = exchange, tape
        self.stopping, self.live = threading.Event(), threading.Event()
        self.rows, self.newest_ns = 0, NEVER

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
        return LivePartition(self, resume_state or (self.tape.id, self.tape.first, {}))

    @property
    def instruments(self) -> tuple[str, ...]:
        """The instruments, `exchange:SYMBOL`."""
        return universe_of(self.exchange.exchanges).instruments

    @property
    def feeds(self) -> frozenset[str]:
        """The streams."""
        return universe_of(self.exchange.exchanges).feeds

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
        _, self._offset, positions = state
        self._positions = {
            exchange: {symbol: Position(*fields) for symbol, fields in positions.get(exchange, {}).items()}
            for exchange in source.exchange.exchanges
        }
        self._recorded: Iterator[tuple[int, Items]] | None = batches(self._tape.read(self._offset))
        self._parts: list[ExchangePartition] = []
        self._awake: datetime | None = None

    def next_batch(self) -> Items:
        """What was recorded after the offset, some at a time; then what has come from the exchanges; never waits.

        Raises:
            StopIteration: the run is to stop.
            InputError: the tape is damaged, or no exchange is left and trying again would not help.
            RunError: nothing can be recorded, as the disk is full or the like.
        """
        if self._source.stopping.is_set():
            raise StopIteration
        self._awake = None
        if self._recorded is not None:
            again = next(self._recorded, None)
            if again is not None:
                self._offset, out = again
                self._advance(out)
                self._note(out)
                return out
            self._connect()
        out = [item for part in self._parts for item in part.next_batch()]
        if out:
            self._offset = self._tape.append(out)
            self._note(out)
        else:
            self._awake = datetime.now(UTC) + _IDLE
        return out

    def next_awake(self) -> datetime | None:
        """A moment later, if there was nothing."""
        return self._awake

    def snapshot(self) -> LiveState:
        """The position after the last frame handed out, which the tape has safe."""
        self._tape.sync()
        live = {part.exchange: part.snapshot() for part in self._parts}
        return self._tape.id, self._offset, live or self._recorded_positions()

    def close(self) -> None:
        """Close the connections."""
        for part in self._parts:
            part.close()

    def _advance(self, items: Items) -> None:
        """Where the exchanges stand after frames of the tape; once live, their partitions know."""
        for instrument, frame in items:
            exchange, _, symbol = instrument.partition(":")
            positions = self._positions[exchange]
            position = advanced(positions.get(symbol), frame, VENUES[exchange].counts)
            if position is not None:
                positions[symbol] = position

    def _recorded_positions(self) -> dict[str, Positions]:
        return {
            exchange: {symbol: (at.next_id, at.last_ns, at.recent) for symbol, at in symbols.items()}
            for exchange, symbols in self._positions.items()
        }

    def _note(self, items: Items) -> None:
        for _, frame in items:
            if len(frame.rows):
                self._source.rows += len(frame.rows)
                self._source.newest_ns = max(self._source.newest_ns, int(frame.rows["available_at"][-1]))

    def _connect(self) -> None:
        self._recorded = None
        positions = self._recorded_positions()
        exchange = self._source.exchange
        self._parts = [exchange.build_part("", name, positions[name]) for name in exchange.list_parts()]
        self._source.live.set()
