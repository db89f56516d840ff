"""Random streams beside trades: a book with its snapshots and skips, best quotes, samples of what is polled, rows of directions."""

from __future__ import annotations

import numpy as np
from lab import START

from events.feeds import BOOKS, CONTEXT, FEEDS, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, TICKERS, TOPS
from events.frames import Array
from events.rows import feature_row
from events.schema import (
    BOOK_DELTA,
    BOOK_SNAPSHOT,
    COLD,
    FOLD_MISSING,
    MISSING,
    NEVER,
    PARTIAL,
    SETTLED,
    SILENT,
    WARMING,
)
from events.times import MINUTE_NS, SECOND_NS

TICK = 0.5


def book(
    n: int, seed: int, spacing_ns: int = SECOND_NS, skips: float = 0.0, crossed: float = 0.0, depth: int = 30
) -> Array:
    """`n` updates of a random book on a grid of ticks, that of the first a snapshot. After an update that was left out (`skips`) or
    crossed the book (`crossed`), a new snapshot comes a few updates later.
    """
    r = np.random.default_rng(seed)
    levels: list[dict[int, float]] = [{}, {}]
    middle, u, at, rows, heal = 200, 1000, START, list[tuple[object, ...]](), -1

    def update(kind: int, first: int, changes: list[tuple[int, int, float]]) -> None:
        head = (at, at, 0, NEVER, u, NEVER) if kind == BOOK_SNAPSHOT else (at, at, 0, first, u, first - 1)
        changes = changes or [(0, 0, 0.0)]
        for k, (side, price, qty) in enumerate(changes):
            rows.append((*head, price * TICK, qty, side, kind, k == len(changes) - 1, 0))

    def snapshot() -> None:
        bids = [(1, p, levels[0][p]) for p in sorted(levels[0], reverse=True)]
        update(BOOK_SNAPSHOT, 0, bids + [(-1, p, levels[1][p]) for p in sorted(levels[1])])

    def quote() -> list[tuple[int, int, float]]:
        """Some levels anew, those that the other side has reached deleted."""
        changes = []
        for which, side in ((0, 1), (1, -1)):
            wanted = {middle - side * k: round(float(r.exponential(5)), 3) + 0.001 for k in range(1, depth + 1)}
            for price in [p for p in levels[which] if p not in wanted]:
                del levels[which][price]
                changes.append((side, price, 0.0))
            fresh = [p for p in wanted if p not in levels[which] or r.random() < 0.1]
            for price in fresh:
                levels[which][price] = wanted[price]
                changes.append((side, price, wanted[price]))
        return changes

    quote()
    snapshot()
    for k in range(n - 1):
        at += int(r.integers(0, 2 * spacing_ns)) * int(r.random() < 0.8)
        if r.random() < 0.02:
            at = -(-at // MINUTE_NS) * MINUTE_NS  # exactly on a boundary
        middle += int(r.integers(-1, 2))
        first, changes = u + 1, quote()
        u += int(r.integers(1, 6))
        if k == heal:
            snapshot()
        elif r.random() < skips:
            heal = max(heal, k + 3)
        elif r.random() < crossed:
            update(BOOK_DELTA, first, [*changes, (1, middle + 5, 1.0)])
            heal = max(heal, k + 3)
        else:
            update(BOOK_DELTA, first, changes)
    out = np.array(rows, FEEDS[BOOKS].dtype)
    out["seq"] = np.arange(len(out))
    return out


def samples(name: str, n: int, seed: int, spacing_ns: int = 20 * SECOND_NS) -> Array:
    """`n` rows of a stream other than the book, some exactly on a boundary, some at one time with the one before."""
    r, out = np.random.default_rng(seed), np.zeros(n, FEEDS[name].dtype)
    at = START + np.cumsum(r.integers(1, 2 * spacing_ns, n) * (r.random(n) < 0.9))
    on_the_minute = r.random(n) < 0.05
    at[on_the_minute] = -(-at[on_the_minute] // MINUTE_NS) * MINUTE_NS
    out["available_at"] = out["ts_recv"] = np.maximum.accumulate(at)
    out["seq"] = np.arange(n)
    if "ts_event" in (out.dtype.names or ()):
        out["ts_event"] = out["available_at"] - np.arange(
            n, 0, -1
        )  # polled: a little older, and each newer than the one before
    price = np.round(100 * np.exp(np.cumsum(r.normal(0, 1e-3, n))), 2)
    if name == TOPS:
        out["bid"], out["ask"] = price, price + 0.5
        out["bid_qty"], out["ask_qty"] = r.exponential(1, (2, n)) + 1e-3
    elif name == TICKERS:
        for field in ("last", "high_24h", "low_24h", "index"):
            out[field] = price
        out["mark"] = price * (1 + r.normal(0, 1e-4, n))
        out["volume_24h"], out["quote_volume_24h"], out["pct_24h"] = 1e3, 1e5, np.nan
    elif name == OPEN_INTEREST:
        out["oi_base"] = 1e4 * np.exp(np.cumsum(r.normal(0, 1e-2, n)))
        out["oi_usd"] = out["oi_base"] * price
    elif name == LONG_SHORT:
        out["long_frac"], out["period_s"] = 0.5 + 0.3 * np.tanh(np.cumsum(r.normal(0, 0.1, n))), 300
    elif name == LIQUIDATIONS:
        out["liq_id"], out["price"], out["qty"] = r.integers(1, 1 << 60, n), price, r.exponential(200, n) + 1e-3
        out["pos"], out["complete"] = r.choice([-1, 1], n), r.random(n) < 0.9
    elif name == CONTEXT:
        out["value"] = r.integers(0, 101, n)
    return out


def feature_rows(bars: Array, columns: int, seed: int, quiet: float = 0.2) -> Array:
    """Rows of so many directions, one per whole bar; of each some are missing, cold, silent or young."""
    r = np.random.default_rng(seed)
    bars = bars[bars["flags"] & (PARTIAL | FOLD_MISSING) == 0]
    out = np.zeros(len(bars), feature_row(columns))
    for field in ("available_at", "g", "ts_open", "ts_close", "flags"):
        out[field] = bars[field]
    out["values"], out["status"] = r.uniform(-1, 1, (len(bars), columns)), SETTLED
    other = r.random((len(bars), columns)) < quiet
    out["status"][other] = r.choice([WARMING, COLD, MISSING, SILENT], int(other.sum()))
    out["values"][out["status"] >= COLD] = np.nan
    return out
