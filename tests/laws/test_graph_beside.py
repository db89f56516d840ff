"""The laws over the whole graph with books, quotes, polls and voids beside trades, of instruments that have different streams."""

from __future__ import annotations

import numpy as np
import pytest
from beside import book, samples
from lab import ALL, END_OF_TIME, START, deliver, digest, run, trades
from micro_cases import settlements, spans
from test_graph import SOAK, crashing, digests

from config import Settings
from events.feeds import BOOKS, CONTEXT, FEEDS, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, RATES, TICKERS, TOPS, TRADES
from events.frames import NO_ROWS, Frame, control
from events.schema import COLD, FOREVER, LEAVE, MISSING, NEVER, SILENT, VOID
from events.times import HOUR_NS, MINUTE_NS, SECOND_NS
from flows.graph import build
from flows.plan import Plan
from operators.confluence import GATES

PERPETUAL, SPOT, QUOTED = "lab:ALL/USD:USD", "lab:SPOT/USD", "lab:QUOTED/USD"
EVERY = (TRADES, LIQUIDATIONS, BOOKS, TOPS, TICKERS, RATES, OPEN_INTEREST, LONG_SHORT, CONTEXT)
LACKING = {SPOT: frozenset(EVERY) - {TRADES, BOOKS, CONTEXT}, QUOTED: frozenset(EVERY) - {TRADES, TOPS}}
SETTINGS = Settings.model_validate(
    {
        "bars": {"time": ["1m", "5m", "30m"]},
        "confluence": {"blend": {"1m": 0.7, "5m": 0.3}, "theta": 10.0, "gates": {"coverage": 0.3, "spread_bps": 60.0}},
        "signals": {"tf": "1m"},
        "sources": {"lateness_s": 2},
        "indicators": {"liquidations": {"mode": "momentum"}, "open_interest": {"unwind": 0.5}},
    }
)
PLAN = Plan(SETTINGS, feeds=frozenset(EVERY), lacking=LACKING, instruments=(PERPETUAL, SPOT, QUOTED))
NAMES = [name for name, _ in PLAN.dimensions]


def graph(market):
    return build(market, PLAN)


def markets():
    """Rows by instrument and stream, about five hours of them."""
    levels = [book(2_500, seed, 8 * SECOND_NS, skips=0.004, crossed=0.002, depth=8) for seed in (31, 32)]
    for rows in levels:
        rows["price"] += 900.0  # so that some levels lie within the bands
    context = samples(CONTEXT, 60, 33, 10 * MINUTE_NS)
    rates = settlements(34)
    everything = {
        TRADES: trades(2_500, 35, 10 * SECOND_NS),
        LIQUIDATIONS: samples(LIQUIDATIONS, 900, 36),
        BOOKS: levels[0],
        TOPS: samples(TOPS, 900, 37),
        TICKERS: samples(TICKERS, 900, 38),
        RATES: rates[rates["available_at"] < START + 5 * HOUR_NS],
        OPEN_INTEREST: samples(OPEN_INTEREST, 300, 39, MINUTE_NS),
        LONG_SHORT: samples(LONG_SHORT, 2_000, 40, 9 * SECOND_NS),
        CONTEXT: context,
    }
    return {
        PERPETUAL: everything,
        SPOT: {TRADES: trades(2_000, 41, 12 * SECOND_NS), BOOKS: levels[1], CONTEXT: context},
        QUOTED: {TRADES: trades(2_000, 42, 12 * SECOND_NS), TOPS: samples(TOPS, 1_500, 43, 10 * SECOND_NS)},
    }


VOIDS = {PERPETUAL: {BOOKS: spans(50, 3), RATES: spans(51, 3), LIQUIDATIONS: spans(52, 3), OPEN_INTEREST: spans(53, 3)}}


def begun(rows, cut):
    """What of a market, or of what is said of it, is known before a time."""
    return {name: part[part["available_at"] < cut] for name, part in rows.items()}


