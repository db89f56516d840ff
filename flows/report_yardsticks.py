"""Yardsticks for paper results: what a coin would have made of the same entries, and what holding the instrument would have.

They are past facts of one run, measured on the same bars; they predict nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from events.frames import Array
from events.records import Outcome, Signal
from flows.report_figures import mean_interval
from operators.indicators.regime import LOW_LIQUIDITY
from operators.position import BaseBar, Position
from operators.signals import SignalSettings

_FIELDS = ["ts_close", "open", "high", "low", "close", "flags"]
_STRETCH = 256  # bars made into objects at a time: most positions end within it
_NO_TURN = 2**63 - 1


def relive(
    signal: Signal,
    sign: int,
    bars: Array,
    scores: Array,
    settings: SignalSettings,
    settlements: Sequence[tuple[int, float]] = (),
) -> Position:
    """The paper life of a signal on its own side (`sign` 1) or the other (-1), with the same risk and costs.

    The other side has stop and targets mirrored at the price of the signal. Both sides also end at the close at which the score
    turned against the signal as it was made, or the regime ended it: the coin decides the side, the score still decides how long.
    What one side pays in funding the other is paid. A run does not store funding rates, only those its own signals met, so
    the other side has none for the time that it lives longer.

    Args:
        signal: as it was made.
        sign: 1 or -1.
        bars: all base bars of its instrument.
        scores: all confluence rows of its instrument.
        settings: costs, hold and base timeframe of the run.
        settlements: (time, rate) of the outcome's settlements.

    Returns:
        The position where the bars left it; state "CLOSED" where it ended after a fill.
    """
    made = 1 if signal.side == "LONG" else -1
    position = Position(
        signal_id=signal.signal_id,
        direction=sign * made,
        ts=signal.ts,
        price=signal.price,
        stop=signal.stop if sign > 0 else 2 * signal.price - signal.stop,
        targets=signal.targets if sign > 0 else tuple(2 * signal.price - target for target in signal.targets),
        sizes=signal.target_sizes,
        valid_until=signal.ts + signal.valid_bars * settings.base_ns,
        hold_ns=settings.hold_bars * settings.timeframe[1],
        fee=settings.fee_bps * 1e-4,
        slip=settings.slip_bps * 1e-4,
        score=signal.score,
        agreement=signal.agreement,
        coverage=signal.coverage,
        theta=signal.theta,
    )
    turned_ts, due = _turned(signal.ts, made, scores, settings.close_on_illiquid), list(settlements)
    first = int(np.searchsorted(bars["ts_close"], signal.ts, side="right"))
    for start in range(first, len(bars), _STRETCH):
        for values in bars[start : start + _STRETCH][_FIELDS].tolist():
            bar = BaseBar(*values)
            position.on_bar(bar, settings.base_ns, [one for one in due if one[0] <= bar.ts])
            due = [one for one in due if one[0] > bar.ts]
            if position.state == "ACTIVE" and bar.ts >= turned_ts:
                position.close("reversal", bar.close)
            if position.state not in ("PENDING", "ACTIVE"):
                return position
    return position


def _turned(ts: int, made: int, scores: Array, close_on_illiquid: bool) -> int:
    first = int(np.searchsorted(scores["available_at"], ts, side="right"))
    while first < len(scores):
        part = scores[first : first + _STRETCH]
        against = np.flatnonzero((part["state"] == -made) | (close_on_illiquid & (part["regime"] == LOW_LIQUIDITY)))
        if len(against):
            return int(part["available_at"][against[0]])
        first += _STRETCH
    return _NO_TURN


def coin_flip(
    signals: Sequence[Signal], outcomes: Sequence[Outcome], bars: Array, scores: Array, settings: SignalSettings
) -> dict[str, Any]:
    """What a fair coin in place of the side would have expected, in R net of the same costs.

    The expectation is exact, (own side + other side) / 2 for each closed signal, so nothing is drawn. `difference_r` is the mean of
    own side less coin with its 95 % interval over pairs. Signals whose other side was not filled or not closed by the end of
    the bars are left out of all figures and counted.

    Returns:
        n, left_out, signals_r, coin_r, difference_r, difference_interval; only the counts where n is 0.
    """
    by_id = {signal.signal_id: signal for signal in signals}
    own, other = [], []
    for outcome in outcomes:
        position = relive(by_id[outcome.signal_id], -1, bars, scores, settings, outcome.settlements)
        if position.state == "CLOSED":
            own.append(outcome.r_net)
            other.append(position.r_net)
    counts: dict[str, Any] = {"n": len(own), "left_out": len(outcomes) - len(own)}
    if not own:
        return counts
    better = [(a - b) / 2 for a, b in zip(own, other)]
    return counts | {
        "signals_r": fmean(own),
        "coin_r": fmean((a + b) / 2 for a, b in zip(own, other)),
        "difference_r": fmean(better),
        "difference_interval": mean_interval(better),
    }


def buy_and_hold(signals: Sequence[Signal], outcomes: Sequence[Outcome], bars: Array) -> dict[str, Any]:
    """What the instrument itself did over the held bars at the same notional, in R of each signal, without costs.

    Per closed signal (close of the last held bar - open of the first) / |entry - stop|: long whatever the signal's side.

    Returns:
        n, mean_r, interval (95 %, None below two); only n where it is 0.
    """
    stops = {signal.signal_id: signal.stop for signal in signals}
    moves = []
    for outcome in outcomes:
        first = int(np.searchsorted(bars["ts_open"], outcome.ts_open))
        last = int(np.searchsorted(bars["ts_close"], outcome.ts_close))
        entry = float(bars["open"][first])
        moves.append((float(bars["close"][last]) - entry) / abs(entry - stops[outcome.signal_id]))
    if not moves:
        return {"n": 0}
    return {"n": len(moves), "mean_r": fmean(moves), "interval": mean_interval(moves)}
