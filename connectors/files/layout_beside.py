"""The layouts of files of what stands beside trades, klines and funding rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connectors.files.layout_names import PRICE, QTY, WHEN, WHOSE, Layout
from events.feeds import BOOKS, CONTEXT, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, TICKERS, TOPS

SPECIFIC: Final[Mapping[str, Layout]] = {
    "binance-liquidations": Layout(
        "official Binance dump of liquidation orders",
        {
            "time": ("time",),
            "symbol": ("symbol",),
            "order_side": ("side",),
            "price": ("average_price",),
            "qty": ("accumulated_fill_quantity",),
        },
        ("time", "order_side", "price", "qty"),
        feed=LIQUIDATIONS,
    ),
    "binance-metrics": Layout(
        "official Binance dump of open interest and ratios: open interest, and the ratio of all accounts",
        {
            "time": ("create_time",),
            "symbol": ("symbol",),
            "oi_base": ("sum_open_interest",),
            "oi_usd": ("sum_open_interest_value",),
        },
        ("time", "oi_base", "oi_usd"),
        feed=OPEN_INTEREST,
        with_it="binance-ratios",
    ),
    "binance-ratios": Layout(
        "the long/short ratio of all accounts in that dump",
        {"time": ("create_time",), "symbol": ("symbol",), "ratio": ("count_long_short_ratio",)},
        ("time", "ratio"),
        feed=LONG_SHORT,
    ),
    "tidewax-book": Layout(
        "named columns: a time, price, qty, side, kind (delta or snapshot), u_last, last (1 at the end of an update); optionally "
        "u_first, u_prev, instrument",
        {
            **WHEN,
            "u_first": ("u_first",),
            "u_last": ("u_last",),
            "u_prev": ("u_prev",),
            "price": ("price",),
            "qty": ("qty",),
            "side": ("side",),
            "kind": ("kind",),
            "last": ("last",),
            **WHOSE,
        },
        ("time", "u_last", "price", "qty", "side", "kind", "last"),
        feed=BOOKS,
    ),
    "tidewax-liquidations": Layout(
        "named columns: a time, price, qty, pos (long or short: what was liquidated); optionally liq_id, complete, instrument",
        {
            **WHEN,
            "price": PRICE,
            "qty": QTY,
            "pos": ("pos", "position"),
            "liq_id": ("liq_id",),
            "complete": ("complete",),
            **WHOSE,
        },
        ("time", "price", "qty", "pos"),
        feed=LIQUIDATIONS,
    ),
}
"""Those with columns that a file of trades may have too."""

OTHERS: Final[Mapping[str, Layout]] = {
    "tidewax-top": Layout(
        "named columns: a time, bid, ask, bid_qty, ask_qty; optionally seq, no_event_time, instrument",
        {
            **WHEN,
            "bid": ("bid", "bid_price", "best_bid_price"),
            "bid_qty": ("bid_qty", "bid_size", "bid_amount", "best_bid_qty"),
            "ask": ("ask", "ask_price", "best_ask_price"),
            "ask_qty": ("ask_qty", "ask_size", "ask_amount", "best_ask_qty"),
            "seq": ("seq", "update_id"),
            "no_event_time": ("no_event_time",),
            **WHOSE,
        },
        ("time", "bid", "bid_qty", "ask", "ask_qty"),
        feed=TOPS,
    ),
    "tidewax-ticker": Layout(
        "named columns: a time, mark; optionally index, last, high_24h, low_24h, volume_24h, quote_volume_24h, pct_24h, instrument",
        {
            **WHEN,
            "mark": ("mark", "mark_price"),
            "index": ("index", "index_price"),
            **{name: (name,) for name in ("last", "high_24h", "low_24h", "volume_24h", "quote_volume_24h", "pct_24h")},
            **WHOSE,
        },
        ("time", "mark"),
        feed=TICKERS,
    ),
    "tidewax-open-interest": Layout(
        "named columns: a time, oi_base; optionally oi_usd, instrument",
        {
            **WHEN,
            "oi_base": ("oi_base", "open_interest", "sum_open_interest"),
            "oi_usd": ("oi_usd", "open_interest_value", "sum_open_interest_value"),
            **WHOSE,
        },
        ("time", "oi_base"),
        feed=OPEN_INTEREST,
    ),
    "tidewax-long-short": Layout(
        "named columns: a time, long_frac (above 0, below 1); optionally basis (accounts, positions, taker), period_s, instrument",
        {
            **WHEN,
            "long_frac": ("long_frac", "long_account"),
            "basis": ("basis",),
            "period_s": ("period_s",),
            **WHOSE,
        },
        ("time", "long_frac"),
        feed=LONG_SHORT,
    ),
    "tidewax-ratios": Layout(
        "named columns: a time, long_short_ratio (longs to shorts); optionally basis, period_s, instrument",
        {**WHEN, "ratio": ("long_short_ratio",), "basis": ("basis",), "period_s": ("period_s",), **WHOSE},
        ("time", "ratio"),
        feed=LONG_SHORT,
    ),
    "tidewax-context": Layout(
        "named columns: a time, value; optionally name (fear_greed, btc_dominance, custom), instrument; of every instrument where "
        "it names none",
        {**WHEN, "value": ("value", "fear_greed"), "name": ("name",), **WHOSE},
        ("time", "value"),
        feed=CONTEXT,
    ),
}