def whole_updates(frames):
    """Frames of books are cut where updates end, as sources do: the rows of an update that is cut go into its last frame."""
    held, out = None, []
    for frame in frames:
        if frame.name == BOOKS:
            rows = frame.rows if held is None else np.concatenate([held, frame.rows.astype(FEEDS[BOOKS].dtype)])
            ends = np.flatnonzero(rows["last"]) if len(rows) else []
            n = int(ends[-1]) + 1 if len(ends) else 0
            held = rows[n:] if n < len(rows) else None
            behind = NEVER if held is None else int(held["available_at"][0])
            watermark = frame.watermark if held is None else min(frame.watermark, behind)
            out.append(frame._replace(rows=rows[:n], watermark=watermark))
        else:
            out.append(frame)
    assert held is None
    return out


def arrive(delivery=(ALL, 0, False, False), of=None, voids=None, end=END_OF_TIME):
    chunk, lag, beats, trailing = delivery
    out = {}
    for key, streams in (of or markets()).items():
        said = (VOIDS if voids is None else voids).get(key, {})
        frames = deliver(streams, chunk, lag, beats, trailing, end=end, key=key, control=said)
        none = [Frame(key, name, FEEDS[name].empty, FOREVER) for name in sorted(LACKING.get(key, ()))]
        out[key] = none + whole_updates(frames)
    return out


@pytest.fixture(scope="module")
def whole():
    return run(graph, arrive())


def test_it_is_not_about_nothing(whole):
    assert [PLAN.electorate.preset_of(key) for key in (PERPETUAL, SPOT, QUOTED)] == ["full9", "price6", "price6"]
    for key, streams in whole.items():
        assert len(streams["signals"]) > 1, key
        assert {f"micro.{name}" for name in ("1m", "5m", "30m")} <= streams.keys()
        assert {letter.reason for letter in streams.get("dead_letters", ())} <= {"BOOK_SEQ", "CROSSED"}, key
    rows = whole[PERPETUAL]["confluence"]
    for name in ("order_flow", "liquidity", "sentiment"):
        q = rows["q"][:, NAMES.index(name)]
        assert (q > 0.3).sum() > 100, name
        assert ((q > 0) & (q < 1)).any(), name
    for gate in ("book", "spread"):
        shut = (rows["gates"][:, GATES.index(gate)] == 0).sum()
        assert 0 < shut < len(rows) - 100, gate
    tops = {top for signal in whole[PERPETUAL]["signals"] for share in signal.components.values() for top in share.top}
    assert {"book_imbalance@1m", "fear_greed@1m"} <= tops


def test_each_instrument_is_judged_by_what_it_has(whole):
    applicable = {
        PERPETUAL: {"order_flow", "liquidity", "sentiment", "smart_money"},
        SPOT: {"order_flow", "liquidity"},
        QUOTED: {"liquidity"},
    }
    for key, names in applicable.items():
        rows = whole[key]["confluence"]
        found = {name for k, name in enumerate(NAMES) if (rows["weight"][:, k] > 0).all()}
        assert found == names | {"volume", "structure", "technical"}, key
        for k in (NAMES.index(name) for name in set(NAMES) - found):
            assert (rows["status"][:, k] == SILENT).all()
    quoted = whole[QUOTED]["confluence"]
    assert (quoted["gates"][:, GATES.index("book")] == 1).all(), "it has no book"
    assert (quoted["gates"][:, GATES.index("spread")] == 0).any()


def test_what_an_instrument_lacks_is_as_if_the_run_did_not_have_it(whole):
    """A spot market beside a perpetual, and alone in a run that has its streams only."""
    rows = markets()[SPOT]
    del rows[CONTEXT]
    alone = Plan(SETTINGS, feeds=frozenset({TRADES, BOOKS}), instruments=(SPOT,))
    frames = whole_updates(deliver(rows, ALL, key=SPOT))
    got = run(lambda market: build(market, alone), {SPOT: frames})[SPOT]["confluence"]
    ours = whole[SPOT]["confluence"]
    for field in ("score", "m", "coverage", "agreement", "dispersion", "theta", "state", "gates"):
        assert ours[field].tobytes() == got[field].tobytes(), field
    kept = [NAMES.index(name) for name, _ in alone.dimensions]
    for field in ("u", "weight", "q", "contribution", "status"):
        assert np.ascontiguousarray(ours[field][:, kept]).tobytes() == got[field].tobytes(), field


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delivery", "per"),
    [
        ((1, 0, False, False), 64), ((7, 2 * SECOND_NS, True, False), 64), ((501, 2 * SECOND_NS, False, True), 3),
        ((ALL, 0, True, True), 1),
    ],
    ids=str,
)  # fmt: skip
def test_any_delivery(whole, delivery, per):
    assert digests(run(graph, arrive(delivery), per=per)) == digests(whole)


