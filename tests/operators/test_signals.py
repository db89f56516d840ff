"""When signals are made, and how they end: file 06 sections 1 to 3 over rows of the score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases import SIGNALS, made
from lab import ALL, KEY, deliver, drive

from events.identity import id_of
from events.rows import FUNDING, confluence_row
from events.schema import NEVER, SYNTHETIC
from events.times import MINUTE_NS
from operators.confluence import GATES, votes_row
from operators.risk import RiskSettings
from operators.signals import Signals

T0 = 28_333_350 * MINUTE_NS


def stream(states, gates=None, close=None):
    """Confluence and votes rows of these entry states, a minute apart, with a price that stands still unless given."""
    n = len(states)
    width = len(SIGNALS.dimensions)
    rows, votes = np.zeros(n, confluence_row(width, len(GATES))), np.zeros(n, votes_row(3, len(SIGNALS.features)))
    rows["available_at"] = votes["available_at"] = T0 + np.arange(1, n + 1) * MINUTE_NS
    rows["state"], rows["score"], rows["m"], rows["theta"] = (
        states,
        50 + 20 * np.array(states),
        0.4 * np.array(states),
        16,
    )
    rows["coverage"], rows["agreement"], rows["u"], rows["weight"], rows["q"] = 1, 1, 0.4, 0.5, 1
    rows["gates"] = 1 if gates is None else np.array(gates)[:, None]
    price = np.full(n, 100.0) if close is None else np.array(close, float)
    for field in ("open", "high", "low", "close"):
        votes[field] = price
    votes["atr"], votes["swing_high"], votes["swing_low"] = 1.0, math.nan, math.nan
    return {"confluence": rows, "votes": votes}


def signals(streams, chunk=ALL, settings=SIGNALS, funding=False):
    out = drive(lambda: Signals(settings, funding), streams, deliver(streams, chunk, end=10**19 // 2))
    return {name: out.get(name, ()) for name in ("signals", "updates", "outcomes")}


def minute(record):
    return (record.ts - T0) // MINUTE_NS


def test_a_signal_is_made_when_the_state_changes():
    out = signals(stream([0, 0, 1, 1, 1, 0, 0]))
    (signal,) = out["signals"]
    assert (minute(signal), signal.side, signal.price, signal.stop) == (3, "LONG", 100.0, 98.0)
    assert signal.targets == (102.0, 104.0, 106.0)
    assert signal.signal_id == id_of("signal", KEY, "1m", signal.ts, "LONG", SIGNALS.analysis_hash)
    assert [(u.seq, u.to, u.reason) for u in out["updates"]] == [(0, "PENDING", "new"), (1, "ACTIVE", "filled")]
    assert signal.rr == 1.7000000000000002


@pytest.mark.parametrize(
    ("gates", "made_at"),
    [([1, 0, 0, 1, 1, 1, 1, 1], 4), ([1, 0, 0, 0, 1, 1, 1, 1], 5), ([1, 0, 0, 0, 0, 1, 1, 1], None)],
)
def test_blocked_gates_may_open_within_three_bars(gates, made_at):
    out = signals(stream([0, 1, 1, 1, 1, 1, 1, 1], gates))
    assert [minute(s) for s in out["signals"]] == ([made_at] if made_at else [])


def test_the_state_must_still_hold_when_the_gates_open():
    assert signals(stream([0, 1, 0, 0, 0], [1, 0, 1, 1, 1]))["signals"] == ()


def test_a_reversal_closes_at_the_close_and_cools_down():
    out = signals(
        stream([0, 1, 1, -1, -1, 0, -1, 0, -1, -1], close=[100, 100, 100.1, 100.4, 100, 100, 100, 100, 100, 100])
    )
    assert [(minute(s), s.side) for s in out["signals"]] == [(2, "LONG"), (7, "SHORT")]
    (outcome,) = [o for o in out["outcomes"] if o.exit_reason == "reversal"]
    assert minute(outcome) == 4
    assert outcome.r_gross == pytest.approx((100.4 - 100.1) / (100.1 - 98))
    assert outcome.bars_held == 2


def test_what_closed_at_this_bar_counts_as_closed():
    """A reversal, or a stop on the bar, is before a new signal of the same time; only the cool-down keeps it away."""
    eager = SIGNALS._replace(cooldown_bars=0)
    out = signals(stream([0, 1, 1, -1]), settings=eager)
    assert [(minute(s), s.side) for s in out["signals"]] == [(2, "LONG"), (4, "SHORT")]
    out = signals(stream([0, 1, 1, -1], close=[100, 100, 100, 97]), settings=eager)
    assert [(o.exit_reason, minute(o)) for o in out["outcomes"]] == [("sl", 4)]
    assert [(minute(s), s.side) for s in out["signals"]] == [(2, "LONG"), (4, "SHORT")]
    assert [minute(s) for s in signals(stream([0, 1, 1, -1]))["signals"]] == [2]


def test_one_signal_at_a_time():
    out = signals(stream([0, 1, 0, 1, 0, 1, 1]))
    assert len(out["signals"]) == 1


def test_signals_of_the_lab_are_sound():
    m = made()
    assert len(m["signals"]) > 3
    states: dict[str, list[str]] = {}
    for signal in m["signals"]:
        sign = 1 if signal.side == "LONG" else -1
        order = [signal.stop, signal.price, *signal.targets]
        assert order == sorted(order, reverse=sign < 0)
        assert sum(c.contribution for c in signal.components.values()) == pytest.approx(signal.score - 50, abs=1e-9)
        assert all(len(c.top) <= 3 for c in signal.components.values())
    for update in m["updates"]:
        states.setdefault(update.signal_id, []).append(update.to)
        assert update.seq == len(states[update.signal_id]) - 1
    assert set(states) == {s.signal_id for s in m["signals"]}
    assert all(path[0] == "PENDING" for path in states.values())
    closed = {key for key, path in states.items() if path[-1] == "CLOSED"}
    assert closed == {o.signal_id for o in m["outcomes"]}
    assert all(o.r_net < o.r_gross for o in m["outcomes"])


@pytest.mark.parametrize(("direction", "regime", "asked"), [(1, 4, True), (-1, 4, True), (1, 4, False), (1, 3, True)])
def test_an_illiquid_market_ends_a_signal_only_where_that_is_asked_for(direction, regime, asked):
    streams = stream([0, direction, direction, direction, direction])
    streams["confluence"]["regime"] = [0, 0, 0, regime, regime]
    out = signals(streams, settings=SIGNALS._replace(close_on_illiquid=asked))
    ended = [(o.exit_reason, minute(o), o.regime) for o in out["outcomes"]]
    assert ended == ([("invalidated", 4, "RANGING")] if asked and regime == 4 else [])


def test_a_reversal_comes_before_an_illiquid_market_and_a_pending_signal_is_not_invalidated():
    settings = SIGNALS._replace(close_on_illiquid=True)
    streams = stream([0, 1, 1, -1])
    streams["confluence"]["regime"] = [0, 0, 0, 4]
    assert [o.exit_reason for o in signals(streams, settings=settings)["outcomes"]] == ["reversal"]
    streams = stream([0, 1, 1, 1])
    streams["confluence"]["regime"] = [0, 4, 0, 0]  # the gate is what keeps signals out, and it is open here
    out = signals(streams, settings=settings)
    assert [u.reason for u in out["updates"]] == ["new", "filled"]
    assert out["signals"][0].regime == "LOW_LIQUIDITY"


def test_a_signal_names_the_regime_or_none():
    for code, label in ((-2, "STRONG_TREND_DOWN"), (3, "HIGH_VOL"), (NEVER, None)):
        streams = stream([0, 1, 1, -1])
        streams["confluence"]["regime"] = code
        out = signals(streams)
        assert (out["signals"][0].regime, out["outcomes"][0].regime) == (label, label)


def test_the_structural_stop_is_of_the_swing_on_the_right_side():
    streams = stream([0, 1, 1, 1])
    streams["votes"]["swing_low"], streams["votes"]["swing_high"] = 99.0, 100.9
    (long,) = signals(streams)["signals"]
    assert (long.stop, long.stop_source, long.atr) == (pytest.approx(98.9), "structure", 1.0)
    streams["confluence"]["state"] *= -1
    (short,) = signals(streams)["signals"]
    assert (short.stop, short.stop_source) == (pytest.approx(101.0), "structure")
    plain = SIGNALS._replace(risk=RiskSettings(structural=False))
    (short,) = signals(streams, settings=plain)["signals"]
    assert (short.stop, short.stop_source) == (102.0, "atr")


def test_reliability_comes_from_the_table_and_says_whether_the_table_knew():
    row = {"strength": 4, "tercile": 2, "regime": "RANGING", "n_b": 120, "wins_b": 70}
    table = {"n": 400, "wins": 200, "ts_to": T0 + 3 * MINUTE_NS, "buckets": [row]}
    streams = stream([0, 1, 1, -1, -1, 0, 0, 1, 1])
    out = signals(streams, settings=SIGNALS._replace(calibration=table))["signals"]
    assert [(s.reliability, s.calibrated, s.in_sample) for s in out] == [
        (0.5714285714285714, True, True), (0.5714285714285714, True, False),
    ]  # fmt: skip
    streams["confluence"]["regime"] = 3
    known = signals(streams, settings=SIGNALS._replace(calibration=table))["signals"]
    assert {s.reliability for s in known} == {0.5}
    assert {(s.reliability, s.calibrated, s.in_sample) for s in signals(streams)["signals"]} == {(None, False, False)}


def rates(*settlements):
    """Funding rows of (minute, rate, predicted)."""
    rows = np.zeros(len(settlements), FUNDING)
    rows["available_at"] = [T0 + int(at * MINUTE_NS) for at, _, _ in settlements]
    rows["rate"], rows["predicted"] = [rate for _, rate, _ in settlements], [p for _, _, p in settlements]
    rows["seq"] = np.arange(len(rows))
    return rows


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("chunk", [ALL, 1, 2])
def test_funding_is_paid_from_after_the_entry_to_the_exit(direction, chunk):
    """Signal at minute 2, filled at its open there, reversed at the close of minute 6."""
    streams = stream([0, *[direction] * 4, -direction, 0, 0])
    held = [(2.5, 1e-4, 0), (4, -3e-4, 0), (6, 5e-4, 0)]
    others = [(1, 1.0, 0), (2, 1.0, 0), (3, 1.0, 1), (6.001, 1.0, 0), (7, 1.0, 0)]
    funding = rates(*sorted([*held, *others]))
    out = signals(streams | {"funding": funding}, chunk, funding=True)
    (outcome,) = out["outcomes"]
    assert (outcome.exit_reason, minute(outcome), outcome.ts_open) == ("reversal", 6, T0 + 2 * MINUTE_NS)
    assert outcome.funding == pytest.approx(direction * 3e-4 * 100, rel=1e-12)
    assert outcome.settlements == tuple((T0 + int(at * MINUTE_NS), rate) for at, rate, _ in held)
    costs = outcome.fees + outcome.slippage + outcome.funding
    assert outcome.r_net == pytest.approx(outcome.r_gross - costs / 2, rel=1e-12)
    (plain,) = signals(streams)["outcomes"]
    assert (plain.funding, plain.settlements) == (None, ())
    assert plain.r_net == pytest.approx(outcome.r_net + outcome.funding / 2, rel=1e-12)


def test_updates_say_what_was_paid_by_then():
    streams = stream([0, 1, 1, 1, 1, 1, 1], close=[100, 100, 100, 101.9, 100, 100, 97])
    streams["votes"]["high"][3] = 102.5
    out = signals(streams | {"funding": rates((3.5, 1e-3, 0), (5, 1e-3, 0))}, funding=True)
    by_reason = {u.reason: u for u in out["updates"]}
    fill, tp1 = 100 * 7e-4, 0.5 * 102 * 5e-4
    assert by_reason["filled"].r_net == pytest.approx(-fill / 2)
    assert by_reason["tp1"].r_net == pytest.approx((1.0 - fill - tp1 - 0.1) / 2)
    assert by_reason["sl"].r_net == pytest.approx((1.0 - 1.5 - fill - tp1 - 0.5 * 97 * 7e-4 - 0.2) / 2)
    assert out["outcomes"][0].r_net == by_reason["sl"].r_net


def test_settlements_wait_for_the_base_bar_that_meets_them():
    """They are known long before the bar is; what is open lives through snapshots."""
    streams = stream([0, 1, 1, 1, -1]) | {
        "funding": rates((2.5, 1e-4, 0), (3.2, 1e-4, 0), (4.5, 1e-4, 0), (9, 1e-4, 0))
    }
    frames = deliver(streams, 1, end=T0 + 20 * MINUTE_NS)
    frames = sorted(frames, key=lambda f: (f.name != "funding", f.watermark))
    whole = drive(lambda: Signals(SIGNALS, True), streams, frames)["outcomes"]
    again = drive(lambda: Signals(SIGNALS, True), streams, frames, restart=0.9)["outcomes"]
    assert again == whole
    assert len(whole[0].settlements) == 3


TRANSITIONS = {
    (None, "PENDING", "new"), ("PENDING", "ACTIVE", "filled"), ("PENDING", "CANCELLED", "price_moved"),
    ("PENDING", "EXPIRED", "no_bar"), ("ACTIVE", "ACTIVE", "tp1"), ("ACTIVE", "ACTIVE", "tp2"), ("ACTIVE", "CLOSED", "tp"),
    ("ACTIVE", "CLOSED", "sl"), ("ACTIVE", "CLOSED", "time"), ("ACTIVE", "CLOSED", "reversal"),
    ("ACTIVE", "CLOSED", "invalidated"),
}  # fmt: skip
"""The table of file 06 section 1, without `universe`: there is none yet."""


def life(direction, prices, **more):
    """The transitions of one signal at minute 2 on these closes of the minutes from 3 on (mirrored for a short)."""
    n = len(prices)
    streams = stream([0, direction, *[direction] * n], close=[100, 100, *(100 + direction * (p - 100) for p in prices)])
    for field, values in more.items():
        where = streams["confluence"] if field in ("state", "regime") else streams["votes"]
        where[field][2:] = values
    out = signals(streams, settings=SIGNALS._replace(close_on_illiquid=True, hold_bars=4))
    first = [u for u in out["updates"] if u.signal_id == out["signals"][0].signal_id]
    assert [u.seq for u in first] == list(range(len(first)))
    return [(u.from_state, u.to, u.reason) for u in first]


@pytest.mark.parametrize("direction", [1, -1])
def test_every_transition_of_the_lifecycle_can_happen(direction):
    lives = {
        "targets": life(direction, [100, 102, 104, 106]),
        "stop": life(direction, [100, 98]),
        "time": life(direction, [100, 100, 100, 100]),
        "reversal": life(direction, [100, 100], state=[direction, -direction]),
        "invalidated": life(direction, [100, 100], regime=[0, 4]),
        "moved": life(direction, [100.6]),
        "no bar": life(direction, [100], flags=SYNTHETIC),
    }
    assert [reason for *_, reason in lives["targets"]] == ["new", "filled", "tp1", "tp2", "tp"]
    assert {step for steps in lives.values() for step in steps} == TRANSITIONS


@pytest.mark.parametrize(("ended", "more"), [("CANCELLED", {}), ("EXPIRED", {"flags": SYNTHETIC})])
def test_what_was_never_filled_cools_down_too(ended, more):
    """Three bars from its end on; a change of state within them makes no signal, the one at their end does."""
    price = 100.6 if ended == "CANCELLED" else 100.0
    streams = stream([0, 1, 0, 1, 0, 1], close=[100, 100, *[price] * 4])
    for field, value in more.items():
        streams["votes"][field][2] = value
    out = signals(streams)
    assert out["updates"][1].to == ended
    assert [minute(s) for s in out["signals"]] == [2, 6]
