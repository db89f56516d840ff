"""The laws over the whole graph where instruments are compared: a reference, and figures of all of them together."""

from __future__ import annotations

import numpy as np
import pytest
from lab import ALL, START, deliver, digest, klines, run
from test_graph import crashing

from config import Settings
from events.frames import NO_ROWS, Frame, control
from events.identity import id_hash
from events.schema import LEAVE, MARKET_REGIME_NAMES, MISSING, NEVER, SILENT, VOID
from events.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from flows.graph import build
from flows.plan import Plan

pytestmark = pytest.mark.slow

REFERENCE = "lab:BTC/USDT"
KEYS = (REFERENCE, *(f"lab:{name}/USDT" for name in "BCDEF"))
SETTINGS = Settings.model_validate(
    {
        "bars": {"time": ["1m", "5m", "30m"]},
        "beta": {"reference": REFERENCE},
        "dimensions": {"weights": {"bitcoin_beta": 0.2}},
        "confluence": {"blend": {"1m": 0.7, "5m": 0.3}, "theta": 10.0},
        "signals": {"tf": "1m"},
        "sources": {"lateness_s": 2},
    }
)
PLAN = Plan(SETTINGS, feeds=frozenset({"klines.1m"}), instruments=KEYS)
LAST = (START + 4 * DAY_NS) // (4 * HOUR_NS) * (4 * HOUR_NS)
ROWS = {name: klines(1_900, 50 + k, quiet=0.01) for k, name in enumerate(KEYS)}
CUT = START // MINUTE_NS * MINUTE_NS + 1_600 * MINUTE_NS


def graph(market):
    return build(market, PLAN)


def arrive(delivery=(ALL, 0, False, False), end=LAST, of=ROWS):
    data = {key: deliver({"klines.1m": rows}, *delivery, end=end, key=key) for key, rows in of.items()}
    return data | {"GLOBAL": []}


def digests(out):
    return {key: digest(streams) for key, streams in out.items()}


def until(streams, ts):
    """What is known up to a time."""
    return {
        name: tuple(r for r in rows if r.ts <= ts) if isinstance(rows, tuple) else rows[rows["available_at"] <= ts]
        for name, rows in streams.items()
    }


@pytest.fixture(scope="module")
def whole():
    out = run(graph, arrive())
    for key in KEYS:
        assert len(out[key]["beta.1m"]) > 1_600, "the laws would hold over nothing"
        assert len(out[key]["signals"]) > 20
        assert "market.1m" not in out[key]
        silent = (out[key]["beta.1m"]["status"] == SILENT).all()
        assert silent == (key == REFERENCE)
        assert key == REFERENCE or not np.isnan(out[key]["beta.1m"]["values"][-100:]).all(axis=0).any()
    rows = out["GLOBAL"]["global.1m"]
    assert list(out["GLOBAL"]) == ["global.1m"]
    beta = [name for name, _ in PLAN.dimensions].index("bitcoin_beta")
    assert (out[REFERENCE]["confluence"]["status"][:, beta] == SILENT).all()
    assert np.isfinite(out[KEYS[1]]["confluence"]["u"][:, beta]).sum() > 1_000
    assert (rows["n"] >= 5).sum() > 100
    assert np.isfinite(rows["above_ema50"]).sum() > 10
    assert np.isfinite(rows["ref_rv"]).sum() > 100
    return out


@pytest.mark.parametrize(
    ("delivery", "per"), [((7, 2 * SECOND_NS, True, False), 64), ((501, 0, False, True), 1)], ids=str
)
def test_any_delivery(whole, delivery, per):
    assert digests(run(graph, arrive(delivery), per=per)) == digests(whole)


def test_single_rows(whole):
    short = {key: rows[:300] for key, rows in ROWS.items()}
    expected = digests(run(graph, arrive(of=short)))
    assert digests(run(graph, arrive((1, 0, False, False), of=short), per=40)) == expected
    assert expected["GLOBAL"]["global.1m"][0] > 300


def test_placement_two_workers(whole):
    assert digests(run(graph, arrive((101, 2 * SECOND_NS, False, False)), workers=2, per=8)) == digests(whole)


def test_a_crash_changes_nothing(whole):
    got, crashes = crashing(graph, arrive((11, 2 * SECOND_NS, True, False)))
    assert crashes > 3
    assert digests(got) == digests(whole)


def test_prefix(whole):
    begun = {key: rows[rows["available_at"] <= CUT] for key, rows in ROWS.items()}
    part = run(graph, arrive((501, 2 * SECOND_NS, False, False), end=CUT + 1, of=begun))
    for key, streams in part.items():
        assert digest(streams) == digest({n: r for n, r in until(whole[key], CUT).items() if n in streams}), key
    assert part["GLOBAL"]["global.1m"]["available_at"][-1] == CUT


