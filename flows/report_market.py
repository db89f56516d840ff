"""What was known of the whole market at some times, as the signals of a finished run saw it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from connectors.segments import parquet_path, read_stream
from events.feeds import GLOBAL
from events.frames import Array, missing
from events.rows import MARKET_ROW
from events.schema import MARKET_REGIME_NAMES
from events.streams import Columns
from events.times import iso
from flows.plan import Plan
from flows.rundir import MARKET, SHARD
from operators.market import TOGETHER

_FIGURES: Final = {
    "breadth_up": "{:.0%} up over 24 hours",
    "above_ema50": "{:.0%} above EMA50 of 30m",
    "mean_rho": "mean correlation {:.2f}",
    "ref_rv": "volatility of the reference {:.0%} a year",
}


def market_of(directory: Path) -> Path | None:
    """The run directory with the rows of the whole market: that beside a shard, else the run itself; None beside no shard."""
    if not directory.name.startswith(SHARD):
        return directory
    beside = directory.parent / MARKET
    return beside if parquet_path(beside, TOGETHER).exists() else None


def market_before(directory: Path, plan: Plan, times: Array) -> Array:
    """The newest row of the whole market before each time, if it is younger than two base bars; else one that says nothing.

    Raises:
        RunError: the file is missing or of other settings.
    """
    nothing = missing(MARKET_ROW)
    home = market_of(directory) if plan.cross.compared else None
    rows = read_stream(home, Columns(TOGETHER, MARKET_ROW), GLOBAL) if home is not None else nothing[:0]
    known = np.append(nothing, rows)
    place = np.searchsorted(rows["available_at"], times, side="left")
    fresh = times - known["available_at"][place] < 2 * plan.timeframes[0][1]
    found: Array = known[np.where((place > 0) & fresh, place, 0)]
    return found


def shut_by_market(directory: Path, plan: Plan, scores: Array) -> Array:
    """On which confluence rows the regime of the market kept a long from beginning."""
    named = plan.signals.shut_markets
    if not named or not plan.cross.compared:
        return np.zeros(len(scores), np.bool_)
    codes = [code for code, name in MARKET_REGIME_NAMES.items() if name in named]
    regimes = market_before(directory, plan, scores["available_at"])["market_regime"]
    shut: Array = (scores["state"] > 0) & np.isin(regimes, codes)
    return shut


def market_line(row: Array) -> str:
    """A row of the whole market, in words.

    >>> print(market_line(missing(MARKET_ROW)[0]))
    market before: nothing known
    """
    regime = MARKET_REGIME_NAMES.get(int(row["market_regime"]))
    if regime is None:
        return "market before: nothing known"
    said = [form.format(float(row[name])) for name, form in _FIGURES.items() if not np.isnan(row[name])]
    return f"market at {iso(int(row['available_at']))}: {regime}, of {int(row['n'])} instruments; {', '.join(said)}"
