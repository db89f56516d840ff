"""Row types: numpy structured dtypes without padding, so that the bytes of the rows are the rows.

Every row begins with `available_at`, the time from which it may be used. Times are ns, prices in quote, quantities in base
units, rates plain fractions. Null is NaN in float and `NEVER` in int64 columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

TRADE: Final = np.dtype(
    [
        ("available_at", "i8"),  # = the venue's time of the trade; it assigns the trade to its bar
        ("ts_recv", "i8"),  # source clock when it was read; equal to available_at in files that do not say
        ("seq", "i8"),  # breaks ties: the id where it is an integer, else the source's counter
        (
            "trade_id",
            "i8",
        ),  # the integer id, a 64-bit hash of another kind of id (events.identity.id_hash), NEVER without one
        ("price", "f8"),
        ("qty", "f8"),  # base units
        ("side", "i4"),  # taker: +1 bought, -1 sold, 0 unknown
        ("flags", "u4"),  # MALFORMED: the source could not decode the record
    ]
)

OHLCV: Final = np.dtype(
    [
        ("available_at", "i8"),  # = ts_close; the length is that of the stream klines.1m, of preload each has its own
        ("ts_recv", "i8"),
        ("seq", "i8"),  # the source's counter
        ("ts_open", "i8"),
        ("open", "f8"),
        ("high", "f8"),
        ("low", "f8"),
        ("close", "f8"),
        ("volume", "f8"),  # base units
        ("quote_volume", "f8"),  # NaN where the venue does not give it
        ("closed", "i4"),  # 0: the venue was still forming it
        ("flags", "u4"),  # MALFORMED: the source could not decode the record
    ]
)

FUNDING: Final = np.dtype(
    [
        ("available_at", "i8"),
        ("ts_event", "i8"),
        ("ts_recv", "i8"),
        ("seq", "i8"),
        ("rate", "f8"),  # per interval
        ("interval_h", "f8"),
        ("ts_next", "i8"),
        ("mark", "f8"),
        ("index", "f8"),
        ("predicted", "i4"),
        ("flags", "u4"),
    ]
)

BOOK: Final = np.dtype(
    [
        (
            "available_at",
            "i8",
        ),  # the venue's time of the update; of a snapshot without one, that of the update before it
        ("ts_recv", "i8"),
        ("seq", "i8"),  # the source's counter, one per row
        (
            "u_first",
            "i8",
        ),  # update ids of the update that the row is of; of a snapshot all but `u_last`, its nonce, are NEVER
        ("u_last", "i8"),
        ("u_prev", "i8"),  # id that the update before it must have ended with, NEVER where the venue does not say
        ("price", "f8"),
        ("qty", "f8"),  # base units at that price now; 0 deletes the level
        ("side", "i2"),  # +1 bid, -1 ask; 0: a row of an update or snapshot that changes no level
        ("kind", "u2"),  # BOOK_DELTA or BOOK_SNAPSHOT of events.schema
        ("last", "u2"),  # 1: the last row of its update
        ("flags", "u2"),  # MALFORMED: the source could not decode the record
    ]
)
"""A row per level change. All rows of an update share their times and ids and stand in one frame, one behind the other."""

TOP: Final = np.dtype(
    [
        ("available_at", "i8"),
        ("ts_recv", "i8"),
        ("seq", "i8"),  # the venue's update id, or the source's counter
        ("bid", "f8"),
        ("bid_qty", "f8"),
        ("ask", "f8"),
        ("ask_qty", "f8"),
        ("no_event_time", "i4"),  # 1: the venue states no time, so that of receipt stands for it
        ("flags", "u4"),
    ]
)

TICKER: Final = np.dtype(
    [
        ("available_at", "i8"),
        ("ts_event", "i8"),
        ("ts_recv", "i8"),
        ("seq", "i8"),
        ("last", "f8"),  # each price or volume NaN where the venue does not say it
        ("high_24h", "f8"),
        ("low_24h", "f8"),
        ("volume_24h", "f8"),  # base
        ("quote_volume_24h", "f8"),
        ("pct_24h", "f8"),  # fraction
        ("mark", "f8"),
        ("index", "f8"),
        ("flags", "u8"),
    ]
)

OPEN_INTEREST_ROW: Final = np.dtype(
    [
        ("available_at", "i8"),
        ("ts_event", "i8"),
        ("ts_recv", "i8"),
        ("seq", "i8"),
        ("oi_base", "f8"),
        ("oi_usd", "f8"),  # NaN where unknown
        ("flags", "u8"),
    ]
)

LONG_SHORT_ROW: Final = np.dtype(
    [
        ("available_at", "i8"),
        ("ts_event", "i8"),
        ("ts_recv", "i8"),
        ("seq", "i8"),
        ("long_frac", "f8"),  # in (0, 1); of a ratio r it is r / (1 + r)
        ("period_s", "i8"),
        ("basis", "i4"),  # place in events.schema.LONG_SHORT_BASES
        ("flags", "u4"),
    ]
)

LIQUIDATION: Final = np.dtype(
    [
        ("available_at", "i8"),
        ("ts_recv", "i8"),
        ("seq", "i8"),
        ("liq_id", "i8"),  # a hash of the venue's id, or of its parts where it gives none
        ("price", "f8"),
        ("qty", "f8"),  # base units
        ("pos", "i4"),  # the position that was liquidated: +1 a long, -1 a short
        ("complete", "u2"),  # 1: the venue pushes all of them
        ("flags", "u2"),
    ]
)

CONTEXT_ROW: Final = np.dtype(
    [
        ("available_at", "i8"),
        ("ts_event", "i8"),
        ("ts_recv", "i8"),
        ("seq", "i8"),
        ("value", "f8"),
        ("name", "i4"),  # place in events.schema.CONTEXT_NAMES
        ("flags", "u4"),
    ]
)

UNIVERSE_ROW: Final = np.dtype(
    [
        ("available_at", "i8"),
        ("ts_recv", "i8"),
        ("seq", "i8"),
        ("turnover", "f8"),  # of 24 h in quote units, by which it was chosen; NaN where it was named
        ("change", "i4"),  # +1 joins, -1 leaves
        ("flags", "u4"),
    ]
)

MEMBER_ROW: Final = np.dtype(
    [
        ("available_at", "i8"),  # the time of the decision, by the source clock; it holds for what is later
        ("member", "S48"),  # the instrument
        ("change", "i4"),  # +1 joins, or is there and said again; -1 leaves
        ("flags", "u4"),
    ]
)

BOOK_MINUTE: Final = np.dtype(
    [
        ("available_at", "i8"),  # = t, the boundary; the row is of [t - 60 s, t)
        ("synced_ns", "i8"),  # for how long of it the book was known and had both sides: the weight of its means
        ("age_ns", "i8"),  # t less the time of the last update that took effect, NEVER if none did
        ("updates", "i8"),  # that took effect in it
        ("state", "i4"),  # at t: SYNCED or another state of a book of events.schema
        ("voided", "i4"),  # 1: a void of the book meets the minute
        ("values", "f8", (33,)),  # named by BOOK_COLUMNS of operators.microstructure.columns
    ]
)
"""What a base bar keeps of its book. It folds: sums add, means average by `synced_ns`, of last values the last counts.