def test_the_reference_after_t_changes_nothing_at_or_before_t(whole):
    perturbed = ROWS[REFERENCE].copy()
    after = perturbed["available_at"] > CUT
    for field in ("open", "high", "low", "close"):
        perturbed[field][after] *= 1.07
    out = run(graph, arrive(of=ROWS | {REFERENCE: perturbed}))
    for key in (*KEYS, "GLOBAL"):
        assert digest(until(out[key], CUT)) == digest(until(whole[key], CUT)), key
    assert digest(out[KEYS[1]])["beta.1m"] != digest(whole[KEYS[1]])["beta.1m"]
    assert digest(out[KEYS[1]])["features.1m"] == digest(whole[KEYS[1]])["features.1m"]


def test_signals_bear_the_regime_of_the_minute_before(whole):
    rows = whole["GLOBAL"]["global.1m"]
    seen = set()
    for key in KEYS:
        for signal in whole[key]["signals"]:
            before = rows[rows["available_at"] < signal.ts]
            fresh = len(before) and signal.ts - before["available_at"][-1] < 2 * MINUTE_NS
            label = MARKET_REGIME_NAMES.get(int(before["market_regime"][-1])) if fresh else None
            assert signal.market_regime == label
            seen.add(label)
    assert len(seen) > 2


def test_a_regime_shuts_out_longs(whole):
    def sides(out):
        return {(s.market_regime, s.side) for key in KEYS for s in out[key]["signals"]}

    both = [name for name in MARKET_REGIME_NAMES.values() if {(name, "LONG"), (name, "SHORT")} <= sides(whole)]
    shut = SETTINGS.model_dump()
    shut["confluence"]["gates"]["market"] = both[:1]
    plan = Plan(Settings.model_validate(shut), feeds=frozenset({"klines.1m"}), instruments=KEYS)
    out = run(lambda market: build(market, plan), arrive())
    assert (both[0], "LONG") not in sides(out)
    assert {(both[0], "SHORT"), (None, "LONG")} <= sides(out)
    assert digest(out[KEYS[1]])["confluence"] == digest(whole[KEYS[1]])["confluence"]


def silent_from(key, ts, said=True):
    """Frames of all, one of which is not heard of any more from a time on; where `said`, it is void each minute."""
    frames = arrive((101, 0, False, False))
    rows = ROWS[key][ROWS[key]["available_at"] <= ts]
    frames[key] = [f for f in deliver({"klines.1m": rows}, 101, key=key, end=ts + 1) if f.watermark <= ts + 1]
    since, marks = ts + 1, range(ts + MINUTE_NS, LAST + 1, 400 * MINUTE_NS)
    for boundary in (*marks, LAST) if said else ():
        void = control(VOID, since, since, boundary, id_from=id_hash(key))
        frames[key].append(Frame(key, "klines.1m", NO_ROWS, NEVER, void))
        since = boundary + 1
    return frames


@pytest.mark.parametrize("key", [REFERENCE, KEYS[4]])
def test_who_is_silent_and_void_holds_nobody(whole, key):
    out = run(graph, silent_from(key, CUT))
    others = [name for name in KEYS if name != key]
    for name in others:
        assert digest(out[name])["bars.1m"] == digest(whole[name])["bars.1m"]
        assert digest(out[name])["confluence"][0] == digest(whole[name])["confluence"][0]
        if key != REFERENCE:
            assert digest(out[name])["confluence"] == digest(whole[name])["confluence"]
            made = [(s.ts, s.side, s.score) for s in out[name]["signals"]]
            assert made == [(s.ts, s.side, s.score) for s in whole[name]["signals"]]
        assert digest(until(out[name], CUT)) == digest(until(whole[name], CUT))
        after = out[name]["beta.1m"][out[name]["beta.1m"]["available_at"] > CUT]
        lost = (after["status"] == MISSING).all()
        assert lost == (key == REFERENCE) or name == REFERENCE
    assert max(out[name]["signals"][-1].ts for name in others) > CUT + HOUR_NS
    rows = out["GLOBAL"]["global.1m"]
    assert rows["available_at"][-1] == max(out[name]["bars.1m"]["ts_close"][-1] for name in others)
    same = np.isin(whole["GLOBAL"]["global.1m"]["available_at"], rows["available_at"])
    assert (rows["n"] <= whole["GLOBAL"]["global.1m"]["n"][same]).all()
    known = rows["ref_rv"][(rows["available_at"] > CUT) & (rows["available_at"] <= CUT + HOUR_NS)]
    assert np.isnan(known).all() == (key == REFERENCE)


