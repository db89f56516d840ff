"""A recorded market instead of the model: trades of a Parquet file, as `tidewax generate` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connectors.simulator.books import Books
from connectors.simulator.listings import VENUES, Asset, Listing
from events.errors import InputError
from events.frames import Array
from events.rows import TRADE
from events.times import MINUTE_NS

_END_OF_TIME: Final = 1 << 62
_COLUMNS: Final = ("instrument", "ts_event", "price", "qty", "side")


class RecordedTape:
    """The trades of one listing, from rows that are sorted by time.

    Attributes:
        book: its book, if that was recorded too.
    """

    def __init__(self, rows: Array, book: Books | None = None) -> None:
        self._rows, self.book = rows, book

    def index_at(self, time_ns: int) -> int:
        """How many trades there are before that time."""
        return int(np.searchsorted(self._rows["available_at"], time_ns, "left"))

    def rows(self, first: int, end: int) -> Array:
        """TRADE rows of indices `[first, end)`; their ids are still to be set."""
        part: Array = self._rows[first:end].copy()
        return part

    def quiet_until(self, time_ns: int) -> int:
        """The time of the next trade, from that one on."""
        following = self.index_at(time_ns)
        return int(self._rows["available_at"][following]) if following < len(self._rows) else _END_OF_TIME


def read_recording(path: Path, start_ns: int) -> dict[Listing, RecordedTape]:
    """The tapes of a recording, moved in time by whole minutes so that its first half lies before `start_ns`.

    An instrument of an exchange that is not simulated is listed on Binance.

    Raises:
        InputError: not such a file, or without trades.
    """
    try:
        table = pq.read_table(path, columns=list(_COLUMNS))
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise InputError(
            f"{path} cannot be served as a recording ({error}): it must be Parquet with columns {', '.join(_COLUMNS)},"
            " as `tidewax generate` writes it"
        ) from None
    if not table.num_rows:
        raise InputError(f"{path} holds no trades: there is nothing to serve")
    names = pc.cast(table["instrument"], pa.string())
    times = table["ts_event"].cast(pa.int64()).to_numpy()
    middle = int(times.min() + (times.max() - times.min()) // 2)
    shift = (start_ns - middle) // MINUTE_NS * MINUTE_NS
    tapes = {}
    for name in pc.unique(names).to_pylist():
        part = table.filter(pc.equal(names, name))
        rows = np.zeros(part.num_rows, TRADE)
        for column in ("price", "qty"):
            rows[column] = part[column].to_numpy()
        rows["available_at"] = rows["ts_recv"] = part["ts_event"].cast(pa.int64()).to_numpy() + shift
        buys = pc.equal(pc.cast(part["side"], pa.string()), "buy")
        rows["side"] = np.where(buys.to_numpy(zero_copy_only=False), 1, -1)
        rows = rows[np.argsort(rows["available_at"], kind="stable")]
        listing = _listing(name, rows)
        for column in ("available_at", "ts_recv"):
            rows[column] = rows[column] // listing.resolution_ns * listing.resolution_ns
        for column, decimals in (("price", listing.asset.price_decimals), ("qty", listing.asset.qty_decimals)):
            rows[column] = np.rint(rows[column] * 10.0**decimals) / 10.0**decimals  # as its text will be parsed
        tapes[listing] = RecordedTape(rows)
    return tapes


def _listing(name: str, rows: Array) -> Listing:
    exchange, _, symbol = name.partition(":")
    known = any(exchange in ids for ids in VENUES.values())
    asset = Asset(float(rows["price"][0]), _decimals(rows["price"]), _decimals(rows["qty"]))
    return Listing.of(name if known else f"binance:{symbol}", asset)


def _decimals(values: Array) -> int:
    """How many digits after the point write every value exactly, 8 at most."""
    return next((d for d in range(8) if (np.round(values, d) == values).all()), 8)
