"""The laws over the whole graph where instruments join and leave while the run goes on: bitcoin beta, and GLOBAL."""

from __future__ import annotations

import numpy as np
import pytest
from lab import ALL, START, deliver, digest, klines, run
from test_graph import crashing
from test_graph_market import SETTINGS, digests, until

from events.frames import NO_ROWS, Frame, control
from events.identity import id_hash
from events.rows import MEMBER_ROW
from events.schema import FOLD_MISSING, LEAVE, MISSING, NEVER, PARTIAL, SETTLED, SILENT, VOID
from events.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from flows.graph import build
from flows.plan import Plan

pytestmark = pytest.mark.slow

REFERENCE = "lab:BTC/USDT"
B, C, D, E, F, G = (f"lab:{name}/USDT" for name in "BCDEFG")
LIKE = "lab:*"
NAMED, KEYS = (REFERENCE, B, C, D), (REFERENCE, B, C, D, E, F, G)
PLAN = Plan(SETTINGS, feeds=frozenset({"klines.1m", "members"}), instruments=(*NAMED, LIKE))
LAST = (START + 4 * DAY_NS) // (4 * HOUR_NS) * (4 * HOUR_NS)
ROWS = {name: klines(1_900, 50 + k, quiet=0.01) for k, name in enumerate(KEYS)}


def minute(m, seconds=0):
    return START // MINUTE_NS * MINUTE_NS + m * MINUTE_NS + seconds * SECOND_NS


JOIN, D_LEAVES, G_JOINS = minute(1_500, 7), minute(1_560, 30), minute(1_640)
BTC_LEAVES, BTC_BACK, E_LEAVES, D_LEAVES_AGAIN = minute(1_660, 20), minute(1_700, 5), minute(1_720), minute(1_800)
AGAIN = minute(1_600)
CHANGES = [
    (JOIN, E, 1),
    (JOIN, F, 1),
    (D_LEAVES, D, -1),
    *((AGAIN, name, 1) for name in (REFERENCE, B, C, E, F)),
    (G_JOINS, G, 1),
    (BTC_LEAVES, REFERENCE, -1),
    (BTC_BACK, REFERENCE, 1),
    (BTC_BACK, D, 1),
    (E_LEAVES, E, -1),
    (D_LEAVES_AGAIN, D, -1),
]
MEMBER_ROWS = np.array([(ts, name.encode(), change, 0) for ts, name, change in CHANGES], MEMBER_ROW)
SPANS = {REFERENCE: [(0, BTC_LEAVES), (BTC_BACK, LAST)], D: [(0, D_LEAVES), (BTC_BACK, D_LEAVES_AGAIN)]}
SPANS |= {B: [(0, LAST)], C: [(0, LAST)], E: [(JOIN, E_LEAVES)], F: [(JOIN, LAST)], G: [(G_JOINS, LAST)]}
"""When each is a member."""


def graph(market):
    return build(market, PLAN)


def member(key, ts, of=SPANS):
    """Whether an instrument takes part at each of these times."""
    return np.any([(ts > joins) & (ts <= leaves) for joins, leaves in of[key]], axis=0)


def frames_of(key, delivery, end=LAST, rows=ROWS):
    """What comes of an instrument: each time it joins, its klines of the day before too."""
    out = []
    for joins, leaves in SPANS[key]:
        if joins >= end:
            break
        part = rows[key][
            (rows[key]["available_at"] > joins - 1_480 * MINUTE_NS) & (rows[key]["available_at"] <= leaves)
        ]
        over = leaves < end
        out += deliver({"klines.1m": part}, *delivery, end=min(leaves, end), key=key)
        if over and leaves < LAST:
            out.append(Frame(key, "klines.1m", NO_ROWS, leaves + 1, control(LEAVE, leaves, leaves)))
    return out


def arrive(delivery=(ALL, 0, False, False), end=LAST, last=False, rows=ROWS, told=None):
    """All of it; who joins and leaves is said first, or `last`, `told` in any other way than the rest."""
    members = {
        "GLOBAL": [],
        LIKE: deliver(
            {"members": MEMBER_ROWS[MEMBER_ROWS["available_at"] < end]}, *(told or delivery), end=end, key=LIKE
        ),
    }
    others = {key: frames_of(key, delivery, end, rows) for key in KEYS}
    return others | members if last else members | others


