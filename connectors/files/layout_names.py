"""What layouts are made of: names of columns, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from events.feeds import TRADES

TIME: Final = (
    *(
        "ts_event",
        "timestamp_ns",
        "timestamp_us",
        "timestamp_ms",
        "timestamp_s",
        "unix_timestamp_ns",
        "unix_timestamp_us",
    ),
    *(
        "unix_timestamp_ms",
        "unix_timestamp_s",
        "unix_timestamp",
        "timestamp",
        "time_ns",
        "time_us",
        "time_ms",
        "time",
    ),
    *(
        "ts_ns",
        "ts_us",
        "ts_ms",
        "ts",
        "trade_time",
        "transact_time",
        "event_time",
        "exchange_time",
        "datetime",
        "date_time",
    ),
    *("date", "created_at", "created_time"),
)
RECV: Final = (
    "ts_recv",
    "received_at",
    "recv_time",
    "receive_timestamp",
    "received_time",
    "local_timestamp",
    "local_ts",
)
ID: Final = ("trade_id", "id", "tid", "trade_no", "trade_number", "match_id", "exec_id")
OPENED: Final = ("ts_open", "open_time", "time_open", *TIME)
PRICES: Final = {"open": ("open", "o"), "high": ("high", "h"), "low": ("low", "l"), "close": ("close", "c")}
VOLUME: Final = ("volume", "vol", "v", "base_volume")
QUOTE_VOLUME: Final = ("quote_volume", "quote_asset_volume", "quote_vol")
BAR: Final = ("time", "open", "high", "low", "close", "volume")
PRICE: Final = ("price", "px", "trade_price")
QTY: Final = ("qty", "quantity", "amount", "size", "base_qty", "base_quantity", "trade_size", "volume", "vol")
SIDE: Final = ("side", "taker_side", "aggressor_side")
MAKER: Final = ("is_buyer_maker", "buyer_maker", "buyer_is_maker", "was_buyer_maker", "isbuyermaker")
WHOSE: Final = {
    "recv": RECV,
    "instrument": ("instrument",),
    "symbol": ("symbol", "pair", "market", "instrument_name"),
}
WHEN: Final = {"time": (*TIME, "available_at"), "available": ("available_at",)}


@dataclass(frozen=True)
class Layout:
    """One way in which rows of one kind are stored.

    Attributes:
        about: what it is, in words.
        roles: for each role the names its column may have, best first.
        required: the roles without which a file is not of this layout.
        headerless: the roles of the columns of a file without a header, in order.
        id_space: `trade` or `aggregate` if the layout promises consecutive integer ids, else empty.
        feed: the stream of its rows.
        named: what a file's name must contain for the file to be taken for this layout.
        alone: whether a file of it has no other columns.
        with_it: the layout of what a file of this one holds beside it.
    """

    about: str
    roles: Mapping[str, Sequence[str]]
    required: Sequence[str]
    headerless: Sequence[str] = ()
    id_space: str = ""
    feed: str = TRADES
    named: str = ""
    alone: bool = False
    with_it: str = ""
