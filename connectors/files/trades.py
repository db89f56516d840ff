"""Tables of trades to TRADE rows."""

from __future__ import annotations

import numpy as np

from connectors.files.decode import Decoded, Decoder, Piece
from connectors.files.kernels import fill
from connectors.files.values import Integers, ids, sides, sides_of_maker
from events.frames import Array
from events.schema import NEVER
from events.validation import first_faulty_trade


class TradeDecoder(Decoder):
    """Decodes a file of trades."""

    numbers = ("price", "qty")
    shown = ("price", "qty", "side", "maker")

    def _rows(self, piece: Piece, times: Integers, received: Integers, bad_time: int) -> Decoded:
        table, columns = piece.table, self._meaning.binding.columns
        trade_id, seq = ids(table[columns["id"]] if "id" in columns else None, table.height)
        (price, qty), flags = self._columns(piece, "price", "qty")
        if "side" in columns:
            side = sides(table[columns["side"]])
        elif "maker" in columns:
            side = sides_of_maker(table[columns["maker"]])
        else:
            side = np.zeros(table.height, np.int32)
        rows, keys, bad_row = fill(
            self._last_ns, times, received, trade_id, seq, price=price, qty=qty, side=side, flags=flags
        )
        return Decoded(rows, keys, bad_row, bool((seq == NEVER).any()))

    def _fault(self, row: Array) -> str | None:
        found = first_faulty_trade(row)
        return found and found[1]
