"""Trades that another program writes, as JSON in ccxt's unified form."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
import numpy as np

from connectors.kafka.json_trades import JsonTrades, Trade
from connectors.kafka.undecodable import Undecodable
from events.feeds import TRADES
from events.frames import Frame
from events.schema import NEVER


class Foreign(Trade):
    """A trade, with the exchange where the key does not say it."""

    exchange: str | None = None


class ForeignTrades:
    """Reads the trades of some instruments. What breaks ties is the id where it is an integer, else the offset of the message.

    A watermark is not stated: it follows the times of the rows, less the lateness of the settings.

    >>> wire = ForeignTrades(["x:A/B"])
    >>> wire.take(b"", b'{"exchange":"x","symbol":"A/B","id":"7","timestamp":1,"side":"buy","price":2,"amount":3}', 40)
    >>> [(key, frame)] = wire.frames()
    >>> key, frame.rows.tolist()
    ('x:A/B', [(1000000, 1000000, 7, 7, 2.0, 3.0, 1, 0)])

    Args:
        instruments: as exchange:SYMBOL; what is of others is left out.
    """

    def __init__(self, instruments: Collection[str]) -> None:
        self._instruments, self._wire = frozenset(instruments), JsonTrades()
        self._decoder = msgspec.json.Decoder(Foreign)
        self._waiting: dict[str, list[Any]] = {}

    def take(self, key: bytes | None, value: bytes | None, offset: int) -> None:
        """Take a message in.

        Raises:
            Undecodable: it is no trade, or says no instrument.
        """
        try:
            trade = self._decoder.decode(value or b"")
            name = (key or b"").decode()
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Undecodable(f"it is no trade as JSON: {error}") from error
        if name not in self._instruments:
            if trade.exchange is None:
                raise Undecodable("neither its key nor an exchange beside its symbol says which instrument it is of")
            name = f"{trade.exchange}:{trade.symbol}"
        row = self._wire.rows([trade])
        if row["trade_id"][0] < 0:
            row["seq"] = offset
        if name in self._instruments:
            self._waiting.setdefault(name, []).append(row)

    def frames(self) -> list[tuple[str, Frame]]:
        """What was taken in since the last time: a frame an instrument."""
        out = []
        for name, rows in self._waiting.items():
            array = np.concatenate(rows)
            array.flags.writeable = False
            out.append((name, Frame(name, TRADES, array, NEVER)))
        self._waiting = {}
        return out
