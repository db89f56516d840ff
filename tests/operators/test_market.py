"""Figures of the whole market: the printed vectors, an independent computation over random markets, what is void or leaves."""

from __future__ import annotations

import numpy as np
import pytest

from config.sections import Gates
from events.frames import NO_ROWS, Frame, control
from events.rows import MARKET_ROW
from events.schema import (
    BROAD_DOWN,
    BROAD_UP,
    END,
    FOREVER,
    HIGHLY_VOLATILE,
    LEAVE,
    MARKET_REGIME_NAMES,
    MIXED,
    NEVER,
    VOID,
)
from events.times import MINUTE_NS
from operators.broadcast import AVERAGE_ROW, CLOSE_ROW
from operators.market import BASE, EARLIER, TOGETHER, Market, MarketStage, stream_of
from operators.market_kernels import FIVES_OF_30_DAYS, is_high, label, mean_correlation, spread_of
from operators.ordered import Ordered

FIRST = 28_333_350
KEYS = tuple(f"x:{name}/USDT" for name in "ABCDEFG")


def closes(prices, skip=(), first=FIRST):
    out = np.zeros(len(prices), CLOSE_ROW)
    out["g"] = first + np.arange(len(prices))
    out["available_at"], out["close"] = (out["g"] + 1) * MINUTE_NS, prices
    return np.delete(out, list(skip))


def together(bars, averages=None, voids=None, ends=None, reference=None, until=None):
    """The rows of the core over whole streams."""
    core = Market(bars, reference, averages is not None)
    ordered = Ordered(core, core.streams, driven=False)
    until = until or max(int(rows["available_at"][-1]) for rows in bars.values()) + 1
    for k, (name, rows) in enumerate(bars.items()):
        for since, to in (voids or {}).get(name, ()):
            said = control(VOID, since, since, to, id_from=k)
            ordered.push(Frame("GLOBAL", stream_of(BASE, name), rows[:0], NEVER, said))
        end = (ends or {}).get(name)
        said = {} if end is None else {"control": control(END, end)}
        ordered.push(Frame("GLOBAL", stream_of(BASE, name), rows, until if end is None else FOREVER, **said))
        if averages is not None:
            ordered.push(Frame("GLOBAL", stream_of("features.30m", name), averages[name], FOREVER))
    found = [frame.rows for frame in ordered.advance() if len(frame.rows)]
    return found[0] if found else np.empty(0, MARKET_ROW)


def walks(n, keys=KEYS, seed=1):
    r = np.random.default_rng(seed)
    common = r.normal(0, 5e-4, n)
    return {name: 100 * np.exp(np.cumsum(0.7 * common + r.normal(0, 5e-4, n))) for name in keys}


def test_the_printed_returns_of_a_day():
    wanted = (0.02, -0.01, 0.0, 0.005, 0.03)
    bars = {}
    for name, change in zip(KEYS, wanted):
        prices = np.full(1441, 100.0)
        prices[-1] *= 1 + change
        bars[name] = closes(prices)
    rows = together(bars)
    row = rows[-1]
    assert (len(rows), row["n"], rows["n"][:-1].max()) == (1441, 5, 0)
    assert row["breadth_up"] == 0.6
    assert row["breadth_net"] == pytest.approx(0.4, abs=1e-15)
    assert row["dispersion_mad"] == pytest.approx(0.015, abs=1e-12)
    assert row["dispersion_sd"] == pytest.approx(np.std(wanted), rel=1e-12)
    assert row["market_regime"] == BROAD_UP
    assert np.isnan(rows["breadth_up"][:-1]).all()
    assert (rows["market_regime"][:-1] == NEVER).all()
    middle, deviation, _ = spread_of(np.array(wanted))
    assert (middle, round(deviation, 15)) == (0.005, 0.015)


def test_the_printed_mean_correlation():
    series = np.array(
        [(0.01, -0.02, 0.015, 0, -0.01), (0.012, -0.018, 0.01, 0.002, -0.012), (-0.003, 0.001, 0.004, -0.002, 0)]
    )
    assert mean_correlation(series) == pytest.approx(0.6910532626693073, rel=1e-12)


@pytest.fixture(scope="module")
def market():
    prices = walks(1_900)
    skips = {KEYS[1]: range(500, 520), KEYS[2]: range(1_700, 1_703)}
    return {name: closes(p, skips.get(name, ())) for name, p in prices.items()}


def averages_of(bars):
    """An average that is sometimes above the close, sometimes below, and at first not there, every thirty minutes."""
    out, r = {}, np.random.default_rng(5)
    for name, rows in bars.items():
        at = rows[(rows["g"] + 1) % 30 == 0]
        out[name] = np.zeros(len(at), AVERAGE_ROW)
        out[name]["available_at"] = at["available_at"]
        out[name]["ema"] = at["close"] * (1 + r.normal(0, 1e-3, len(at)))
        out[name]["ema"][:50] = np.nan
    return out


