"""The vectors of file 06 sections 1 to 3 for one signal: its levels, its size, its paper life on closed bars."""

from __future__ import annotations

import math

import pytest

from events.schema import SYNTHETIC
from events.times import MINUTE_NS
from operators.position import BaseBar, Position
from operators.risk import TARGET_SIZES, RiskSettings, levels, size


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


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize(
    ("open_", "state"), [(99.71, "ACTIVE"), (99.7, "CANCELLED"), (100.29, "ACTIVE"), (100.3, "CANCELLED")]
)
def test_an_open_at_the_stop_or_the_first_target_is_too_late(direction, open_, state):
    """Both are nearer here than half a percent."""
    p = position(direction)
    p.stop, p.targets = 100 - 0.3 * direction, tuple(100 + 0.3 * direction * k for k in (1, 2, 3))
    price = 100 + direction * (open_ - 100)
    p.on_bar(BaseBar(MINUTE_NS, price, price, price, price, 0), MINUTE_NS)
    assert p.state == state


def test_a_bar_that_touches_the_stop_or_a_target_reaches_it():
    p = position(1)
    assert [s.reason for s in p.on_bar(BaseBar(MINUTE_NS, 100, 102, 99, 101, 0), MINUTE_NS)] == ["filled", "tp1"]
    assert [s.reason for s in p.on_bar(BaseBar(2 * MINUTE_NS, 100, 101, 98, 101, 0), MINUTE_NS)] == ["sl"]


def test_levels_are_kept_within_bounds():
    assert levels(1, 60000.0, 210.0) == (59580.0, (60420.0, 60840.0, 61260.0), 420.0, "atr")
    assert levels(-1, 60000.0, 50.0)[:2] == (60180.0, (59820.0, 59640.0, 59460.0))
    assert levels(1, 100.0, 50.0).distance == 10.0


@pytest.mark.parametrize(
    ("direction", "swing", "distance", "source"),
    [
        (1, 59700.0, 321.0, "structure"),
        (-1, 60300.0, 321.0, "structure"),
        (1, 59841.0, 180.0, "structure"),  # just as far as the least distance
        (1, 59842.0, 420.0, "atr"),  # nearer than that
        (1, 59601.0, 420.0, "atr"),  # just as far as the ATR's
        (1, 60100.0, 420.0, "atr"),  # on the wrong side
        (-1, 59700.0, 420.0, "atr"),
        (1, math.nan, 420.0, "atr"),
    ],
)
def test_a_structural_stop_is_behind_the_swing_where_that_is_nearer(direction, swing, distance, source):
    stop, targets, found, by = levels(direction, 60000.0, 210.0, 2.0, swing)
    assert (found, by, stop) == (distance, source, 60000.0 - direction * distance)
    assert targets == tuple(60000.0 + direction * k * distance for k in (1, 2, 3))


def test_size_vectors():
    settings = RiskSettings(equity=10000.0)
    wanted = size(60000.0, 420.0, settings, 0.001)[0]
    assert (wanted.qty, wanted.notional, wanted.risk) == (0.016, 960.0, pytest.approx(6.72))
    assert size(60000.0, 3000.0, RiskSettings(equity=100.0), 0.001) == (None, "below_minimum")
    assert size(60000.0, 420.0, RiskSettings(), 0.001) == (None, "no_equity")
    unbound = RiskSettings(equity=10000.0, cap=1.0)
    assert size(60000.0, 420.0, unbound)[0].qty == pytest.approx(1 / 6, abs=1e-8)
    assert size(60000.0, 420.0, unbound._replace(cap=9.0))[0].qty == pytest.approx(100 / 420, abs=1e-8)
    assert size(60000.0, 420.0, unbound._replace(cap=9.0, leverage=0.5))[0].qty == pytest.approx(1 / 12, abs=1e-8)
