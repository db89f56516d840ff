"""Figures of paper outcomes, each with n and a 95 % interval to judge it by. Units are multiples R of the initial risk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, median, stdev
from typing import Any, Final

from events.records import Outcome
from events.times import SECOND_NS

Z95: Final = 1.96
"""Quantile of the 95 % intervals, as the specification writes it."""
FEWEST: Final = 30
"""Below so many outcomes nothing is said of them."""
Interval = tuple[float, float]


def wilson(wins: int, n: int) -> Interval:
    """The 95 % score interval of a rate (Wilson 1927).

    >>> [round(bound, 4) for bound in wilson(81, 263)]  # Newcombe 1998, table I, method 3
    [0.2553, 0.3662]

    Raises:
        ValueError: n is 0.
    """
    if n < 1:
        raise ValueError("a rate of nothing has no interval")
    p, square = wins / n, Z95 * Z95
    middle, half = p + square / (2 * n), Z95 * math.sqrt(p * (1 - p) / n + square / (4 * n * n))
    return max(0.0, (middle - half) / (1 + square / n)), min(1.0, (middle + half) / (1 + square / n))


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Mean -+ 1.96 s / sqrt n with s of n - 1 degrees of freedom; None for fewer than two values.

    >>> [round(bound, 12) for bound in mean_interval([1.0, 2.0, 3.0])]
    [0.868393472388, 3.131606527612]
    """
    if len(values) < 2:
        return None
    mean, half = fmean(values), Z95 * stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


def profit_factor(values: Sequence[float]) -> float | None:
    """Sum of gains over the sum of losses; None where nothing was lost.

    >>> profit_factor([1.5, -1.0, 0.5, -0.25])
    1.6
    """
    lost = -math.fsum(value for value in values if value < 0)
    return math.fsum(value for value in values if value > 0) / lost if lost > 0 else None


def drawdown(values: Sequence[float]) -> float:
    """The deepest fall of the running sum below its highest point so far, which begins at 0.

    >>> drawdown([1.0, -0.5, -1.0, 2.0, -0.25])
    1.5
    """
    total = peak = deepest = 0.0
    for value in values:
        total += value
        peak = max(peak, total)
        deepest = max(deepest, peak - total)
    return deepest


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All figures of these outcomes as plain data; only n where there are none.

    A win is r_net > 0. The expectancy, win rate * mean win + loss rate * mean loss, is the mean r_net. `drawdown_r` follows them
    in the order of their ends. `time_s` is the mean time from entry to exit.
    """
    ordered = sorted(outcomes, key=lambda o: (o.ts_close, o.key, o.signal_id))
    net = [outcome.r_net for outcome in ordered]
    n, wins = len(net), sum(r > 0 for r in net)
    if not n:
        return {"n": 0}
    return {
        "n": n,
        "wins": wins,
        "win_rate": wins / n,
        "win_rate_interval": wilson(wins, n),
        "mean_r": fmean(net),
        "mean_r_interval": mean_interval(net),
        "median_r": median(net),
        "expectancy_r": fmean(net),
        "profit_factor": profit_factor(net),
        "drawdown_r": drawdown(net),
        "best_r": max(net),
        "worst_r": min(net),
        "mfe_r": fmean(o.mfe for o in ordered),
        "mae_r": fmean(o.mae for o in ordered),
        "time_s": fmean(o.ts_close - o.ts_open for o in ordered) / SECOND_NS,
    }


def percent(rate: float | None) -> str:
    """A rate for people.

    >>> percent(0.0375), percent(0.5), percent(0.0001), percent(None)
    ('3.8 %', '50 %', '<0.1 %', '-')
    """
    if rate is None:
        return "-"
    if 0 < rate < 0.0005:
        return "<0.1 %"
    return f"{rate * 100:.1f} %" if 0 < rate < 0.0995 else f"{rate * 100:.0f} %"


def signed(value: float | None) -> str:
    """A multiple of R for people: sign and two decimals, a dash for none.

    >>> signed(-0.204), signed(None), signed(-0.001)
    ('-0.20', '-', '+0.00')
    """
    return "-" if value is None else f"{round(value, 2) + 0.0:+.2f}"


def synthetic_note(keys: Iterable[str]) -> str | None:
    """A sentence where instruments are generated ones, None where there are none.

    >>> synthetic_note(["binance:BTC/USDT"]) is None
    True
    """
    if not any(key.startswith("synthetic:") for key in keys):
        return None
    return "synthetic instruments are made by a seeded model: their results say nothing of any market"


def between(interval: Interval | None) -> str:
    """An interval of R for people.

    >>> between((-0.451, 0.05))
    '-0.45 to +0.05'
    """
    return "-" if interval is None else f"{signed(interval[0])} to {signed(interval[1])}"


def rate_between(interval: Interval | None) -> str:
    """An interval of a rate for people.

    >>> rate_between((0.386, 0.75))
    '39 to 75 %'
    """
    return "-" if interval is None else f"{interval[0] * 100:.0f} to {interval[1] * 100:.0f} %"