@pytest.mark.parametrize("key", [REFERENCE, KEYS[4]])
def test_who_is_void_from_the_beginning_holds_nobody(whole, key):
    void = control(VOID, 0, 0, LAST, id_from=id_hash(key))
    out = run(graph, arrive((101, 0, False, False)) | {key: [Frame(key, "klines.1m", NO_ROWS, NEVER, void)]})
    bars = {name: digest(streams)["bars.1m"] for name, streams in out.items() if name not in (key, "GLOBAL")}
    assert bars == {name: digest(whole[name])["bars.1m"] for name in bars}
    rows = out["GLOBAL"]["global.1m"]
    assert len(rows) > 1_800
    assert rows["n"].max() == 5
    for name in set(bars) - {REFERENCE}:
        beta = out[name]["beta.1m"]
        assert len(beta) == len(whole[name]["beta.1m"])
        assert (beta["status"] == MISSING).all() == (key == REFERENCE)
        assert out[name]["signals"][-1].ts > CUT


def test_who_is_silent_without_a_void_is_waited_for(whole):
    out = run(graph, silent_from(REFERENCE, CUT, said=False))
    assert out[KEYS[1]]["beta.1m"]["available_at"][-1] == CUT
    assert out["GLOBAL"]["global.1m"]["available_at"][-1] == CUT
    assert out[KEYS[1]]["features.1m"]["available_at"][-1] > CUT
    assert digest(until(whole[KEYS[1]], CUT))["beta.1m"] == digest(out[KEYS[1]])["beta.1m"]


def test_what_comes_after_its_void_finds_its_pairs_dropped(whole):
    """The reference is void for an hour, and its klines come later after all; whenever they do, the same rows come out."""
    rows, since, to = ROWS[REFERENCE], CUT + 1, CUT + 60 * MINUTE_NS
    void = control(VOID, since, since, to, id_from=id_hash(REFERENCE))
    first, rest = rows[rows["available_at"] <= CUT], rows[rows["available_at"] > CUT]
    outs = []
    for chunk in (ALL, 3):
        said = [Frame(REFERENCE, "klines.1m", NO_ROWS, NEVER, void)]
        frames = deliver({"klines.1m": first}, chunk, key=REFERENCE, end=CUT + 1) + said
        frames += deliver({"klines.1m": rest}, chunk, key=REFERENCE, end=LAST)
        outs.append(run(graph, arrive((chunk, 0, False, False)) | {REFERENCE: frames}, per=1 if chunk == ALL else 200))
    assert digests(outs[0]) == digests(outs[1])
    beta = outs[0][KEYS[1]]["beta.1m"]
    hidden = (beta["available_at"] > CUT) & (beta["available_at"] <= to)
    assert hidden.sum() > 50
    assert (beta["status"][hidden] == MISSING).all()
    assert not (beta["status"][beta["available_at"] > to] == MISSING).all(axis=1).all()
    assert digest(outs[0][REFERENCE])["bars.1m"] == digest(whole[REFERENCE])["bars.1m"]


def test_one_that_leaves_is_compared_no_more(whole):
    """It joins again: it has no reference then, counts no more, and holds nobody."""
    key, ts = KEYS[3], CUT + 7 * SECOND_NS
    rows = ROWS[key]
    first, again = rows[rows["available_at"] <= ts], rows[rows["available_at"] > ts + 20 * MINUTE_NS]
    said = Frame(key, "klines.1m", NO_ROWS, ts + 1, control(LEAVE, ts, ts))
    frames = deliver({"klines.1m": first}, 101, key=key, end=ts) + [said]
    frames += deliver({"klines.1m": again}, 101, key=key, end=LAST)
    out = run(graph, arrive((101, 0, False, False)) | {key: frames}, per=3)
    beta = out[key]["beta.1m"]
    assert (beta["status"][beta["available_at"] > ts] == SILENT).all()
    assert digest(until(out[key], ts))["beta.1m"] == digest(until(whole[key], ts))["beta.1m"]
    assert out[key]["signals"][-1].ts > ts
    assert all(s.market_regime is None for s in out[key]["signals"] if s.ts > ts)
    rows, before = out["GLOBAL"]["global.1m"], whole["GLOBAL"]["global.1m"]
    assert digest(until(out["GLOBAL"], ts)) == digest(until(whole["GLOBAL"], ts))
    assert rows["available_at"][-1] == before["available_at"][-1]
    assert (rows["n"][rows["available_at"] > ts] <= 5).all()
    for name in KEYS[:3]:
        assert digest(out[name])["beta.1m"] == digest(whole[name])["beta.1m"]
        assert len(out[name]["confluence"]) == len(whole[name]["confluence"])


def test_one_that_was_not_known_before_waits_for_nothing(whole):
    new = "lab:NEW/USDT"
    out = run(graph, arrive(of=ROWS | {new: klines(500, 90)}))
    assert {key: value for key, value in digests(out).items() if key != new} == digests(whole)
    assert (out[new]["beta.1m"]["status"] == SILENT).all()
    alone = run(
        lambda market: build(market, Plan(SETTINGS, feeds=PLAN.feeds)), {new: arrive(of={new: klines(500, 90)})[new]}
    )
    assert out[new]["confluence"]["score"].tobytes() == alone[new]["confluence"]["score"].tobytes()
    assert len(out[new]["signals"]) == len(alone[new]["signals"]) > 3