@pytest.fixture(scope="module")
def whole():
    out = run(graph, arrive())
    assert list(out["GLOBAL"]) == ["global.1m"]
    for key in (B, C, E, F, G):
        assert len(out[key]["signals"]) > 3, "the laws would hold over nothing"
    assert (out["GLOBAL"]["global.1m"]["n"] >= 5).sum() > 100
    return out


def test_members_count_from_when_they_join_to_when_they_leave(whole):
    rows = whole["GLOBAL"]["global.1m"]
    at, n = rows["available_at"], np.zeros(len(rows), np.int64)
    bars = {}
    for key in KEYS:
        closes = whole[key]["bars.1m"]
        bars[key] = closes[closes["flags"] & (PARTIAL | FOLD_MISSING) == 0]
        there = np.isin(at, bars[key]["available_at"]) & np.isin(at - DAY_NS, bars[key]["available_at"])
        n += there & member(key, at)
    assert (rows["n"] == n).all()
    assert {4, 5, 6} <= set(n.tolist())
    made = np.unique(np.concatenate([b["available_at"][member(key, b["available_at"])] for key, b in bars.items()]))
    assert at.tolist() == made.tolist()


def test_one_that_joins_is_compared_as_if_it_had_always_been_there(whole):
    every = Plan(SETTINGS, feeds=frozenset({"klines.1m"}), instruments=KEYS)
    data = {key: deliver({"klines.1m": ROWS[key]}, ALL, end=LAST, key=key) for key in KEYS} | {"GLOBAL": []}
    always, compared = run(lambda market: build(market, every), data), 0
    for key in (E, F, G, B):
        ours, theirs = whole[key]["beta.1m"], always[key]["beta.1m"]
        ours = ours[member(key, ours["available_at"]) & (ours["available_at"] < BTC_LEAVES)]
        theirs = theirs[np.isin(theirs["available_at"], ours["available_at"])]
        settled = (ours["status"] == SETTLED) & (theirs["status"] == SETTLED)
        assert (ours["status"] == SETTLED).any(axis=1).sum() > 10
        assert (ours["values"] == theirs["values"])[settled].all()
        compared += settled.sum()
    assert compared > 1_000


def test_without_the_reference_beta_is_not_applicable(whole):
    beta = [name for name, _ in PLAN.dimensions].index("bitcoin_beta")
    for key in (B, C, F, G):
        rows = whole[key]["beta.1m"]
        gone = (rows["available_at"] > BTC_LEAVES) & (rows["available_at"] <= BTC_BACK)
        assert gone.sum() > 20
        assert (rows["status"][gone] == SILENT).all()
        later = rows["available_at"] > BTC_BACK + 5 * MINUTE_NS
        assert not (rows["status"][later] == SILENT).any()
        scores = whole[key]["confluence"]
        assert np.isfinite(scores["u"][scores["available_at"] > BTC_BACK + 5 * MINUTE_NS, beta]).any()
    assert (whole[REFERENCE]["beta.1m"]["status"] == SILENT).all()
    assert (whole[REFERENCE]["confluence"]["status"][:, beta] == SILENT).all()


def test_signals_of_those_that_joined_bear_a_regime(whole):
    known = [s.market_regime for key in (E, F, G) for s in whole[key]["signals"] if member(key, np.array([s.ts]))[0]]
    assert len([regime for regime in known if regime is not None]) > 5


@pytest.mark.parametrize(
    ("delivery", "per", "last", "told"),
    [
        ((501, 0, False, False), 1, False, None),
        ((101, 2 * SECOND_NS, True, False), 16, True, (1, HOUR_NS, False, False)),
        ((7, 2 * SECOND_NS, True, False), 64, False, (1, 0, True, False)),
        ((101, 0, False, False), 3, True, (ALL, 9 * DAY_NS, False, False)),
    ],
    ids=str,
)
def test_any_delivery(whole, delivery, per, last, told):
    assert digests(run(graph, arrive(delivery, last=last, told=told), per=per)) == digests(whole)


def test_placement_two_workers(whole):
    assert digests(run(graph, arrive((101, 2 * SECOND_NS, False, False)), workers=2, per=8)) == digests(whole)


def test_a_crash_changes_nothing(whole):
    frames = arrive((17, 2 * SECOND_NS, True, False), told=(1, 0, True, False))
    got, crashes = crashing(graph, {B: frames[B]} | frames)
    assert crashes > 3
    assert digests(got) == digests(whole)