@pytest.mark.slow
def test_placement_two_workers(whole):
    assert digests(run(graph, arrive((101, 2 * SECOND_NS, False, False)), workers=2, per=8)) == digests(whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6 if SOAK else 1))
def test_restart_after_crashes_of_the_engine(whole, seed):
    got, crashes = crashing(graph, arrive((31, 2 * SECOND_NS, False, False)), seed)
    assert crashes > 1
    assert digests(got) == digests(whole)


def until(rows, cut):
    """Rows or records stamped at or before a time."""
    if isinstance(rows, tuple):
        return tuple(record.canonical() for record in rows if record.ts <= cut)
    return rows[rows["available_at"] <= cut].tobytes()


@pytest.mark.parametrize("minutes", [97, 170])
def test_prefix(whole, minutes):
    cut = START // MINUTE_NS * MINUTE_NS + minutes * MINUTE_NS
    early = {key: begun(streams, cut + 1) for key, streams in markets().items()}
    said = {key: begun(voids, cut + 1) for key, voids in VOIDS.items()}
    got = run(graph, arrive((501, 2 * SECOND_NS, False, False), early, said, cut + 1))
    for key, streams in got.items():
        assert len(streams["confluence"]) > 80
        for name in ("bars.1m", "features.1m", "micro.1m", "micro.5m", "confluence", "signals"):
            if name in streams:
                assert until(streams[name], cut) == until(whole[key][name], cut), (key, name)


@pytest.mark.parametrize("stream", EVERY)
def test_nothing_after_a_time_changes_what_was_said_by_then(whole, stream):
    """All rows of one stream after a time are others: not a byte changes at or before it, and something does later."""
    cut = START // MINUTE_NS * MINUTE_NS + 150 * MINUTE_NS
    changed = markets()
    rows = changed[PERPETUAL][stream] = changed[PERPETUAL][stream].copy()
    later = rows["available_at"] > cut
    field, by = {
        TRADES: ("qty", 3.0), LIQUIDATIONS: ("qty", 5.0), BOOKS: ("qty", 2.0), TOPS: ("bid_qty", 2.0),
        TICKERS: ("mark", 1.01), RATES: ("rate", -2.0), OPEN_INTEREST: ("oi_base", 1.5), LONG_SHORT: ("long_frac", 0.5),
        CONTEXT: ("value", 0.3),
    }[stream]  # fmt: skip
    rows[field][later] *= by
    if stream == BOOKS:
        rows["qty"][later & (rows["side"] < 0)] *= 3.0
    got = run(graph, arrive(of={PERPETUAL: changed[PERPETUAL]}))[PERPETUAL]
    different = 0
    for name, made in got.items():
        assert until(made, cut) == until(whole[PERPETUAL][name], cut), name
        different += digest({name: made}) != digest({name: whole[PERPETUAL][name]})
    assert different or stream == TOPS, "best quotes say nothing where there is a book"