A minute in which the book neither was known nor changed has no row, nor has one whose end lies in a void of the book.
"""

QUOTE_MINUTE: Final = np.dtype(
    [
        ("available_at", "i8"),  # = t, the boundary; the row is of [t - 60 s, t)
        ("known_ns", "i8"),  # for how long of it a quote was at most 30 s old: the weight of its means
        ("age_ns", "i8"),  # t less the time of the last quote before it
        ("spread_bps", "f8"),  # means
        ("imb_1", "f8"),
        ("wmid", "f8"),  # of the last quote
    ]
)
"""What a base bar keeps of its best quotes; a minute in which none was known has no row."""

BAR: Final = np.dtype(
    [
        ("available_at", "i8"),  # = ts_close
        ("g", "i8"),  # absolute index, ts_open // timeframe
        ("ts_open", "i8"),
        ("ts_close", "i8"),
        ("open", "f8"),
        ("high", "f8"),
        ("low", "f8"),
        ("close", "f8"),
        ("volume", "f8"),
        ("quote_volume", "f8"),
        ("buy_volume", "f8"),
        ("sell_volume", "f8"),
        ("signed_volume", "f8"),
        ("n_trades", "i8"),
        ("n_buy", "i8"),
        ("n_sell", "i8"),
        ("vwap", "f8"),
        ("max_trade", "f8"),
        ("ts_first", "i8"),
        ("ts_last", "i8"),
        ("n_missing", "i8"),
        ("flags", "u2"),
    ]
)

MARKET_ROW: Final = np.dtype(
    [
        ("available_at", "i8"),  # = ts, the boundary; boundaries after it may use the row
        ("breadth_up", "f8"),  # share of instruments whose return over 24 hours is above 0
        ("breadth_net", "f8"),  # share above 0 less share below
        ("dispersion_mad", "f8"),  # median absolute deviation of these returns from their median
        ("dispersion_sd", "f8"),  # their standard deviation
        ("mean_rho", "f8"),  # mean correlation of 60 one-minute returns
        ("above_ema50", "f8"),  # share of instruments that closed above EMA50 on 30m
        ("ref_rv", "f8"),  # realised volatility of the reference over a day, of a year
        ("market_regime", "i8"),  # code of events.schema.MARKET_REGIME_NAMES; NEVER while there is none
        ("n", "i8"),  # instruments with a return over 24 hours
    ]
)

GAP_ROW: Final = np.dtype(
    [
        ("available_at", "i8"),
        ("since", "i8"),
        ("until", "i8"),  # NEVER while it lasts
        ("reason", "i8"),  # code of events.schema.GAP_REASON_NAMES
        ("id_from", "i8"),
        ("id_to", "i8"),
    ]
)


def feature_row(width: int) -> np.dtype[Any]:
    """The dtype of a feature row of `width` columns: one block of values, one of statuses.

    >>> feature_row(3)["values"].shape
    (3,)
    """
    return np.dtype(
        [
            ("available_at", "i8"),
            ("g", "i8"),
            ("ts_open", "i8"),
            ("ts_close", "i8"),
            ("flags", "u2"),
            ("values", "f8", (width,)),
            ("status", "u1", (width,)),
        ]
    )


def confluence_row(dimensions: int, gates: int) -> np.dtype[Any]:
    """The dtype of a confluence row over so many dimensions and gates."""
    per_dimension = (dimensions,)
    return np.dtype(
        [
            ("available_at", "i8"),  # = ts, the close of the base bar
            ("score", "f8"),
            ("m", "f8"),
            ("coverage", "f8"),
            ("agreement", "f8"),
            ("dispersion", "f8"),
            ("theta", "f8"),
            ("theta_source", "u1"),  # 0 fixed, 1 prior, 2 quantile
            ("warming", "u1"),
            ("state", "i1"),  # entry state: +1 LONG, -1 SHORT, 0 NEUTRAL
            ("state_since", "i8"),
            ("regime", "i8"),  # code of operators.indicators.regime.REGIMES; NEVER while there is none
            ("u", "f8", per_dimension),
            ("weight", "f8", per_dimension),
            ("q", "f8", per_dimension),
            ("contribution", "f8", per_dimension),
            ("status", "u1", per_dimension),
            ("gates", "u1", (gates,)),
        ]
    )


def flat_columns(dtype: np.dtype[Any], blocks: dict[str, Sequence[str]]) -> tuple[tuple[str, str, int | None], ...]:
    """(column name, field, position in its block) of a dtype whose blocks have these column names.

    `available_at` is left out where the row also has `ts_close`; else it is called `ts`.

    >>> [name for name, _, _ in flat_columns(feature_row(1), {"values": ["rsi_14"], "status": ["rsi_14.status"]})]
    ['g', 'ts_open', 'ts_close', 'flags', 'rsi_14', 'rsi_14.status']
    """
    names = dtype.names or ()
    columns: list[tuple[str, str, int | None]] = []
    for field in names:
        if field in blocks:
            columns += [(name, field, k) for k, name in enumerate(blocks[field])]
        elif field == "available_at":
            if "ts_close" not in names:
                columns.append(("ts", field, None))
        else:
            columns.append((field, field, None))
    return tuple(columns)
