"""Graphs over some instruments each, and one beside them that compares them, make what one graph over all of them makes."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from itertools import chain
from pathlib import Path

import bytewax.operators as op
import numpy as np
import pytest
import test_graph_members as members
from bytewax.dataflow import Dataflow
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from lab import ALL, Part, Source, deliver, digest, klines, run, together
from test_graph import silence
from test_graph_market import CUT, KEYS, PLAN, REFERENCE, ROWS, SETTINGS, arrive, silent_from
from test_graph_market import graph as one_piece

from connectors.recovery import forget_what_was_not_reached
from events.feeds import GLOBAL, MEMBERS
from events.frames import NO_ROWS, Frame, control
from events.schema import LEAVE, NEVER, SILENT
from events.times import HOUR_NS, MINUTE_NS, SECOND_NS
from flows.graph import build, build_market
from flows.plan import Plan

SHARDS = (KEYS[:2], KEYS[2:])
APART = Plan(SETTINGS, feeds=PLAN.feeds, instruments=KEYS, cross="apart")


class Topic:
    """What a flow has written, and cannot take back: when it goes on from a snapshot it leaves out the rows that are there."""

    def __init__(self):
        self.frames, self.rows, self.known, self.faults = [], {}, {}, set()

    def write(self, frame, first):
        """Take a frame whose rows are those from `first` on of its stream; those that are there already must be the same."""
        at = (frame.instrument, frame.name)
        there, known = self.rows.setdefault(at, []), self.known.get(at, NEVER)
        made = [row.canonical() if isinstance(frame.rows, tuple) else row.tobytes() for row in frame.rows]
        again = there[first : first + len(made)]
        if first > len(there) or made[: len(again)] != again:
            self.faults.add(at)
        if made[len(again) :] or len(frame.control) or frame.watermark > known:
            self.frames.append(frame._replace(rows=frame.rows[len(again) :]))
            self.known[at] = max(frame.watermark, known)
            there += made[len(again) :]

    def of(self, keys, *names):
        return [frame for frame in self.frames if frame.instrument in keys and frame.name in names]


class TopicSink(FixedPartitionedSink):
    def __init__(self, topic):
        self.topic = topic

    def list_parts(self):
        return ["all"]

    def build_part(self, step_id, for_part, resume_state):
        return TopicPart(self.topic, dict(resume_state or {}))


class TopicPart(StatefulSinkPartition):
    def __init__(self, topic, given):
        self.topic, self.given = topic, given

    def write_batch(self, items):
        for frame in items:
            at = (frame.instrument, frame.name)
            self.topic.write(frame, self.given.get(at, 0))
            self.given[at] = self.given.get(at, 0) + len(frame.rows)

    def snapshot(self):
        return dict(self.given)


class Lists(Source):
    """Frames under the keys of their instruments, from lists that grow between runs; fails before its batch `crash`."""

    def build_part(self, step_id, for_part, resume_state):
        return ListPart(self, for_part, resume_state or 0)


class ListPart(Part):
    def __init__(self, source, key, at):
        super().__init__(key, source.data[key], source.per, at, None)
        self.source = source

    def next_batch(self):
        if self.source.crash == 0:
            raise ConnectionResetError("a crash, as ordered")
        batch = [(frame.instrument, frame) for _, frame in super().next_batch()]
        self.at = min(self.at, len(self.items))
        self.source.crash = None if self.source.crash is None else self.source.crash - 1
        return batch


class Runs:
    """A flow that is started again and again, each time with what has come since."""

    def __init__(self, graph, store):
        self.graph, self.store, self.topic = graph, store, Topic()
        init_db_dir(store, 1)

    def run(self, data, per=16, crash=None):
        forget_what_was_not_reached(self.store)
        flow = Dataflow("lab")
        out = self.graph(op.input("market", flow, Lists(data, per, crash)))
        op.output("out", op.map("to_one", out, lambda item: ("all", item[1])), TopicSink(self.topic))
        run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(self.store)))


def apart(frames, parts=6, seed=0, crash=0.0, plan=APART, shards=SHARDS):
    """What the flows have written when all has been read: each is given some of what is there, again and again, in any order.

    Args:
        frames: of the market, by instrument.
        parts: into how many parts the market is cut.
        crash: how probable it is that a flow fails on its way.
    """
    r, crashes = np.random.default_rng(seed), 0
    with silence(), tempfile.TemporaryDirectory() as folder:
        stores = [Path(folder) / f"{k}" for k in range(len(shards) + 1)]
        for store in stores:
            store.mkdir()
        flows = [Runs(lambda market: build(market, plan), store) for store in stores[1:]]
        market = Runs(lambda results: build_market(results, plan), stores[0])
        cuts = {key: [round(len(of) * k / parts) for k in range(1, parts + 1)] for key, of in frames.items()}
        given, quiet = [0] * len(shards), 0
        while quiet < 2:
            before, failed = [len(one.topic.frames) for one in (*flows, market)], crashes
            for place in r.permutation(len(shards) + 1):
                if place == len(shards):
                    read = chain.from_iterable(one.topic.frames for one in flows)
                    heard = [f for f in read if f.name.startswith(("bars.", "features."))]
                    one, data = market, {key: [f for f in heard if f.instrument == key] for key in frames}
                    said = [f for of in frames.values() for f in of if f.name == MEMBERS]
                    data[MEMBERS] = said[: len(said) * min(given) // parts]
                else:
                    one, keys = flows[place], shards[place]
                    given[place] = min(given[place] + int(r.integers(1, 3)), parts)
                    data = {key: frames[key][: cuts[key][given[place] - 1]] for key in keys}
                    data["cross"] = market.topic.of(keys, *plan.cross.told)
                per = int(r.integers(1, 40))
                batches = 1 + sum(map(len, data.values())) // per // parts
                try:
                    one.run(data, per, int(r.integers(0, batches)) if r.random() < crash else None)
                except Exception:
                    crashes += 1
                    assert crash, "nothing was to fail"
            still = before == [len(one.topic.frames) for one in (*flows, market)] and failed == crashes
            quiet = quiet + 1 if still and given == [parts] * len(shards) else 0
    assert crashes > 2 or not crash
    assert not set().union(*(one.topic.faults for one in (*flows, market))), "a restart made other rows"
    written = [*chain.from_iterable(one.topic.frames for one in flows), *market.topic.frames]
    return {
        key: together(f for f in written if f.instrument == key and f.name not in plan.cross.told)
        for key in {*frames, GLOBAL}
    }


def digests(out):
    return {key: digest(streams) for key, streams in out.items()}


@pytest.fixture(scope="module")
def whole():
    out = run(one_piece, arrive())
    assert len(out["GLOBAL"]["global.1m"]) > 1_600, "the laws would hold over nothing"
    assert len(out[KEYS[-1]]["beta.1m"]) > 1_600
    assert any(signal.market_regime for signal in out[KEYS[-1]]["signals"])
    return out


def test_the_same_rows_and_the_same_analysis(whole):
    assert APART.analysis_hash == PLAN.analysis_hash
    assert digests(apart(arrive((101, 2 * SECOND_NS, False, False)))) == digests(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delivery", "seed"),
    [((31, 2 * SECOND_NS, True, False), 1), ((501, 0, False, True), 2), ((ALL, 0, False, False), 3)],
    ids=str,
)
def test_any_delivery(whole, delivery, seed):
    assert digests(apart(arrive(delivery), parts=4, seed=seed)) == digests(whole)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [[[key] for key in KEYS], [KEYS], [KEYS[1:], KEYS[:1]]], ids=len)
def test_any_shards(whole, shards):
    frames = arrive((101, 2 * SECOND_NS, False, False))
    assert digests(apart(frames, parts=3, shards=shards)) == digests(whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4])
def test_crashes_change_nothing(whole, seed):
    frames = arrive((53, 2 * SECOND_NS, True, False))
    assert digests(apart(frames, parts=8, seed=seed, crash=0.6)) == digests(whole)


@pytest.mark.slow
@pytest.mark.parametrize("key", [REFERENCE, KEYS[4]])
def test_who_is_silent_and_void_holds_nobody(key):
    frames = silent_from(key, CUT)
    expected = run(one_piece, frames)
    assert expected[KEYS[1]]["signals"][-1].ts > CUT + 60 * MINUTE_NS
    assert digests(apart(frames, seed=5, crash=0.3)) == digests(expected)


@pytest.mark.slow
def test_what_is_said_of_a_stream_comes_to_the_others_too(whole):
    """An instrument that leaves holds nobody, and one that was not known before is told that nothing comes for it."""
    new, key, ts = "lab:NEW/USDT", KEYS[3], CUT + 7 * SECOND_NS
    first = ROWS[key][ROWS[key]["available_at"] <= ts]
    said = Frame(key, "klines.1m", NO_ROWS, ts + 1, control(LEAVE, ts, ts))
    frames = arrive((101, 0, False, False), of=ROWS | {new: klines(500, 90)})
    frames[key] = [*deliver({"klines.1m": first}, 101, key=key, end=ts), said]
    expected = run(one_piece, frames)
    assert (expected[new]["beta.1m"]["status"] == SILENT).all()
    assert expected["GLOBAL"]["global.1m"]["n"][-1] <= 5
    out = apart(frames, seed=6, shards=(*SHARDS, [new]))
    assert digests(out) == digests(expected)


@pytest.mark.slow
@pytest.mark.parametrize("crash", [0.0, 0.5])
def test_instruments_that_join_and_leave(crash):
    """`members` say who takes part; they are read by the flow that compares, from where shards read the market."""
    plan = Plan(SETTINGS, feeds=members.PLAN.feeds, instruments=members.PLAN.instruments, cross="apart")
    expected = run(members.graph, members.arrive())
    frames = members.arrive((53, 2 * SECOND_NS, True, False), told=(1, HOUR_NS, False, False))
    shards = ((*members.KEYS[:3], members.LIKE), members.KEYS[3:])
    assert digests(apart(frames, seed=7, crash=crash, plan=plan, shards=shards)) == digests(expected)


def test_who_is_not_told_of_others_waits_and_loses_nothing(whole):
    """While `flows.market` stands still, scores wait for beta; bars and features go on."""
    frames = arrive((101, 0, False, False))
    out = run(lambda market: build(market, APART), frames)
    for key in KEYS:
        assert digest(out[key])["features.1m"] == digest(whole[key])["features.1m"]
        assert not {"beta.1m", "confluence", "signals"} & set(out[key])


def test_without_comparison_there_is_none(whole):
    plan = Plan(SETTINGS, feeds=PLAN.feeds, instruments=KEYS, cross="nowhere")
    out = run(lambda market: build(market, plan), arrive((101, 0, False, False)))
    assert plan.analysis_hash == PLAN.analysis_hash
    assert not {"global.1m", "beta.1m"} & set(plan.streams)
    assert "beta.1m" not in out[KEYS[1]]
    assert out["GLOBAL"] == {}
    assert digest(out[KEYS[1]])["features.1m"] == digest(whole[KEYS[1]])["features.1m"]
    assert {signal.market_regime for signal in out[KEYS[1]]["signals"]} == {None}