def test_a_stream_that_never_comes_holds_nothing_up_where_it_is_void(whole):
    """The funding connection is down from the beginning: a void a boundary instead of rows and promises."""
    rows = markets()[PERPETUAL]
    del rows[RATES]
    minutes = np.arange(START // MINUTE_NS * MINUTE_NS, START + 6 * HOUR_NS, MINUTE_NS).tolist()
    said = np.concatenate([control(VOID, at, at, at + MINUTE_NS - 1) for at in minutes])
    frames = [f for f in arrive(of={PERPETUAL: rows})[PERPETUAL] if f.name != RATES]
    frames.append(Frame(PERPETUAL, RATES, NO_ROWS, minutes[0], said))
    got = run(graph, {PERPETUAL: frames})[PERPETUAL]
    scores, ours = got["confluence"], whole[PERPETUAL]["confluence"]
    assert scores["available_at"].tobytes() == ours["available_at"].tobytes()
    places = {name: k for k, name in enumerate(PLAN.beside[0].columns)}
    status = got["micro.1m"]["status"]
    assert (status[:, places["sentiment.funding"]] == MISSING).all()
    assert (status[:, places["sentiment.fear_greed"]] < COLD).any()
    for k, name in enumerate(NAMES):
        if name != "sentiment":
            assert scores["u"][:, k].tobytes() == ours["u"][:, k].tobytes(), name
    spoke = scores["q"][:, NAMES.index("sentiment")]
    assert (spoke <= ours["q"][:, NAMES.index("sentiment")] + 1e-12).mean() > 0.95


LINKED = Plan(
    SETTINGS.model_copy(
        update={
            "indicators": SETTINGS.indicators.model_copy(
                update={
                    "sentiment": SETTINGS.indicators.sentiment.model_copy(
                        update={"link": {SPOT: PERPETUAL, QUOTED: PERPETUAL}}
                    )
                }
            )
        }
    ),
    feeds=frozenset(EVERY),
    lacking=LACKING,
    instruments=(PERPETUAL, SPOT, QUOTED),
)


def lending(market):
    return build(market, LINKED)


@pytest.fixture(scope="module")
def lent():
    return run(lending, arrive())


def test_a_spot_market_has_the_sentiment_of_its_perpetual(whole, lent):
    assert LINKED.electorate.preset_of(SPOT) == "full9"
    for name in ("micro.1m", "micro.5m", "confluence"):
        assert lent[PERPETUAL][name].tobytes() == whole[PERPETUAL][name].tobytes(), "who lends is not changed"
    ours, theirs = lent[SPOT]["micro.1m"], lent[PERPETUAL]["micro.1m"]
    both = np.intersect1d(ours["available_at"], theirs["available_at"])
    ours, theirs = (rows[np.isin(rows["available_at"], both)] for rows in (ours, theirs))
    columns = LINKED.beside[0].columns
    same = [
        columns.index(name) for name in ("funding_rate", "funding_z", "basis", "oi_base", "long_short_z", "liq_imb_30m")
    ]
    assert len(both) > 200
    assert (
        np.ascontiguousarray(ours["values"][:, same]).tobytes()
        == np.ascontiguousarray(theirs["values"][:, same]).tobytes()
    )
    assert (~np.isnan(ours["values"][:, same])).sum(axis=0).min() > 50
    book = columns.index("imb_band")
    assert ours["values"][:, book].tobytes() != theirs["values"][:, book].tobytes(), "the book is its own"
    rows = lent[SPOT]["confluence"]
    assert (rows["q"][:, NAMES.index("sentiment")] > 0).sum() > 100
    assert (rows["weight"][:, NAMES.index("sentiment")] == 0.10).all()
    assert all(outcome.settlements == () for outcome in lent[SPOT]["outcomes"]), "and pays no funding"


@pytest.mark.slow
@pytest.mark.parametrize("delivery", [(7, 2 * SECOND_NS, True, False), (501, 0, False, True)], ids=str)
def test_any_delivery_of_what_is_lent(lent, delivery):
    assert digests(run(lending, arrive(delivery), per=32)) == digests(lent)


@pytest.mark.slow
def test_restart_after_crashes_where_streams_are_lent(lent):
    got, crashes = crashing(lending, arrive((61, 2 * SECOND_NS, False, False)), 3)
    assert crashes > 1
    assert digests(got) == digests(lent)


def test_a_perpetual_that_leaves_lends_nothing_more(lent):
    """Its streams end: what was theirs is missing from then on, and nobody waits."""
    cut = START // MINUTE_NS * MINUTE_NS + 100 * MINUTE_NS
    every = markets()
    early = arrive(of={PERPETUAL: begun(every[PERPETUAL], cut)}, voids={}, end=cut)[PERPETUAL]
    leaving = [
        Frame(PERPETUAL, name, NO_ROWS if name not in FEEDS else FEEDS[name].empty, cut + 1, control(LEAVE, cut, cut))
        for name in EVERY
    ]
    rest = arrive(of={key: every[key] for key in (SPOT, QUOTED)}, voids={})
    got = run(lending, rest | {PERPETUAL: early + leaving})[SPOT]
    assert got["confluence"]["available_at"].tobytes() == lent[SPOT]["confluence"]["available_at"].tobytes()
    ratio = got["micro.1m"]["status"][:, LINKED.beside[0].columns.index("long_frac")]
    gone = got["micro.1m"]["available_at"] > cut + 15 * MINUTE_NS
    assert (ratio[gone] == MISSING).all()
    assert (ratio[~gone] < COLD).any()
