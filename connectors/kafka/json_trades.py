"""Trades as JSON, as ccxt's unified trades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from connectors.kafka.json_rows import MS_NS, decoded, encoded, inexact, overridden, plain, symbol_of, times
from connectors.kafka.undecodable import Undecodable
from events.feeds import TRADES
from events.frames import Array
from events.identity import id_hash
from events.rows import TRADE
from events.schema import NEVER

_WORDS: Final = {1: "buy", -1: "sell"}
_numbers = msgspec.json.Decoder(list[int])
_SIDES: Final = {"buy": 1, "sell": -1, None: 0}


class Trade(msgspec.Struct, omit_defaults=True, gc=False):
    """A trade. `ns` is what `timestamp` (ms) leaves of the nanoseconds; `ts_recv` is the time of the trade and `seq` its id where
    they are not said.
    """

    symbol: str
    id: str | None
    timestamp: int
    side: str | None
    price: float | None
    amount: float | None
    ns: int = 0
    ts_recv: int | None = None
    seq: int | None = None
    flags: int = 0
    row: str | None = None


class JsonTrades:
    """Trades.

    >>> wire = JsonTrades()
    >>> row = np.array([(1_700_000_000_123_000_000, 1_700_000_000_125_000_000, 7, 7, 35000.5, 0.25, 1, 0)], TRADE)
    >>> [(value, _)] = wire.encode("binance:BTC/USDT", row)
    >>> print(value.decode()[:93])
    {"symbol":"BTC/USDT","id":"7","timestamp":1700000000123,"side":"buy","price":35000.5,"amount"
    >>> wire.decode([value])[0].tobytes() == row.tobytes()
    True
    """

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(Trade)

    def encode(self, instrument: str, rows: Array) -> list[tuple[bytes, int]]:
        """A value for each row, with its number of rows, 1."""
        at, sides, ids = rows["available_at"], rows["side"].tolist(), rows["trade_id"]
        said = [
            [symbol_of(instrument)] * len(rows),
            [None if one == NEVER else str(one) for one in ids.tolist()],
            (at // MS_NS).tolist(),
            list(map(_WORDS.get, sides)),
            plain(rows["price"]),
            plain(rows["qty"]),
            (at % MS_NS).tolist(),
            [None if one == time else one for one, time in zip(rows["ts_recv"].tolist(), at.tolist())],
            [None if one == id_ else one for one, id_ in zip(rows["seq"].tolist(), ids.tolist())],
            rows["flags"].tolist(),
        ]
        odd = inexact(rows) | (np.abs(rows["side"].astype(np.int64)) > 1)
        return encoded(Trade, said, rows, odd)

    def decode(self, values: Sequence[bytes]) -> tuple[Array, list[int]]:
        """The rows of these values, and how many each has: 1.

        Raises:
            Undecodable: a value is something else.
        """
        return self.rows(decoded(self._decoder, values, TRADES)), [1] * len(values)

    def rows(self, trades: Sequence[Trade]) -> Array:
        """The rows of trades.

        Raises:
            Undecodable: one has a number out of range, or a side that is none.
        """
        ids, sides = [one.id for one in trades], [one.side for one in trades]
        prices, amounts = [one.price for one in trades], [one.amount for one in trades]
        ms, ns, received = (
            [one.timestamp for one in trades],
            [one.ns for one in trades],
            [one.ts_recv for one in trades],
        )
        seqs, flags, texts = [one.seq for one in trades], [one.flags for one in trades], [one.row for one in trades]
        rows, n = np.empty(len(ids), TRADE), len(ids)
        try:
            rows["available_at"] = at = times(ms, ns)
            rows["trade_id"] = known = _known(ids)
            rows["ts_recv"] = _or(received, at)
            rows["seq"] = known if seqs.count(None) == n else _or(seqs, known)
            rows["price"], rows["qty"] = np.array(prices, np.float64), np.array(amounts, np.float64)  # None is NaN
            rows["side"] = list(map(_SIDES.__getitem__, sides))
            rows["flags"] = 0 if flags.count(0) == n else np.array(flags, np.uint32)
        except KeyError as error:
            raise Undecodable(f"its side is {error}, not 'buy' or 'sell'") from error
        except (ValueError, OverflowError) as error:
            raise Undecodable(f"it holds a number out of range: {error}") from error
        return rows if texts.count(None) == n else overridden(rows, texts)


def _or(values: Sequence[int | None], otherwise: Array) -> Array:
    """The values, where one is not said that of another column."""
    if None in values:
        return np.array([b if a is None else a for a, b in zip(values, otherwise.tolist())], np.int64)
    return np.array(values, np.int64)


def _known(ids: Sequence[str | None]) -> Array:
    """Ids as rows have them: integers, or the hashes of others.

    >>> _known(["12", None]).tolist(), _known(["b2f0"]).tolist()[0] < 0
    ([12, -9223372036854775808], True)
    """
    try:
        said = ",".join(ids).encode()  # type: ignore[arg-type]
        if not said.translate(None, b"0123456789,"):
            known = _numbers.decode(b"[%b]" % said)  # five times as fast as one by one
            if len(known) == len(ids):
                return np.array(known, np.int64)
    except (TypeError, msgspec.MsgspecError):  # some are null, or begin with a 0
        pass
    return np.array([NEVER if one is None else _hashed(one) for one in ids], np.int64)


def _hashed(text: str) -> int:
    return int(text) if text.removeprefix("-").isdecimal() else id_hash(text)
