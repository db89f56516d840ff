"""One case per core: how it is made, and streams that exercise it. Cores are found by walking the package, never listed."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from beside import feature_rows
from book_cases import book_cases
from lab import ALL, KEY, START, Joined, deliver, drive, funding, klines, trades
from micro_cases import micro_cases

import operators
from events.frames import Array, control
from events.rows import BAR, FUNDING, MARKET_ROW, OHLCV, feature_row
from events.schema import BEACON, COLD, COVERAGE, END, HOLE, ID_HOLE, NEVER, RECONNECT, VOID
from events.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from operators.analysis import Analysis, completed
from operators.ballot import BesideFeatures
from operators.bars import Bars
from operators.beta import Beta
from operators.broadcast import AVERAGE_ROW, CLOSE_ROW, closes
from operators.confluence import Confluence, ConfluenceSettings, Voters
from operators.dimensions import SCORES, UNBLENDED
from operators.history import Features
from operators.indicators import Indicator
from operators.indicators.regime import LOW_LIQUIDITY
from operators.klines import KlineBars
from operators.latest import Input, Latest
from operators.market import Market
from operators.microstructure.scores import MICRO_SCORES, MicroScore
from operators.preload import PreloadedBars
from operators.reconcile import Reconciliation
from operators.signals import Signals, SignalSettings

NEEDED = ("atr_14", "regime", "swing.high", "swing.low")
TIMEFRAMES = (("1m", MINUTE_NS), ("5m", 5 * MINUTE_NS), ("30m", 30 * MINUTE_NS))

MINUTE = START // MINUTE_NS * MINUTE_NS
VOIDS = (
    (MINUTE + 61 * MINUTE_NS + 7, MINUTE + 62 * MINUTE_NS),
    (MINUTE + 62 * MINUTE_NS + 1, MINUTE + 63 * MINUTE_NS),  # where the one before ends
    (MINUTE + 70 * MINUTE_NS, MINUTE + 71 * MINUTE_NS),  # from a boundary on
    (MINUTE + 80 * MINUTE_NS + 20 * SECOND_NS, MINUTE + 80 * MINUTE_NS + 30 * SECOND_NS),  # within a minute
    (MINUTE + 100 * MINUTE_NS + 30 * SECOND_NS, MINUTE + 126 * MINUTE_NS),
)
"""Spans in which a book is not known, though its updates come later."""


class Case(NamedTuple):
    """`core` makes the core; `streams` are its inputs, the driving one first; `controls` what is said about them."""

    core: Callable[[], Any]
    streams: dict[str, Array]
    controls: dict[str, Array] = {}  # noqa: RUF012
    outputs: tuple[str, ...] = ()
    late_rows: bool = False  # whether the rows come out of order, by up to two seconds


def found_cores() -> set[type]:
    """Every class of the package `operators` that is a core."""
    cores = set()
    for module in pkgutil.walk_packages(operators.__path__, "operators."):
        for _, item in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            methods = ("advance", "promise", "snapshot", "restore")
            if item.__module__ == module.name and all(hasattr(item, m) for m in methods) and not _is_protocol(item):
                cores.add(item)
    return cores


def _is_protocol(item: type) -> bool:
    return bool(getattr(item, "_is_protocol", False))


@cache
def analysis() -> Analysis:
    """All scores, and the columns that they need."""
    return Analysis(completed((), SCORES, NEEDED), SCORES)


def breaking(bad_close: float) -> Analysis:
    """The default columns, one that raises as long as a certain close is in its history, and one that gives Inf there."""

    def twice(close: Array) -> Array:
        if bad_close in close:
            raise ArithmeticError("a price it cannot bear")
        return close * 2.0

    def inverse(close: Array) -> Array:
        with np.errstate(divide="ignore"):
            return 1.0 / (close - bad_close)

    def plugin(name: str, function: Callable[..., Any]) -> Indicator:
        return Indicator((name,), function, ("close",), 64, 1, 0, ("lab", name))

    return Analysis((*analysis().indicators, plugin("twice", twice), plugin("inverse", inverse)), ())


CONFLUENCE = ConfluenceSettings(
    timeframes=(("1m", MINUTE_NS, 0.7), ("5m", 5 * MINUTE_NS, 0.3), ("30m", 30 * MINUTE_NS, 0.0)),
    dimensions=(("smart_money", 0.14), ("volume", 0.18), ("structure", 0.15), ("technical", 0.10)),
    risk_timeframe="1m",
)
SIGNALS = SignalSettings(
    timeframe=("1m", MINUTE_NS),
    base_ns=MINUTE_NS,
    dimensions=("smart_money", "volume", "structure", "technical"),
    features=tuple((score.dimension, score.name) for score in SCORES),
    timeframes=tuple(name for name, _ in TIMEFRAMES),
    analysis_hash="0" * 16,
)

MICRO = BesideFeatures(
    "micro",
    ("spread_bps", "spread_pctl", "book_age_s", *(score.column for score in MICRO_SCORES))
    + tuple(score.freshness for score in MICRO_SCORES if score.freshness),
    MICRO_SCORES,
    tuple(name for name, _ in TIMEFRAMES),
)
BETA = BesideFeatures(
    "beta",
    ("beta", "bitcoin_beta.residual_momentum"),
    (MicroScore("residual_momentum", "bitcoin_beta", 1.0, "bitcoin_beta.residual_momentum", None, ("trades",)),),
    MICRO.timeframes,
)
"""Streams beside the features as the cores of them make them, of columns that matter to the score."""
WHOLE = CONFLUENCE._replace(
    dimensions=(
        ("order_flow", 0.18), ("liquidity", 0.14), ("sentiment", 0.10), ("bitcoin_beta", 0.10), *CONFLUENCE.dimensions,
    ),
    unblended=UNBLENDED,
    instruments={
        KEY: Voters((0.18, 0.14, 0.10, 0.10, *(w for _, w in CONFLUENCE.dimensions)), 12.0, (), ("book", "spread"))
    },
)  # fmt: skip
"""All dimensions that there are; the lab's instrument is judged by the gates of the market."""

