"""Live: the exchange source beside a bare reader of the same frames, and live runs: latency, idling, memory, restart.

The client is ccxt's as it is; the venue is a process of its own on this machine (`benchmarks.pushing`).
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import aiohttp
import msgspec
import numpy as np
from rich.console import Console

from benchmarks.agreement import Disagreement
from benchmarks.live_runs import Latencies, apart, idle, killed, memory, restart, settings_of, warmed, watch
from benchmarks.material import START
from benchmarks.pushing import FIRST_ID, Made, Plan, pushing
from benchmarks.tables import Budget, show, show_rows
from benchmarks.timing import Contender, Took, measure
from connectors.exchange import ExchangeSource, Options
from events.feeds import BOOKS, TRADES
from events.frames import Array, Frame, concat
from events.times import DAY_NS, SECOND_NS

BASES = ("BTC", "ETH", "SOL", "LTC", "ADA", "DOGE", "XYZ", "ABC")
QUOTES = {"binance": "USDT", "kraken": "USD"}
TOGETHER = {"binance": 1, "kraken": 2}
_WAIT_S = 0.005
_GIVE_UP_S = 120.0
_RATE, _PACE, _MANY = 1_000.0, 30.0, 50
_QUOTES = 10.0
_AT_ONCE = 40_000
SIGNALLING = {
    "signals": {"tf": "1m", "cooldown_bars": 0, "hold_bars": 2},
    "confluence": {"theta": 2.0, "release": 1.0, "blend": {"1m": 1.0}, "gates": {"coverage": 0.0}},
}
"""Settings under which each instrument signals every twenty bars or so. The indicators are those of the default settings."""


def pushed(venue: str, count: int) -> Plan:
    """Trades of eight symbols, as fast as they are read."""
    symbols = tuple(f"{base}/{QUOTES[venue]}" for base in BASES)
    return Plan(venue, symbols, count, together=TOGETHER[venue], begin_ns=START, behind=True)


async def _bare(plan: Plan, address: str) -> Took:
    """Read the frames of a connection and parse their JSON; nothing else."""
    path = {"binance": "/stream/ws/1", "kraken": "/v2"}[plan.venue]
    names = [f"{symbol.replace('/', '').lower()}@aggTrade" for symbol in plan.symbols]
    asked = {
        "binance": {"method": "SUBSCRIBE", "params": names, "id": 1},
        "kraken": {"method": "subscribe", "params": {"channel": "trade", "symbol": plan.symbols}},
    }
    count, began = 0, 0.0
    async with aiohttp.ClientSession() as session, session.ws_connect(f"ws://{address}{path}") as socket:
        await socket.send_json(asked[plan.venue])
        while count < plan.count:
            message = msgspec.json.decode((await socket.receive()).data)
            if message.get("e") == "aggTrade":
                count += 1
            elif message.get("channel") == "trade":
                count += len(message["data"])
            began = began or time.process_time()
        return Took(time.process_time() - began)


def bare(plan: Plan, address: str) -> Took:
    """Processor time of a bare reader, from the first frame to the last trade."""
    return asyncio.run(_bare(plan, address))


def through(plan: Plan, address: str, found: list[Frame] | None = None) -> Took:
    """Processor time of the source, both of its threads, from the first rows to the last trade.

    Raises:
        Disagreement: not all of them came.
    """
    source = ExchangeSource({plan.venue: plan.symbols}, Options(queue=plan.count), {plan.venue: address})
    part = source.build_part("in", plan.venue, None)
    rows, began, ends = 0, 0.0, time.monotonic() + _GIVE_UP_S
    try:
        while rows < plan.count:
            batch = part.next_batch()
            if found is not None:
                found += [frame for _, frame in batch]
            rows += sum(len(frame.rows) for _, frame in batch)
            if rows:
                began = began or time.process_time()
            if not batch:
                if time.monotonic() > ends:
                    raise Disagreement(f"{plan.venue}: {rows} of {plan.count} trades came: {part.feed.counts}")
                time.sleep(_WAIT_S)
        return Took(time.process_time() - began)
    finally:
        part.close()


def same_trades(plan: Plan, found: Sequence[Frame]) -> None:
    """See that the frames have the trades of the plan, each once and in order.

    Raises:
        Disagreement: they do not.
    """
    made = Made(plan)
    for symbol in plan.symbols:
        mine = [frame.rows for frame in found if frame.instrument == f"{plan.venue}:{symbol}" and len(frame.rows)]
        fields = ["available_at", "trade_id", "price", "qty", "side"]
        rows = concat(mine)[fields].tolist()
        want = [made.row(symbol, FIRST_ID + k) for k in range(made.ids(symbol, plan.count))]
        if rows != [(at, trade_id, price, qty, side) for at, _, _, trade_id, price, qty, side, _ in want]:
            raise Disagreement(f"{plan.venue}:{symbol}: the rows are not the {len(want)} trades that were made")


def source(console: Console, quick: bool) -> list[Budget]:
    """The exchange source beside a bare reader."""
    budgets = []
    for venue in QUOTES:
        plan = pushed(venue, 40_000 if quick else 200_000)
        with pushing(plan) as address:
            found: list[Frame] = []
            through(plan, address, found)
            same_trades(plan, found)
            what = "one trade a frame" if plan.together == 1 else f"{plan.together} trades a frame"
            contenders = [
                Contender(f"websocket and JSON alone, {venue}, {what}", plan.count, partial(bare, plan, address)),
                Contender(f"exchange source, {venue}, {what}", plan.count, partial(through, plan, address)),
            ]
            measured = measure(contenders, 2 if quick else 4, warm=False)
        show(console, f"Trades of {venue} through ccxt's client, processor time of the reader", measured)
        budgets.append(Budget(f"exchange source, {venue}, one core", measured[1].rate, 40_000, "trades/s"))
    return budgets


def latency(console: Console, quick: bool) -> list[Budget]:
    """From the trade that closes a bar to the signal, without and with books."""
    step_ns = round(_PACE * SECOND_NS / _RATE)
    symbols = ("BTC/USDT", *(f"C{k:03}/USDT" for k in range(1, _MANY)))
    budgets = []
    for feeds in ((TRADES,), (TRADES, BOOKS)):
        quotes = _QUOTES if BOOKS in feeds else 0.0
        plan = Plan(
            "binance", symbols, 1 << 40, _RATE, step_ns, begin_ns=START, at_once=_AT_ONCE, uneven=True, quotes=quotes
        )
        # a market that is faster than the clock must not look silent
        exchange = {"feeds": feeds, "stale_s": 20 * _PACE}
        with tempfile.TemporaryDirectory() as folder, pushing(plan) as address:
            settings = settings_of(address, symbols, Path(folder) / "markets", **SIGNALLING, exchange=exchange)
            seconds = 15.0 if quick else 60.0
            found: dict[str, Latencies] = apart(watch, settings, Path(folder), seconds, step_ns, _RATE, _AT_ONCE)
        budgets += _latency(console, found, quotes)
    return budgets


def _latency(console: Console, found: dict[str, Latencies], quotes: float) -> list[Budget]:
    """Print the latencies of one run."""
    rows = [
        (stream, *span, f"{len(spent):,}", *(f"{mark:,.1f}" for mark in _marks(spent, 50, 99, 100)))
        for stream, of in found.items()
        for span, spent in (
            (("its last trade received", "leaves the graph"), of.record),
            *[(("all it needs received", "leaves the graph"), of.needed)] * bool(quotes),
            (("its bar's end", "leaves the graph"), of.close),
            (("its last trade received", "in SQLite"), of.visible),
        )
    ]
    books = f", {quotes:g} updates/s of the book of each" if quotes else ""
    title = f"Latency at {_RATE:,.0f} trades/s over {_MANY} instruments{books}; a bar of 1m every {60 / _PACE:g} s"
    show_rows(console, title, ("a row of", "since", "until it", "rows", "p50 ms", "p99 ms", "worst"), rows)
    median, late = _marks(found["signals"].needed, 50, 99)
    what = "last trade or update to signal, with books" if quotes else "last trade to signal, 1,000 trades/s"
    bounds = (150, 500) if quotes else (15, 60)  # with books, the rows of all instruments are due within 100 ms
    return [
        Budget(f"{what}, p50", median, bounds[0], "ms", at_most=True),
        Budget(f"{what}, p99", late, bounds[1], "ms", at_most=True),
    ]


def _marks(spent: Array, *percents: int) -> list[float]:
    """Percentiles in ms; none where there was nothing."""
    return [float(np.percentile(spent * 1e3, percent)) if len(spent) else float("nan") for percent in percents]


def idling(console: Console, quick: bool) -> list[Budget]:
    """200 instruments of which one trades, twice a second."""
    symbols = ("BTC/USDT", *(f"C{k:03}/USDT" for k in range(1, 200)))
    plan = Plan("binance", symbols, 1 << 40, 2.0, SECOND_NS // 2, trading=1)
    with tempfile.TemporaryDirectory() as folder, pushing(plan) as address:
        settings = settings_of(address, symbols, Path(folder) / "markets")
        share = apart(idle, settings, Path(folder), 10.0 if quick else 60.0)
    return [Budget("idle, 200 quiet instruments", 100 * share, 5, "% of one core", at_most=True)]


def holding(console: Console, quick: bool) -> list[Budget]:
    """Memory over many trades."""
    count = 1_000_000 if quick else 10_000_000
    plan = Plan("binance", pushed("binance", count).symbols, count, step_ns=5_000_000, begin_ns=START)
    with tempfile.TemporaryDirectory() as folder, pushing(plan) as address:
        settings = settings_of(address, plan.symbols, Path(folder) / "markets")
        samples = apart(memory, settings, Path(folder), count)
    at, mb, seconds = np.array(samples).T
    thirds = [mb[(at >= count * k / 3) & (at < count * (k + 1) / 3)] for k in range(3)]
    rate = (at[-1] - at[0]) / (seconds[-1] - seconds[0])
    rows = [
        (f"third {k + 1}", *(f"{of(third):,.0f}" for of in (np.min, np.mean, np.max))) for k, third in enumerate(thirds)
    ]
    title = f"Memory of a live run over {count:,} trades of 8 instruments, {rate:,.0f} a second by the clock"
    show_rows(console, title, ("of the trades", "least MB", "mean MB", "most MB"), rows)
    growth = 100 * (np.mean(thirds[2]) / np.mean(thirds[0]) - 1)
    return [Budget(f"growth of memory, last third against first of {count:,} trades", growth, 5, "%", at_most=True)]


def restarting(console: Console, quick: bool) -> list[Budget]:
    """Killed, and started again."""
    many, days = (100, 2) if quick else (1_000, 60)
    symbols = ("BTC/USDT", *(f"C{k:03}/USDT" for k in range(1, many)))
    at_once = round(_RATE) * 125  # two minutes of the market, so that bars close
    begin_ns, step_ns = START + (days + 1) * DAY_NS, round(SECOND_NS / _RATE)
    plan = Plan("binance", symbols, 1 << 40, _RATE, step_ns, begin_ns=begin_ns, at_once=at_once)
    with tempfile.TemporaryDirectory() as folder, pushing(plan) as address:
        settings = settings_of(address, symbols, Path(folder) / "markets")
        killed(settings, Path(folder), at_once + 2_000)
        state = apart(warmed, Path(folder), float(days), [f"binance:{symbol}" for symbol in symbols])
        found = apart(restart, settings, Path(folder), time.time())
    back = f"{many * state / 1e6:,.0f} MB of state are back, {found.tape_rows:,} trades of the tape read"
    steps = ("the program is imported", back, "the first new trade is handed out")
    title = f"Restart of a killed live run of {many:,} instruments after {days} days"
    show_rows(console, title, ("until", "seconds"), [(step, f"{s:.1f}") for step, s in zip(steps, found)])
    return [Budget(f"restart with {many:,} instruments", found.first, 20, "s", at_most=True)]


def bench(console: Console, quick: bool) -> list[Budget]:
    """Measure and print."""
    return [budget for part in (source, latency, idling, holding, restarting) for budget in part(console, quick)]