@pytest.mark.parametrize("cut", [minute(1_499), minute(1_561), minute(1_650), minute(1_690), minute(1_730)])
def test_prefix(whole, cut):
    begun = {key: rows[rows["available_at"] <= cut] for key, rows in ROWS.items()}
    part = run(graph, arrive((501, 2 * SECOND_NS, False, False), end=cut + 1, rows=begun))
    for key in ("GLOBAL", B, C, *(name for name in (E, F, G) if SPANS[name][0][0] < cut)):  # those that join once
        assert digest(part[key]) == digest({n: r for n, r in until(whole[key], cut).items() if n in part[key]}), key
    assert part["GLOBAL"]["global.1m"]["available_at"][-1] == cut


def test_what_comes_of_one_that_joined_changes_nothing_at_or_before_t(whole):
    cut, perturbed = minute(1_700), ROWS[F].copy()
    after = perturbed["available_at"] > cut
    for field in ("open", "high", "low", "close"):
        perturbed[field][after] *= 1.07
    out = run(graph, arrive(rows=ROWS | {F: perturbed}))
    for key in ("GLOBAL", B, C, E, F, G):
        assert digest(until(out[key], cut)) == digest(until(whole[key], cut)), key
    assert digest(out["GLOBAL"]) != digest(whole["GLOBAL"])
    assert digest(out[B])["beta.1m"] == digest(whole[B])["beta.1m"]


def test_one_that_joins_and_is_void_holds_nobody(whole):
    """F says nothing for an hour after it has joined, and is void; then all of it comes."""
    frames, until_ns = arrive(last=True), JOIN + HOUR_NS
    void = [Frame(F, "klines.1m", NO_ROWS, NEVER, control(VOID, 0, 0, until_ns, id_from=id_hash(F)))]
    late = {F: void + frames[F]}
    out = run(graph, frames | late)
    rows, before = out["GLOBAL"]["global.1m"], whole["GLOBAL"]["global.1m"]
    assert rows["available_at"].tolist() == before["available_at"].tolist()
    hidden = (rows["available_at"] > JOIN) & (rows["available_at"] <= until_ns)
    assert (rows["n"][hidden] < before["n"][hidden]).mean() > 0.9
    assert rows[~hidden]["n"].tolist() == before[~hidden]["n"].tolist()
    alone = run(graph, {key: frames[key] for key in frames if key != F} | {F: void})
    at = alone["GLOBAL"]["global.1m"]["available_at"]
    assert at[-1] == until_ns // MINUTE_NS * MINUTE_NS, "and is waited for where it is not void"
    assert digest(until(out["GLOBAL"], at[-1])) == digest(alone["GLOBAL"])
    for key in (B, C, E):
        assert digest(out[key])["beta.1m"] == digest(whole[key])["beta.1m"]


def test_one_that_is_void_from_the_beginning_holds_nobody(whole):
    """Nothing ever comes of the reference, which is a member, nor of C; others join and leave as before."""
    frames = arrive(last=True)
    for key in (REFERENCE, C):
        void = control(VOID, 0, 0, LAST, id_from=id_hash(key))
        frames[key] = [Frame(key, "klines.1m", NO_ROWS, NEVER, void)]
    members = MEMBER_ROWS[(MEMBER_ROWS["available_at"] < BTC_LEAVES) | (MEMBER_ROWS["member"] != REFERENCE.encode())]
    frames[LIKE] = deliver({"members": members}, 1, end=LAST, key=LIKE)
    out = run(graph, frames)
    assert out["GLOBAL"]["global.1m"]["available_at"][-1] == max(
        out[key]["bars.1m"]["ts_close"][-1] for key in (B, F, G)
    )
    for key in (B, E, F, G):
        assert (out[key]["beta.1m"]["status"] == MISSING).all()
        assert len(out[key]["confluence"]) == len(whole[key]["confluence"])


def test_without_a_promise_nothing_is_said_of_all(whole):
    frames = arrive()
    out = run(graph, frames | {LIKE: [Frame(LIKE, "members", MEMBER_ROWS[:2], minute(1_540))]})
    assert out["GLOBAL"]["global.1m"]["available_at"][-1] == minute(1_539)
    assert digest(until(whole["GLOBAL"], minute(1_539))) == digest(out["GLOBAL"])
    assert digest(out[B])["features.1m"] == digest(whole[B])["features.1m"]