TABLE = {
    "n": 300, "wins": 100, "ts_to": START + HOUR_NS,
    "buckets": [
        {"strength": s, "tercile": t, "regime": "RANGING", "n_b": 20, "wins_b": s + t, "p_b": None}
        for s in range(8) for t in range(3)
    ],
}  # fmt: skip


@cache
def beside_features() -> dict[str, Array]:
    """Rows of `MICRO` and `BETA` on every timeframe, beside the lab's bars."""
    found = {}
    for seed, (name, _) in enumerate(TIMEFRAMES):
        bars = made()[f"bars.{name}"]
        micro = found[f"micro.{name}"] = feature_rows(bars, len(MICRO.columns), 20 + seed)
        micro["values"][:, :3] = np.random.default_rng(seed).uniform(0, 1, (len(micro), 3)) * (20.0, 1.2, 40.0)
        micro["values"][:, :3][micro["status"][:, :3] >= COLD] = np.nan
        fresh = slice(3 + len(MICRO_SCORES), None)
        micro["values"][:, fresh] = 2.0 ** -np.abs(micro["values"][:, fresh])
        found[f"beta.{name}"] = feature_rows(bars, len(BETA.columns), 40 + seed)
    return found


@cache
def made() -> dict[str, Any]:
    """What each core makes of the lab's market: the inputs of the next one."""
    ticks = trades(9_000, 1, 4 * SECOND_NS, gap_ns=3 * DAY_NS)
    out = drive(lambda: Bars(TIMEFRAMES, 60), ["trades"], deliver({"trades": ticks}, ALL))
    for name, length in TIMEFRAMES:
        source = {f"bars.{name}": out[f"bars.{name}"]}
        out |= drive(lambda n=name, t=length: Features(n, t, analysis()), source, deliver(source, ALL))
    joined = {name: out[name] for name in ("bars.1m", *(f"features.{n}" for n, _ in TIMEFRAMES))}
    out |= drive(lambda: Confluence(CONFLUENCE, analysis()), joined, deliver(joined, ALL))
    made = {name: out[name] for name in ("confluence", "votes")}
    out |= drive(lambda: Signals(SIGNALS), made, deliver(made, ALL))
    return {"trades": ticks, **out}


