"""The same bars by other means: polars, and Bytewax's own windows. They fill fewer columns than Tidewax does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower, fold_window
from bytewax.testing import TestingSink, TestingSource, run_main

from benchmarks.material import KEY
from events.frames import Array
from events.times import MINUTE_NS, SECOND_NS

Trade = tuple[datetime, float, float, int]
Bar = list[Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def polars_columns(trades: Array) -> pl.DataFrame:
    """The columns that polars needs, contiguous and known to be sorted."""
    columns = {name: np.ascontiguousarray(trades[name]) for name in ("available_at", "price", "qty", "side")}
    return pl.DataFrame(columns).with_columns(pl.col("available_at").cast(pl.Datetime("ns")).set_sorted())


def polars_bars(trades: pl.DataFrame, timeframes: tuple[tuple[str, int], ...]) -> dict[str, pl.DataFrame]:
    """Base bars of the trades, longer ones of the base bars; bars without trades are left out."""
    price, qty = pl.col("price"), pl.col("qty")
    base = trades.group_by_dynamic("available_at", every=timeframes[0][0]).agg(
        open=price.first(),
        high=price.max(),
        low=price.min(),
        close=price.last(),
        volume=qty.sum(),
        quote_volume=(price * qty).sum(),
        buy_volume=qty.filter(pl.col("side") > 0).sum(),
        n_trades=pl.len(),
    )
    out = {f"bars.{timeframes[0][0]}": base}
    sums = [pl.col(name).sum() for name in ("volume", "quote_volume", "buy_volume", "n_trades")]
    for name, _ in timeframes[1:]:
        prices = [pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last()]
        out[f"bars.{name}"] = base.group_by_dynamic("available_at", every=name).agg(*prices, *sums)
    return out


def polars_arrays(bars: pl.DataFrame) -> dict[str, Array]:
    """Bars of polars as columns."""
    return {"ts_open": bars["available_at"].cast(pl.Int64).to_numpy()} | {
        name: bars[name].to_numpy() for name in bars.columns if name != "available_at"
    }


def tuples(trades: Array, shift_ns: int = 0) -> list[tuple[str, Trade]]:
    """One item a trade for `fold_window`, its time made beforehand; all times shifted alike."""
    columns = (trades[name].tolist() for name in ("available_at", "price", "qty", "side"))
    return [
        (KEY, (EPOCH + timedelta(microseconds=(at + shift_ns) // 1000), price, qty, side))
        for at, price, qty, side in zip(*columns)
    ]


def historical_clock() -> EventClock[Trade]:
    """A clock that follows the trades alone."""
    return EventClock(_time, timedelta(0), now_getter=lambda: EPOCH, to_system_utc=lambda _: None)


def live_clock() -> EventClock[Trade]:
    """The clock as a live flow has it: its watermark also follows the system's time, and it waits for late trades."""
    return EventClock(_time, timedelta(seconds=10))


def window_bars(items: list[tuple[str, Trade]], clock: Callable[[], EventClock[Trade]], per: int) -> list[Bar]:
    """1m bars of trades by Bytewax's `fold_window`, unordered, `per` trades a batch."""
    out: list[Any] = []
    flow = Dataflow("windows")
    up = op.input("trades", flow, TestingSource(items, batch_size=per))
    windower = TumblingWindower(length=MINUTE, align_to=EPOCH)
    windows = fold_window("bars", up, clock(), windower, empty, fold, merge, ordered=False)
    op.output("out", windows.down, TestingSink(out))
    run_main(flow)
    return [[window, *bar] for _, (window, bar) in out]


def window_arrays(bars: list[Bar], shift_ns: int = 0) -> dict[str, Array]:
    """Bars of windows as columns, times shifted back."""
    names = ("window", "open", "high", "low", "close", "volume", "quote_volume", "buy_volume", "n_trades")
    columns = dict(zip(names, map(np.array, zip(*bars))))
    return columns | {"ts_open": columns.pop("window") * MINUTE_NS - shift_ns}


def shift_ahead(trades: Array) -> int:
    """By how many whole minutes, in ns, trades must be shifted to begin an hour from now."""
    now = round((datetime.now(UTC) - EPOCH).total_seconds()) * SECOND_NS
    return (now + 60 * MINUTE_NS - int(trades["available_at"][0])) // MINUTE_NS * MINUTE_NS


def _time(trade: Trade) -> datetime:
    return trade[0]


def empty() -> Bar:
    return []


def fold(bar: Bar, trade: Trade) -> Bar:
    _, price, qty, side = trade
    if not bar:
        return [price, price, price, price, qty, price * qty, qty if side > 0 else 0.0, 1]
    if price > bar[1]:
        bar[1] = price
    elif price < bar[2]:
        bar[2] = price
    bar[3] = price
    bar[4] += qty
    bar[5] += price * qty
    if side > 0:
        bar[6] += qty
    bar[7] += 1
    return bar


def merge(one: Bar, other: Bar) -> Bar:
    raise AssertionError("tumbling windows are never merged")
