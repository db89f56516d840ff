"""Bars of trades by the BacktestEngine of nautilus_trader: run as a script by the Python of its own virtual environment.

    python nautilus_engine.py TRADES.npz OUT.npz COMPOSITE ROUNDS

TRADES holds ts (ns), price, qty and side. OUT gets `seconds` of `engine.run()` alone, one a round after one to warm up, and per
timeframe in minutes the bars of an actor that keeps them, from a run of its own that is not timed.
"""

from __future__ import annotations

import gc
import sys
import time

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.data.config import DataEngineConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import BarType, TradeTick
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money
from nautilus_trader.test_kit.providers import TestInstrumentProvider

MINUTES = (1, 5, 30, 240)
NAMES = {1: "1-MINUTE", 5: "5-MINUTE", 30: "30-MINUTE", 240: "4-HOUR"}
BUYER, SELLER = 1, 2
INSTRUMENT = TestInstrumentProvider.btcusdt_binance()


def bar_types(composite: bool) -> list[BarType]:
    """The timeframes, each of the trades, or the longer ones of the bars of the first."""
    base, *longer = (f"{INSTRUMENT.id}-{NAMES[minutes]}-LAST-INTERNAL" for minutes in MINUTES)
    source = f"@{NAMES[MINUTES[0]]}-INTERNAL" if composite else ""
    return [BarType.from_str(base), *(BarType.from_str(name + source) for name in longer)]


class Bars(Actor):
    """Subscribes to bars and counts them; with `keep` it keeps them."""

    def __init__(self, composite: bool, keep: bool) -> None:
        super().__init__()
        self.types, self.keep, self.kept, self.counted = bar_types(composite), keep, [], 0

    def on_start(self) -> None:
        """Subscribe."""
        for kind in self.types:
            self.subscribe_bars(kind)

    def on_bar(self, bar) -> None:
        """Take a bar."""
        self.counted += 1
        if self.keep:
            self.kept.append(bar)


def ticks(trades) -> list[TradeTick]:
    """Trade objects, with the prices, sizes and times of the trades."""
    ts = trades["ts"].astype(np.uint64)
    side = np.where(trades["side"] > 0, BUYER, SELLER).astype(np.uint8)
    numbers = [str(number) for number in range(len(ts))]
    precision = INSTRUMENT.price_precision, INSTRUMENT.size_precision
    return TradeTick.from_raw_arrays_to_list(
        INSTRUMENT.id, *precision, trades["price"], trades["qty"], side, numbers, ts, ts
    )


def run(data: list[TradeTick], composite: bool, keep: bool = False) -> tuple[float, Bars]:
    """Seconds of one run of a fresh engine, without anything it need not do, and its actor."""
    # bars end before the trade of their end, as ours do; a bar made of bars waits for the last of these
    bars = DataEngineConfig(
        time_bars_interval_type="right-open",
        time_bars_timestamp_on_close=False,
        time_bars_build_delay=15 if composite else 0,
    )
    logging = LoggingConfig(bypass_logging=True)
    engine = BacktestEngine(BacktestEngineConfig(logging=logging, data_engine=bars, run_analysis=False))
    engine.add_venue(Venue("BINANCE"), OmsType.NETTING, AccountType.CASH, [Money(1_000_000, USDT)], bar_execution=False)
    engine.add_instrument(INSTRUMENT)
    engine.add_data(data, validate=False, sort=False)
    actor = Bars(composite, keep)
    engine.add_actor(actor)
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    engine.run()
    seconds = time.perf_counter() - began
    gc.enable()
    engine.dispose()
    return seconds, actor


def columns(actor: Bars) -> dict[str, np.ndarray]:
    """The bars per timeframe: (opened at, open, high, low, close, volume)."""
    rows: dict[str, list[list[float]]] = {str(minutes): [] for minutes in MINUTES}
    for bar in actor.kept:
        minutes = MINUTES[[kind.spec for kind in actor.types].index(bar.bar_type.spec)]
        prices = [float(price) for price in (bar.open, bar.high, bar.low, bar.close, bar.volume)]
        rows[str(minutes)].append([bar.ts_event, *prices])
    return {name: np.array(found, np.float64).reshape(-1, 6) for name, found in rows.items()}


def main() -> None:
    source, target, composite, rounds = sys.argv[1:]
    with np.load(source) as trades:
        data = ticks(dict(trades))
    _, actor = run(data, composite == "composite", keep=True)
    seconds = [run(data, composite == "composite")[0] for _ in range(int(rounds))]
    np.savez(target, seconds=np.array(seconds), **columns(actor))


if __name__ == "__main__":
    main()
