"""Recorded Binance websocket messages to tables: lines of `<local ns> <json>` or of JSON alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import polars as pl

from connectors.files.decode import Piece, line_of
from connectors.files.instruments import binance_instrument
from connectors.files.json_lines import bad_line
from events.errors import InputError


class _Trade(msgspec.Struct, gc=False):
    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool
    M: bool | None = None  # only spot messages have it
    X: str | None = None  # only USD-M trades have it: what kind of trade it is
    e: str = ""


class _Aggregate(msgspec.Struct, gc=False, rename={"t": "a"}):
    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool
    M: bool | None = None
    X: str | None = None
    e: str = ""


class _WrappedTrade(msgspec.Struct, gc=False):
    data: _Trade


class _WrappedAggregate(msgspec.Struct, gc=False):
    data: _Aggregate


_DECODERS: Final[dict[str, tuple[Any, Any]]] = {
    "trade": (msgspec.json.Decoder(_Trade), msgspec.json.Decoder(_WrappedTrade)),
    "aggTrade": (msgspec.json.Decoder(_Aggregate), msgspec.json.Decoder(_WrappedAggregate)),
}


def is_stream(text: bytes) -> bool:
    """Whether these first lines are websocket messages of Binance.

    >>> is_stream(b'17 {"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT"}}')
    True
    >>> is_stream(b'{"timestamp":17,"symbol":"BTC/USDT"}')
    False
    """
    for line in text.splitlines()[:1_000]:
        brace = line.find(b"{")
        if brace >= 0 and line[:brace].strip().isdigit():
            return True
        if brace == 0 and b'"e":' in line.replace(b" ", b"") and (b'"s":' in line.replace(b" ", b"")):
            return True
    return False


class Names:
    """Says of which instruments symbols are.

    Args:
        given: the instrument that the user named, for symbols that cannot be split.
        label: the file, as messages name it.
    """

    def __init__(self, given: str | None, label: str) -> None:
        self._given, self._label = given, label
        self._known: dict[tuple[str, bool], str] = {}

    def of(self, symbol: str, perpetual: bool) -> str:
        """The instrument of a symbol, of spot or the USD-M perpetual.

        Raises:
            InputError: it cannot be split and no instrument is given, or that would be the instrument of several symbols.
        """
        name = self._known.get((symbol, perpetual))
        if name is not None:
            return name
        name = binance_instrument(symbol, perpetual) or self._given
        if name is None:
            raise InputError(
                f"{self._label}: the symbol {symbol!r} ends in no known quote currency. Name the instrument with "
                "--instrument exchange:BASE/QUOTE."
            )
        if name in self._known.values():
            raise InputError(
                f"{self._label} holds several symbols that --instrument {self._given} would make one. "
                "Split the file by symbol."
            )
        self._known[symbol, perpetual] = name
        return name


def stream_pieces(chunks: Iterable[tuple[bytes, int]], kind: str, names: Names, label: str) -> Iterator[Piece]:
    """The trades of a recording as tables, one per chunk of text that holds any.

    USD-M trades of another kind than MARKET (insurance fund, ADL) are no trades of the market: they are left out.

    Args:
        chunks: the text in whole lines.
        kind: the events that are its trades, `trade` or `aggTrade`.
        names: says the instruments.
        label: the file, as messages name it.

    Raises:
        InputError: a trade cannot be decoded, or its symbol cannot be split and no instrument is given.
    """
    mark = f'"{kind}"'.encode()
    plain, wrapped = _DECODERS[kind]
    first = 1
    for chunk, bytes_done in chunks:
        lines = chunk.splitlines()
        numbers, local, trades = [], [], []
        for number, line in enumerate(lines, first):
            if mark not in line:
                continue
            brace = line.find(b"{")
            try:
                trade = wrapped.decode(line[brace:]).data if b'"data"' in line else plain.decode(line[brace:])
                if trade.e == kind and trade.X in (None, "MARKET"):
                    received = line[:brace].strip()
                    local.append(int(received) if received else None)
                    numbers.append(number)
                    trades.append(trade)
            except (msgspec.MsgspecError, ValueError) as error:
                raise bad_line(label, number, f"no trade message of Binance ({error})") from None
        first += len(lines)
        if not trades:
            continue
        yield Piece(
            pl.DataFrame(
                {
                    "time": [trade.T for trade in trades],
                    "recv": pl.Series(local, dtype=pl.Int64),
                    "id": [trade.t for trade in trades],
                    "price": [trade.p for trade in trades],
                    "qty": [trade.q for trade in trades],
                    "maker": [trade.m for trade in trades],
                    "instrument": [names.of(trade.s, trade.M is None) for trade in trades],
                }
            ),
            line_of(numbers),
            bytes_done,
        )
