"""Tables of what stands beside trades and klines to rows: books, quotes, tickers, open interest, ratios, liquidations, context."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from connectors.files.decode import BadRows, Decoded, Decoder, Meaning, Piece
from connectors.files.layout_table import LAYOUTS
from connectors.files.values import Integers, integers, numbers, places, positions, sides, truths
from events.faults import faults, first_fault
from events.feeds import FEEDS, LIQUIDATIONS, LONG_SHORT
from events.frames import Array
from events.identity import id_hash, id_of
from events.schema import CONTEXT_NAMES, LONG_SHORT_BASES, MALFORMED, NEVER
from events.validation import REASONS

_BOOK_KINDS: Final = ("delta", "snapshot")
_PERIOD_S: Final = 300
_WORDS: Final = {"basis": LONG_SHORT_BASES, "name": CONTEXT_NAMES, "kind": _BOOK_KINDS}
_NULLABLE: Final = ("u_first", "u_prev", "seq", "ts_next")


class BesideDecoder(Decoder):
    """Decodes a file of one of these streams. A row is available at its time and the delay of its publication."""

    def __init__(self, meaning: Meaning, bad_rows: BadRows) -> None:
        super().__init__(meaning, bad_rows)
        self._stream = meaning.binding.feed
        self._dtype = FEEDS[self._stream].dtype
        held = [
            role
            for role in meaning.binding.columns
            if role not in ("time", "recv", "available", "instrument", "symbol")
        ]
        required = LAYOUTS[meaning.binding.layout].required
        names = self._dtype.names or ()
        self.numbers = tuple(
            role for role in held if role in required and role in names and self._dtype[role].kind == "f"
        )
        self.shown = tuple(held)

    def _rows(self, piece: Piece, times: Integers, received: Integers, bad_time: int) -> Decoded:
        columns, table = self._meaning.binding.columns, piece.table
        rows = np.zeros(table.height, self._dtype)
        names = self._dtype.names or ()
        rows["available_at"] = self._available(piece, times)
        if "ts_event" in names:
            rows["ts_event"] = times
        rows["ts_recv"] = np.where((received == NEVER) | (received is times), rows["available_at"], received)
        malformed = np.zeros(table.height, np.bool_)
        malformed[list(piece.malformed)] = True
        for name in names[names.index("seq") :]:
            column = table[columns[name]] if name in columns else None
            self._fill(rows, name, column, malformed)
        if self._stream == LONG_SHORT:
            self._share(rows, table, malformed)
        if self._stream == LIQUIDATIONS:
            if "order_side" in columns:  # a long is closed by an order that sells
                rows["pos"] = -sides(table[columns["order_side"]])
            if "liq_id" not in columns:
                self._identify(rows, piece)
        rows["flags"] = malformed * MALFORMED
        keys = np.maximum(np.maximum.accumulate(rows["available_at"]), self._last_ns)
        found = first_fault(self._stream, rows)
        return Decoded(rows, keys, -1 if found is None else found[0], bool((rows["seq"] == NEVER).any()))

    def _fault(self, row: Array) -> str | None:
        reason = REASONS[faults(self._stream, row)[0]]
        return reason or None

    def _fill(self, rows: Array, name: str, column: pl.Series | None, malformed: Array) -> None:
        field = rows[name]
        if column is None:
            field[:] = (
                np.nan if field.dtype.kind == "f" else NEVER if name in _NULLABLE else _PERIOD_S * (name == "period_s")
            )
            return
        if field.dtype.kind == "f":
            values, bad = numbers(column)
            field[:] = values
            if bad is not None and name in self.numbers:
                malformed |= bad
        elif name in _WORDS:
            field[:] = told = places(column, _WORDS[name])
            malformed |= told < 0
        elif name == "pos":
            field[:] = positions(column)
        elif name == "side":
            field[:] = sides(column)
        elif name in ("complete", "last", "no_event_time"):
            told = truths(column)
            field[:], malformed[told < 0] = told == 1, True
        else:
            field[:], bad = integers(column)
            malformed |= bad & (name not in _NULLABLE)

    def _share(self, rows: Array, table: pl.DataFrame, malformed: Array) -> None:
        """The share of longs by the ratio of longs to shorts, where the file has that: r / (1 + r)."""
        columns = self._meaning.binding.columns
        if "ratio" in columns and "long_frac" not in columns:
            ratio, bad = numbers(table[columns["ratio"]])
            rows["long_frac"] = ratio / (1.0 + ratio)
            if bad is not None:
                malformed |= bad

    def _identify(self, rows: Array, piece: Piece) -> None:
        """Ids made of what a liquidation says."""
        instruments, codes = self._instruments(piece)
        for i, row in enumerate(rows[["available_at", "price", "qty", "pos"]].tolist()):
            name = instruments[0 if codes is None else int(codes[i])]
            rows["liq_id"][i] = id_hash(id_of("liq", name, *row))
