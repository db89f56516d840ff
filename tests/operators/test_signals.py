"""The vectors of file 06 sections 1 to 3: levels, the paper life of a signal, and when one is made."""

from __future__ import annotations

import numpy as np
import pytest
from cases import SIGNALS, made
from lab import ALL, KEY, deliver, drive

from events.identity import id_of
from events.rows import confluence_row
from events.schema import SYNTHETIC
from events.times import MINUTE_NS
from operators.confluence import GATES, votes_row
from operators.position import BaseBar, Position
from operators.risk import TARGET_SIZES, levels
from operators.signals import Signals

T0 = 28_333_350 * MINUTE_NS


def position(direction, hold=48, price=100.0):
    return Position(
        signal_id="s", direction=direction, ts=0, price=price, stop=price - 2 * direction,
        targets=tuple(price + direction * 2 * k for k in (1, 2, 3)), sizes=TARGET_SIZES, valid_until=MINUTE_NS,
        hold_ns=hold * MINUTE_NS, fee=5e-4, slip=2e-4, score=70.0, agreement=1.0, coverage=1.0, theta=16.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("direction", "hold", "bars", "exits", "results"),
    [
        (
            1, 48, [(100, 101, 99, 100.5), (100.5, 102.5, 100.2, 102), (102, 104.2, 101.5, 103), (103, 103, 97.5, 98.5)],
            ["tp1 0.5 @102", "tp2 0.3 @104", "sl 0.2 @98"], (0.9000000000000001, 0.8375900000000001, 2.1, 1),
        ),
        (1, 48, [(100, 102.5, 97.9, 101)], ["sl 1 @98"], (-1, -1.0693, 0, 1)),
        (
            -1, 3, [(100, 100.5, 97.9, 98.2), (98.2, 99, 98.5, 98.7), (98.7, 99, 98.5, 98.7)],
            ["tp1 0.5 @98", "time 0.5 @98.7"], (0.825, 0.7604775, 1.05, 0.25),
        ),
    ],
)  # fmt: skip
def test_outcome_vectors(direction, hold, bars, exits, results):
    p, said = position(direction, hold), []
    for k, prices in enumerate(bars):
        said += p.on_bar(BaseBar((k + 1) * MINUTE_NS, *prices, 0), MINUTE_NS)
    assert [f"{s.reason} {s.closed:g} @{s.price:g}" for s in said[1:]] == exits
    assert said[0].reason == "filled"
    assert (p.r_gross, p.r_net, p.mfe, p.mae) == pytest.approx(results, rel=1e-12)


def test_a_gap_through_the_stop_exits_at_the_open():
    """The vector gaps on the entry bar itself, where the program would not fill at all; so it is entered by hand."""
    p = position(1)
    p.state, p.entry, p.fees, p.slippage = "ACTIVE", 100.0, 0.05, 0.02
    (step,) = p.on_bar(BaseBar(MINUTE_NS, 97, 97.2, 96.5, 96.8, 0), MINUTE_NS)
    assert (step.reason, step.price) == ("sl", 97)
    assert (p.r_gross, p.r_net, p.mfe, p.mae) == pytest.approx((-1.5, -1.56895, 0, 1.5), rel=1e-12)


@pytest.mark.parametrize(
    ("bar", "state", "reason"),
    [
        ((MINUTE_NS, 100.6, 101, 100, 100.5, 0), "CANCELLED", "price_moved"),
        ((MINUTE_NS, 97.9, 101, 97, 100.5, 0), "CANCELLED", "price_moved"),
        ((MINUTE_NS, 100, 100, 100, 100, SYNTHETIC), "EXPIRED", "no_bar"),
        ((60 * MINUTE_NS, 100, 101, 100, 100.5, 0), "EXPIRED", "no_bar"),
    ],
)
def test_a_pending_signal_may_never_be_filled(bar, state, reason):
    p = position(1)
    (step,) = p.on_bar(BaseBar(*bar), MINUTE_NS)
    assert (step.before, step.after, step.reason, p.state) == ("PENDING", state, reason, state)


def test_a_bar_that_touches_the_stop_or_a_target_reaches_it():
    p = position(1)
    assert [s.reason for s in p.on_bar(BaseBar(MINUTE_NS, 100, 102, 99, 101, 0), MINUTE_NS)] == ["filled", "tp1"]
    assert [s.reason for s in p.on_bar(BaseBar(2 * MINUTE_NS, 100, 101, 98, 101, 0), MINUTE_NS)] == ["sl"]


def test_levels_are_kept_within_bounds():
    assert levels(1, 60000.0, 210.0) == (59580.0, (60420.0, 60840.0, 61260.0), 420.0)
    assert levels(-1, 60000.0, 50.0)[:2] == (60180.0, (59820.0, 59640.0, 59460.0))
    assert levels(1, 100.0, 50.0)[2] == 10.0


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
    votes["atr"] = 1.0
    return {"confluence": rows, "votes": votes}


def signals(streams, chunk=ALL):
    out = drive(lambda: Signals(SIGNALS), streams, deliver(streams, chunk, end=10**19 // 2))
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
    assert signal.rr == pytest.approx(1.7)


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
