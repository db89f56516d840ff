"""The laws over the whole graph in the engine: deliveries, workers, prefix, start, crashes; quiet, holed and empty markets."""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from bytewax.recovery import RecoveryConfig, init_db_dir
from lab import ALL, DELIVERIES, END_OF_TIME, START, Sink, deliver, digest, run, trades

from config import Settings
from events.frames import Frame
from events.schema import NEVER, SETTLED, SYNTHETIC
from events.times import DAY_NS, MINUTE_NS, SECOND_NS
from flows.graph import build
from flows.plan import Plan

SETTINGS = Settings.model_validate(
    {
        "bars": {"time": ["1m", "5m", "30m"]},
        "confluence": {"blend": {"1m": 0.7, "5m": 0.3}, "theta": 10.0},
        "signals": {"tf": "1m"},
        "sources": {"lateness_s": 2},
    }
)
PLAN = Plan(SETTINGS)
SOAK = bool(os.environ.get("TIDEWAX_SOAK"))


def graph(market):
    return build(market, PLAN)


def markets() -> dict[str, np.ndarray]:
    return {
        "lab:BUSY": trades(12_000, 11),
        "lab:HOLE": trades(5_000, 12, gap_ns=3 * DAY_NS, shuffle_ns=2 * SECOND_NS),
        "lab:QUIET": trades(600, 15, spacing_ns=90 * SECOND_NS),
        "lab:EMPTY": trades(1, 16)[:0],
    }


def arrive(delivery=(ALL, 0, False, False), end=END_OF_TIME, of=None):
    chunk, lag, beats, _ = delivery
    out = {}
    for key, rows in (of or markets()).items():
        late = 2 * SECOND_NS if key == "lab:HOLE" else lag
        out[key] = deliver({"trades": rows}, chunk, late, beats, end=end, key=key)
    return out


@pytest.fixture(scope="module")
def whole():
    out = run(graph, arrive())
    for key in ("lab:BUSY", "lab:HOLE"):
        assert len(out[key]["signals"]) > 3, "the laws would hold over nothing"
        assert len(out[key]["outcomes"]) > 1
        assert len(out[key]["features.30m"]) > 5
    assert out["lab:EMPTY"] == {}
    return out


def digests(out):
    return {key: digest(streams) for key, streams in out.items()}


@pytest.mark.parametrize("delivery", DELIVERIES if SOAK else DELIVERIES[::3], ids=str)
@pytest.mark.slow
def test_any_delivery(whole, delivery):
    assert digests(run(graph, arrive(delivery), per=64 if delivery[2] else 5)) == digests(whole)


@pytest.mark.slow
def test_placement_two_workers(whole):
    assert digests(run(graph, arrive((101, 2 * SECOND_NS, False, False)), workers=2, per=8)) == digests(whole)


def test_placement_alone_or_together(whole):
    alone = run(graph, arrive(of={"lab:QUIET": markets()["lab:QUIET"]}))
    assert digest(alone["lab:QUIET"]) == digest(whole["lab:QUIET"])


@pytest.mark.parametrize("minutes", [200, 333])
def test_prefix(whole, minutes):
    cut = START // MINUTE_NS * MINUTE_NS + minutes * MINUTE_NS
    begun = {key: rows[rows["available_at"] <= cut] for key, rows in markets().items()}
    part = run(graph, arrive((501, 2 * SECOND_NS, False, False), end=cut + 1, of=begun))
    for key, streams in part.items():
        for name, rows in streams.items():
            expected = whole[key][name]
            if isinstance(rows, tuple):
                assert rows == tuple(r for r in expected if r.ts <= cut)
            elif name not in ("gaps",):
                assert rows.tobytes() == expected[expected["available_at"] <= cut].tobytes(), (key, name)
    assert len(part["lab:BUSY"]["confluence"]) > 100


def test_start(whole):
    """Two runs that began at different times agree bit for bit where both are settled."""
    rows = trades(120_000, 17)
    late = rows[rows["available_at"] >= rows["available_at"][0] + 300 * MINUTE_NS]
    long, short = (
        run(graph, {"lab:A": deliver({"trades": r}, 5_000, key="lab:A")})["lab:A"]["features.1m"] for r in (rows, late)
    )
    long = long[np.isin(long["g"], short["g"])]
    short = short[np.isin(short["g"], long["g"])]
    settled = (long["status"] == SETTLED) & (short["status"] == SETTLED)
    assert settled.sum() > 5_000
    assert (long["values"] == short["values"])[settled].all()
    assert not (long["values"] == short["values"]).all()


def test_bars_from_hour_long_silence_and_three_day_hole(whole):
    bars = whole["lab:HOLE"]["bars.1m"]
    steps = np.diff(bars["g"])
    assert steps.max() > 2 * 1440, "nothing is made up over a hole of three days"
    assert (bars["flags"] & SYNTHETIC).astype(bool).sum() >= 60
    gaps = whole["lab:HOLE"]["gaps"]
    over = gaps[gaps["until"] != NEVER]
    assert (over["until"] - over["since"]).max() > 2 * DAY_NS


def test_an_empty_market_sends_heartbeats_through():
    sink = Sink()
    run(graph, {"lab:EMPTY": [Frame("lab:EMPTY", "trades", markets()["lab:EMPTY"], END_OF_TIME)]}, sink=sink)
    assert {f.name for f in sink.items} >= {"bars.1m", "features.1m", "confluence", "signals"}
    assert max(f.watermark for f in sink.items if f.name == "signals") == END_OF_TIME + 1


@contextmanager
def silence():
    """What the engine writes about ordered crashes goes nowhere."""
    logging.disable(logging.CRITICAL)
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
        logging.disable(logging.NOTSET)


def crashing(graph, frames, seed=0):
    """What comes out of runs that crash again and again and go on, and how often they did."""
    sink, r, crashes, at = Sink(), np.random.default_rng(seed), 0, 0
    (first, *_) = frames.values()
    with silence(), tempfile.TemporaryDirectory() as store:
        init_db_dir(Path(store), 1)
        while at is not None:
            at = at + int(r.integers(20, 90)) if at < len(first) - 90 else None
            recovery = {"epoch_interval": timedelta(0), "recovery_config": RecoveryConfig(store)}
            try:
                got = run(graph, frames, per=2, sink=sink, crash=at, **recovery)
            except Exception:
                crashes += 1
    return got, crashes


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10 if SOAK else 1))
def test_restart_after_crashes_of_the_engine(whole, seed):
    got, crashes = crashing(graph, arrive((101, 2 * SECOND_NS, True, False)), seed)
    assert crashes > 3
    assert digests(got) == digests(whole)