def history(bars: dict[str, Array], until: int) -> Array:
    """Klines of all timeframes up to a time, as a venue has them, and some after it."""
    rows = [
        (bar["ts_close"], 0, 0, bar["ts_open"], *bar[["open", "high", "low", "close", "volume"]].item(), np.nan, 1, 0)
        for name, _ in TIMEFRAMES
        for bar in bars[f"bars.{name}"]
        if bar["ts_close"] <= until + 20 * MINUTE_NS and bar["n_trades"]
    ]
    out = np.array(rows, OHLCV)
    out = out[np.lexsort((-out["ts_open"], out["available_at"]))]
    out["seq"] = np.arange(len(out))
    return out


def closes_of_two_days(seed: int) -> Array:
    """The closes of a morning, and of the same time a day later; some are missing."""
    r = np.random.default_rng(seed)
    out = np.zeros(240, CLOSE_ROW)
    out["g"] = START // MINUTE_NS + np.append(np.arange(100), 1440 + np.arange(140))
    out["available_at"] = (out["g"] + 1) * MINUTE_NS
    out["close"] = 100 * np.exp(np.cumsum(r.normal(0, 1e-3, 240)))
    return np.delete(out, r.integers(0, 100, 2 * seed))


def regimes_of(confluence: Array) -> Array:
    """The regime of the market a nanosecond after most boundaries, in runs of half an hour."""
    r = np.random.default_rng(8)
    out = np.zeros(len(confluence), MARKET_ROW)
    out["available_at"] = confluence["available_at"] + 1
    out["market_regime"] = np.repeat(r.choice([-1, 0, 1, NEVER], len(out) // 30 + 1), 30)[: len(out)]
    return np.delete(out, r.integers(0, len(out), 40))


def averages_of(closes: Array, seed: int) -> Array:
    """Some average every thirty minutes."""
    at = closes[(closes["g"] + 1) % 30 == 0]
    out = np.zeros(len(at), AVERAGE_ROW)
    out["available_at"] = at["available_at"]
    out["ema"] = at["close"] + np.random.default_rng(seed).normal(0, 0.1, len(at))
    return out


def checks(bars: Array) -> Array:
    """The venue's klines of most of these bars, some of them other than ours or late, and some of minutes that have no bar."""
    r = np.random.default_rng(9)
    kept = bars[r.random(len(bars)) < 0.9]
    out = np.zeros(len(kept), OHLCV)
    for name in ("ts_open", "open", "high", "low", "close", "volume"):
        out[name] = kept[name]
    out["available_at"] = kept["ts_close"] + (r.random(len(kept)) < 0.5) * r.integers(0, 5 * MINUTE_NS, len(kept))
    out["available_at"][100] = kept["ts_close"][100] + 25 * HOUR_NS
    out["ts_open"][200] += 17 * DAY_NS
    out["high"][r.random(len(kept)) < 0.05] += 0.5
    out["volume"][r.random(len(kept)) < 0.05] *= 1.01
    out["quote_volume"], out["closed"] = np.nan, 1
    out = out[np.lexsort((out["ts_open"], out["available_at"]))]
    out["ts_recv"], out["seq"] = out["available_at"], np.arange(len(out))
    return out


def cases() -> dict[str, Case]:
    """All cases, by name; the name begins with that of the core."""
    m = made()
    ticks, rates = m["trades"], funding(700, 2)
    shuffled = trades(4_000, 1, 8 * SECOND_NS, gap_ns=3 * DAY_NS, shuffle_ns=2 * SECOND_NS)
    said = np.concatenate(
        [
            control(COVERAGE, START, START // MINUTE_NS * MINUTE_NS + 7 * MINUTE_NS),
            control(HOLE, int(ticks["available_at"][500]), *map(int, ticks["available_at"][500:502]), ID_HOLE, 7, 9),
            control(HOLE, int(ticks["available_at"][900]), *map(int, ticks["available_at"][[900, 990]]), ID_HOLE, 7, 9),
            control(BEACON, START + 50 * MINUTE_NS, START + 50 * MINUTE_NS, START + HOUR_NS),
        ]
    )
    holed = np.concatenate([ticks[:901], ticks[990:3_000]])
    down = control(VOID, START + 100 * MINUTE_NS, START + 100 * MINUTE_NS, START + 126 * MINUTE_NS)
    inputs = (Input("bars.5m", BAR, HOUR_NS), Input("funding", FUNDING, 6 * MINUTE_NS))
    joined = {name: m[name] for name in ("bars.1m", *(f"features.{n}" for n, _ in TIMEFRAMES))}
    illiquid = m["confluence"].copy()
    illiquid["regime"][np.random.default_rng(7).random(len(illiquid)) < 0.05] = LOW_LIQUIDITY
    shut = m["confluence"].copy()
    shut["gates"][:, 0] = np.random.default_rng(5).random(len(shut)) < 0.3
    paid = rates.copy()
    paid["predicted"] = np.random.default_rng(6).random(len(paid)) < 0.3
    minutes = klines(3_000, 4, quiet=0.02, quoted=True)
    minutes = np.delete(minutes, slice(400, 420))
    began = START // MINUTE_NS * MINUTE_NS + 143 * MINUTE_NS
    holes = m["bars.1m"][m["bars.1m"]["g"] % 256 < 56]
    other = drive(lambda: Bars(TIMEFRAMES, 60), ["trades"], deliver({"trades": trades(8_000, 21)}, ALL))["bars.1m"]
    other = np.delete(closes(other), slice(150, 155))
    market = {f"bars.1m@lab:{k}": closes_of_two_days(k) for k in range(5)}
    market |= {f"features.30m@lab:{k}": averages_of(market[f"bars.1m@lab:{k}"], k) for k in range(5)}
    later = control(VOID, START + DAY_NS + 20 * MINUTE_NS, START + DAY_NS + 20 * MINUTE_NS, START + DAY_NS + HOUR_NS)
    return {
        "Bars": Case(
            lambda: Bars(TIMEFRAMES, 60), {"trades": ticks}, outputs=("bars.1m", "bars.5m", "bars.30m", "gaps")
        ),
        "Bars, out of order": Case(
            lambda: Bars(TIMEFRAMES, 60), {"trades": shuffled}, outputs=("bars.1m",), late_rows=True
        ),
        "Bars, with statements": Case(
            lambda: Bars(TIMEFRAMES, 5), {"trades": holed}, {"trades": said}, ("bars.1m", "gaps")
        ),
        "PreloadedBars": Case(
            lambda: PreloadedBars(TIMEFRAMES, 60),
            {"trades": ticks[ticks["available_at"] >= began + 7 * SECOND_NS], "preload": history(m, began)},
            {"preload": control(COVERAGE, NEVER, began + 7 * SECOND_NS, began)},
            ("bars.1m", "bars.5m", "bars.30m", "gaps"),
        ),
        "KlineBars": Case(
            lambda: KlineBars(TIMEFRAMES, 60),
            {"klines.1m": klines(4_000, 3, 3 * DAY_NS)},
            outputs=("bars.1m", "bars.5m", "bars.30m", "gaps"),
        ),
        "KlineBars, with statements": Case(
            lambda: KlineBars(TIMEFRAMES, 5),
            {"klines.1m": np.delete(minutes, slice(901, 990))},
            {
                "klines.1m": np.concatenate(
                    [
                        control(COVERAGE, START, START // MINUTE_NS * MINUTE_NS + 7 * MINUTE_NS),
                        control(HOLE, *map(int, minutes["available_at"][[900, 900, 990]]), RECONNECT),
                        control(BEACON, START + 50 * MINUTE_NS, START + 50 * MINUTE_NS, START + HOUR_NS),
                    ]
                )
            },
            ("bars.1m", "gaps"),
        ),
        "Features": Case(
            lambda: Features("1m", MINUTE_NS, breaking(float(m["bars.1m"]["close"][100]))),
            {"bars.1m": m["bars.1m"]},
            outputs=("features.1m", "dead_letters"),
        ),
        "Features, bars missing": Case(
            lambda: Features("1m", MINUTE_NS, analysis()), {"bars.1m": holes}, outputs=("features.1m",)
        ),
        "Features, 5m": Case(
            lambda: Features("5m", 5 * MINUTE_NS, analysis()), {"bars.5m": m["bars.5m"]}, outputs=("features.5m",)
        ),
        "Reconciliation": Case(
            Reconciliation,
            {"check.1m": checks(m["bars.1m"]), "bars.1m": m["bars.1m"]},
            {
                "check.1m": np.concatenate(
                    [
                        control(VOID, START + 150 * MINUTE_NS, START + 150 * MINUTE_NS, START + 200 * MINUTE_NS),
                        control(END, int(m["bars.1m"]["ts_close"][-1]) + 7 * MINUTE_NS),
                    ]
                )
            },
            ("reconcile", "reconcile_counts"),
        ),
        "Latest": Case(lambda: Latest("funding", 30 * MINUTE_NS), {"funding": rates}, outputs=("funding",)),
        "Joined": Case(
            lambda: Joined("joined", "bars.1m", inputs),
            {"bars.1m": m["bars.1m"], "bars.5m": m["bars.5m"], "funding": rates},
            {"funding": down},
            ("joined",),
        ),
        "Beta": Case(
            lambda: Beta("1m", MINUTE_NS, 120),
            {"bars.1m": m["bars.1m"], "reference.1m": other},
            {"reference.1m": down},
            ("beta.1m",),
        ),
        "Market": Case(
            lambda: Market([f"lab:{k}" for k in range(5)], "lab:1"),
            market,
            {f"bars.1m@lab:{k}": row for k, row in ((2, down), (3, later))},
            ("global.1m",),
        ),
        "Confluence": Case(lambda: Confluence(CONFLUENCE, analysis()), joined, outputs=("confluence", "votes")),
        "Confluence, all dimensions": Case(
            lambda: Confluence(WHOLE, analysis(), beside=(MICRO, BETA)),
            joined | beside_features(),
            {"micro.1m": down, "beta.5m": down},
            ("confluence", "votes"),
        ),
        "Confluence, one beside it absent": Case(
            lambda: Confluence(WHOLE, analysis(), beside=(MICRO, BETA)),
            joined | beside_features() | {f"beta.{n}": np.empty(0, feature_row(2)) for n, _ in TIMEFRAMES},
            outputs=("confluence", "votes"),
        ),
        "Signals, gates shut": Case(
            lambda: Signals(SIGNALS), {"confluence": shut, "votes": m["votes"]}, outputs=("signals", "updates")
        ),
        "Signals": Case(
            lambda: Signals(SIGNALS),
            {"confluence": m["confluence"], "votes": m["votes"]},
            outputs=("signals", "updates", "outcomes"),
        ),
        "Signals, with the market": Case(
            lambda: Signals(SIGNALS._replace(shut_markets=("BROAD_DOWN",)), market=True),
            {"confluence": m["confluence"], "votes": m["votes"], "market.1m": regimes_of(m["confluence"])},
            {"market.1m": down},
            ("signals", "updates", "outcomes"),
        ),
        "Signals, with funding": Case(
            lambda: Signals(SIGNALS._replace(close_on_illiquid=True, calibration=TABLE), funding=True),
            {"confluence": illiquid, "votes": m["votes"], "funding": paid},
            outputs=("signals", "updates", "outcomes"),
        ),
        **{name: Case(*given) for name, given in (book_cases() | micro_cases()).items()},
    }


__all__ = ["CONFLUENCE", "KEY", "NEVER", "SIGNALS", "TIMEFRAMES", "Case", "analysis", "cases", "found_cores", "made"]