def expected(bars, averages, t, reference, void=()):
    """One row by numpy, from dictionaries."""
    g = t // MINUTE_NS - 1
    close = {name: dict(zip(rows["g"].tolist(), rows["close"].tolist())) for name, rows in bars.items()}
    there = [name for name in bars if g in close[name] and name not in void]
    day = np.array([close[k][g] / close[k][g - 1440] - 1 for k in there if g - 1440 in close[k]])
    hours = [[close[k].get(g - i, np.nan) for i in range(60, -1, -1)] for k in there]
    hours = np.array([h for h in hours if np.isfinite(h).all()])
    out = {"n": len(day)}
    if len(day) >= 5:
        returns = np.diff(np.log(hours))
        sd, index = returns.std(axis=1), returns.mean(axis=0)
        n, variances = len(returns), (sd**2).sum()
        above = []
        for k in there:
            known = averages[k][averages[k]["available_at"] <= t]
            if len(known) and t - known["available_at"][-1] < 60 * MINUTE_NS and np.isfinite(known["ema"][-1]):
                above.append(close[k][int(known["available_at"][-1]) // MINUTE_NS - 1] > known["ema"][-1])
        out |= {
            "breadth_up": (day > 0).mean(),
            "breadth_net": (np.sign(day)).mean(),
            "dispersion_mad": np.median(np.abs(day - np.median(day))),
            "dispersion_sd": day.std(),
            "mean_rho": (n * n * index.var() - variances) / (sd.sum() ** 2 - variances),
            "above_ema50": np.mean(above) if above else np.nan,
        }
    five = (g + 1) // 5 * 5 - 1
    prices = np.array([close[reference].get(five - 5 * i, np.nan) for i in range(288, -1, -1)])
    squares = np.diff(np.log(prices)) ** 2
    first = min(close[reference])
    known = (
        reference in there and first <= five - 1440 and np.isfinite(squares).sum() >= 144 and np.isfinite(prices[-1])
    )
    out["ref_rv"] = np.sqrt(np.nansum(squares) * 365) if known else np.nan
    return out


def test_every_column_against_numpy(market):
    averages = averages_of(market)
    rows = together(market, averages, reference=KEYS[1])
    assert len(rows) == 1_900
    for k in (*range(0, 1_900, 97), *range(1_440, 1_900, 11), 1_701):
        row, wanted = rows[k], expected(market, averages, int(rows["available_at"][k]), KEYS[1])
        for name in MARKET_ROW.names[1:]:
            if name != "market_regime":
                assert row[name] == pytest.approx(wanted.get(name, np.nan), rel=1e-9, nan_ok=True), (name, k)
    assert rows["n"][1_445:1_450].tolist() == [7] * 5
    assert rows["n"][1_701] == 6  # one has no bar
    assert np.isfinite(rows["ref_rv"][1_450:]).all()
    assert np.isfinite(rows["above_ema50"][1_600:]).all()


def test_a_change_of_the_regime_takes_three_minutes(market):
    rows = together(market)
    raw, regime = [], None
    ready = rows[rows["n"] >= 5]
    day = {name: dict(zip(r["g"].tolist(), r["close"].tolist())) for name, r in market.items()}
    rival, led = None, 0
    for row in ready:
        g = int(row["available_at"]) // MINUTE_NS - 1
        changes = [c[g] / c[g - 1440] - 1 for c in day.values() if g in c and g - 1440 in c]
        up, middle = np.mean(np.array(changes) > 0), np.median(changes)
        now = BROAD_UP if up >= 0.6 and middle > 0 else BROAD_DOWN if up <= 0.4 and middle < 0 else MIXED
        raw.append(now)
        if regime is None or now == regime:
            regime, rival, led = now, None, 0
        else:
            rival, led = now, led + 1 if now == rival else 1
            if led == 3:
                regime, rival, led = now, None, 0
        assert row["market_regime"] == regime
    assert len(set(raw)) > 1, "nothing changed"


def test_a_void_instrument_holds_nobody_and_is_left_out(market):
    """One is silent from the 1,600th minute on, and void; what it sends later changes no row."""
    at = market[KEYS[3]]["available_at"]
    void = [(int(at[1_599]) + 1, int(at[1_799]))]
    silent = market | {KEYS[3]: market[KEYS[3]][:1_600]}
    late = together(market, voids={KEYS[3]: void}, reference=KEYS[0])
    assert late["n"][1_600:1_700].tolist() == [6] * 100
    assert late["n"][1_800:1_850].tolist() == [7] * 50
    until = int(at[1_799]) + 1
    core = Market(KEYS, KEYS[0], averaged=False)
    ordered = Ordered(core, core.streams, driven=False)
    for name, rows in silent.items():
        mine = rows[rows["available_at"] < until]
        ordered.push(Frame("GLOBAL", stream_of(BASE, name), mine, int(at[1_599]) + 1 if name == KEYS[3] else until))
    early = [frame.rows for frame in ordered.advance() if len(frame.rows)]
    assert len(early[0]) == 1_600, "it was passed over without a void"
    said = control(VOID, void[0][0], *void[0], id_from=3)
    ordered.push(Frame("GLOBAL", stream_of(BASE, KEYS[3]), NO_ROWS, NEVER, said))
    early += [frame.rows for frame in ordered.advance() if len(frame.rows)]
    assert len(early[1]) == 200, "it held the others"
    for name, rows in market.items():  # what was missing comes, and all goes on
        mine = rows[rows["available_at"] >= (at[1_600] if name == KEYS[3] else until)]
        ordered.push(Frame("GLOBAL", stream_of(BASE, name), mine, int(at[-1]) + 1))
    early += [frame.rows for frame in ordered.advance() if len(frame.rows)]
    assert np.concatenate(early).tobytes() == late.tobytes()


def test_one_that_leaves_is_dropped_and_does_not_come_back(market):
    at = market[KEYS[3]]["available_at"]
    ts = int(at[1_600])
    stage = MarketStage(KEYS, None, averaged=False)
    for name, rows in market.items():
        if name == KEYS[3]:
            stage.push(Frame(name, BASE, rows[:1_600], ts, in_order=True))
            stage.push(Frame(name, BASE, NO_ROWS, ts + 1, control(END, ts)))
            stage.push(Frame(name, BASE, rows[1_650:], int(at[-1]) + 1))
        else:
            stage.push(Frame(name, BASE, rows, int(at[-1]) + 1))
    out = stage.advance()
    (rows,) = (frame.rows for frame in out if frame.name == TOGETHER)
    assert (rows["n"][1_590:1_600].tolist(), rows["n"][1_600:1_690].tolist()) == ([7] * 10, [6] * 90)
    sent = {frame.instrument: frame for frame in out if frame.name == EARLIER and len(frame.rows)}
    assert sent[KEYS[0]].rows["available_at"].tolist() == (rows["available_at"] + 1).tolist()
    told = [frame for frame in out if frame.instrument == KEYS[3] and frame.name == EARLIER]
    assert [len(frame.rows) for frame in told] == [len(rows), 0, 0]  # all came at once, before it was let go
    assert [frame.control["kind"].tolist() for frame in told] == [[], [LEAVE], [END]]  # and then it was there again
    assert (told[1].control["available_at"].item(), told[2].watermark) == (ts, FOREVER)


def test_who_is_no_member_waits_for_nothing():
    stage = MarketStage(KEYS, None, averaged=False)
    for _ in range(2):
        stage.push(Frame("x:NEW/USDT", BASE, closes([1.0]), NEVER))
    (told,) = stage.advance()
    assert (told.instrument, told.name, told.watermark) == ("x:NEW/USDT", EARLIER, FOREVER)


def test_high_volatility_is_above_the_rank_of_thirty_days():
    r = np.random.default_rng(2)
    values = r.lognormal(0, 0.3, 3 * FIVES_OF_30_DAYS)
    skipped = r.random(len(values)) < 0.02
    memory, state, high = np.full(FIVES_OF_30_DAYS, np.nan), np.array([NEVER, 0]), 0
    for five, value in enumerate(values.tolist()):
        if skipped[five]:
            continue
        said = is_high(value, five, memory, state)
        assert is_high(value, five, memory, state) == said  # the same boundary, a minute later
        if five % 7 == 0:
            before = values[max(0, five - FIVES_OF_30_DAYS) : five][~skipped[max(0, five - FIVES_OF_30_DAYS) : five]]
            rank = (before < value).mean() if len(before) else 0.0
            assert said == (len(before) >= FIVES_OF_30_DAYS // 4 and rank > 0.95), five
            high += said
    assert high > 50
    assert not is_high(np.nan, len(values), memory, state)
    assert label(0.3, -0.01, True) == BROAD_DOWN + HIGHLY_VOLATILE


def test_settings_know_the_names_of_regimes():
    assert Gates(market=("BROAD_DOWN_HIGH_VOL",)).market == ("BROAD_DOWN_HIGH_VOL",)
    assert list(MARKET_REGIME_NAMES.values()) == [
        "BROAD_DOWN", "MIXED", "BROAD_UP", "BROAD_DOWN_HIGH_VOL", "MIXED_HIGH_VOL", "BROAD_UP_HIGH_VOL",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="there is no regime of the market 'DOWN', only BROAD_DOWN"):
        Gates(market=("DOWN",))


def test_members_are_bounded():
    core = Market([f"x:{n}/USDT" for n in range(1_200)], None, averaged=False)
    assert (len(core.members), len(core.streams), core.closes.shape) == (1_000, 1_000, (1_000, 1_446))
