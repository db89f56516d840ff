"""A seeded model of trades: volatility clusters, takers split their orders, and nothing trends: there is nothing to find in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from events.frames import Array
from events.rows import TRADE
from events.times import DAY_NS, MINUTE_NS

_MILLISECOND_NS = 1_000_000


@dataclass(frozen=True)
class Market:
    """One instrument of the model.

    Attributes:
        instrument: `exchange:BASE/QUOTE`; the exchange should say that it is synthetic.
        price: where it begins.
        tick: price step.
        daily_volatility: of log returns, as a fraction.
        trades_per_minute: on average; more when volatility is high.
        seed: of everything random.
    """

    instrument: str = "synthetic:BTC/USDT"
    price: float = 60_000.0
    tick: float = 0.01
    daily_volatility: float = 0.03
    trades_per_minute: float = 12.0
    seed: int = 1

    def trades(self, start_ns: int, days: float) -> Array:
        """TRADE rows of so many days from `start_ns`, with consecutive ids.

        >>> rows = Market().trades(0, 0.1)
        >>> len(rows) > 500, bool((rows["price"] > 0).all())
        (True, True)
        """
        r = np.random.default_rng(self.seed)
        minutes = max(1, round(days * DAY_NS / MINUTE_NS))
        # log volatility is a slow mean-reverting walk, so that calm and storm take turns
        volatility = np.exp(_reverting(r, minutes, pull=1 / 240, spread=0.5))
        counts = r.poisson(self.trades_per_minute * volatility)
        n = int(counts.sum())
        minute = np.repeat(np.arange(minutes), counts)
        at = np.sort(minute * MINUTE_NS + r.integers(0, MINUTE_NS // _MILLISECOND_NS, n) * _MILLISECOND_NS)
        step = self.daily_volatility / np.sqrt(1440 * self.trades_per_minute) * np.sqrt(volatility[minute])
        returns = step * r.standard_normal(n)
        swept = r.random(n) < 0.25  # the next fill of the same taker order: same time, same side
        swept[:1] = False
        last_order = np.maximum.accumulate(np.where(swept, 0, np.arange(n)))
        out = np.zeros(n, TRADE)
        out["available_at"] = out["ts_recv"] = start_ns + at[last_order]
        out["seq"] = out["trade_id"] = np.arange(1, n + 1)
        out["price"] = np.maximum(np.round(self.price * np.exp(np.cumsum(returns)) / self.tick), 1) * self.tick
        out["price"] = np.round(out["price"], 8)
        out["qty"] = np.round(r.lognormal(-3.0, 1.2, n), 5) + 1e-5
        side = np.where(r.random(n) < 0.5 + 0.4 * np.tanh(returns / step), 1, -1)
        out["side"] = side[last_order]
        return out


def _reverting(r: np.random.Generator, n: int, pull: float, spread: float) -> Array:
    """A mean-reverting walk around zero whose long-run deviation is `spread`."""
    out, value = np.empty(n), 0.0
    shocks = r.standard_normal(n) * spread * np.sqrt(2 * pull)
    for i in range(n):
        value += shocks[i] - pull * value
        out[i] = value
    return out


def write_trades(path: Path, markets: tuple[Market, ...], start_ns: int, days: float) -> int:
    """Write trades of several instruments to a Parquet file of layout `tidewax`, by time; gives how many there are."""
    parts = [market.trades(start_ns, days) for market in markets]
    rows = np.concatenate(parts)
    names = np.repeat([market.instrument for market in markets], [len(part) for part in parts])
    order = np.argsort(rows["available_at"], kind="stable")
    rows, names = rows[order], names[order]
    side = np.where(rows["side"] > 0, "buy", "sell")
    columns = {
        "instrument": pa.array(names).dictionary_encode(),
        "ts_event": pa.array(rows["available_at"]),
        "trade_id": pa.array(rows["trade_id"]),
        "price": pa.array(rows["price"]),
        "qty": pa.array(rows["qty"]),
        "side": pa.array(side).dictionary_encode(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, compression="lz4")
    return len(rows)
