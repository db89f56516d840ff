"""Who takes part where instruments come and go: random universes, in any order of arrival, with snapshots anywhere."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from events.frames import NO_ROWS, Frame, concat, control
from events.rows import MEMBER_ROW
from events.schema import ABSENT, END, FOREVER, LEAVE, NEVER, VOID
from events.times import MINUTE_NS
from operators.broadcast import AVERAGE_ROW, CLOSE_ROW
from operators.market import EARLIER, TOGETHER
from operators.members import Gate, Members
from operators.open_market import OpenMarket
from operators.open_relay import HISTORY_BARS, OpenRelay

REFERENCE = "x:R/U"
KEYS = (REFERENCE, *(f"x:{name}/U" for name in "ABCDE"))
LIKES = ("x:*", "x:*:*")
MINUTES = 60


def universe(seed):
    """{instrument: [(joins, leaves)]} of an hour, some on boundaries, some at the same time."""
    r, spans = np.random.default_rng(seed), {}
    for key in KEYS:
        n = int(r.integers(1, 4))
        at = np.sort(r.choice(np.arange(1, 2 * MINUTES), 2 * n, replace=False)) * (MINUTE_NS // 2)
        times = [0 if r.random() < 0.4 else int(at[0]), *at[1:].tolist()]
        spans[key] = list(zip(times[::2], times[1::2]))
    return spans


def closes(r, since, until):
    """Closes of most minutes between two times."""
    g = np.arange(-(-since // MINUTE_NS), until // MINUTE_NS + 1)
    g = g[r.random(len(g)) < 0.9]
    out = np.zeros(len(g), CLOSE_ROW)
    out["available_at"], out["g"], out["close"] = g * MINUTE_NS, g - 1, 100 * np.exp(r.normal(0, 1e-3, len(g)))
    return out


def streams_of(spans, seed):
    """Frames of each stream, in the order in which they come: {(instrument, name): [frame]}."""
    r, found = np.random.default_rng(seed), {}
    for key, memberships in spans.items():
        for joins, leaves in memberships:
            rows = closes(r, max(0, joins - 10 * MINUTE_NS), leaves)
            voids = int(r.integers(joins, joins + (leaves - joins) // 3 + 1)) // MINUTE_NS * MINUTE_NS
            for name in ("bars.1m", "features.30m"):
                frames = found.setdefault((key, name), [])
                if name == "bars.1m":
                    frames.append(Frame(key, name, NO_ROWS, NEVER, control(VOID, 0, 0, voids)))
                    given = rows
                else:
                    given = np.zeros(len(rows[::7]), AVERAGE_ROW)
                    given["available_at"], given["ema"] = rows["available_at"][::7], 100.0
                cuts = np.sort(r.integers(0, len(given) + 1, 3))
                for part in np.split(given, cuts):
                    at = int(part["available_at"][-1]) if len(part) else NEVER
                    frames.append(Frame(key, name, part, at))
                end = control(END, leaves, leaves)
                early = r.random() < 0.5  # the watermark before the word itself
                frames += [Frame(key, name, NO_ROWS, leaves + 1)] * early
                frames.append(Frame(key, name, NO_ROWS, leaves + 1, end))
    changes = [(joins, key, 1) for key, both in spans.items() for joins, _ in both]
    changes += [(leaves, key, -1) for key, both in spans.items() for _, leaves in both]
    for k, like in enumerate(LIKES):
        found[like, "members"] = [
            Frame(like, "members", np.array([(ts, key.encode(), change, 0)], MEMBER_ROW), ts)
            for ts, key, change in sorted(changes)
            if KEYS.index(key) % len(LIKES) == k
        ] + [Frame(like, "members", NO_ROWS, 2 * MINUTES * MINUTE_NS)]
    return found


def driven(build, streams, seed, restart=0.0):
    """All frames that a stage gives, when its streams come in a random order."""
    r, stage, out = np.random.default_rng(seed), build(), []
    left = {name: list(frames) for name, frames in streams.items()}
    names = list(left)
    while names:
        name = names[int(r.integers(len(names)))] if seed else names[0]
        for _ in range(int(r.integers(1, 6)) if seed else len(left[name])):
            if left[name]:
                stage.push(left[name].pop(0))
        if not left[name]:
            names.remove(name)
        if r.random() < 0.3:
            continue
        out += stage.advance()
        if r.random() < restart:
            blob, stage = pickle.dumps(stage.snapshot()), build()
            stage.restore(pickle.loads(blob))
    return out + stage.advance()


def heard(frames):
    """What each instrument gets of each stream between joining and leaving: rows, voids in one, and the last watermark."""
    found = {}
    for frame in frames:
        parts = found.setdefault((frame.instrument, frame.name), [[[], [], NEVER, NEVER]])
        rows, hidden, watermark, _ = parts[-1]
        if len(frame.rows):
            rows.append(frame.rows)
        hidden += [row[2:5] for row in frame.control.tolist() if row[1] == VOID]
        parts[-1][2] = max(watermark, frame.watermark)
        leaves = frame.control["available_at"][frame.control["kind"] == LEAVE] if len(frame.control) else ()
        if len(leaves):
            parts[-1][3] = int(leaves[0])
            parts.append([[], [], NEVER, NEVER])
    return found


def seen(part, upto=FOREVER):
    """Times and closes of one that is there, each with whether it is void, up to when it leaves."""
    rows, hidden, _, leaves = part
    upto = leaves if leaves != NEVER else upto
    every = concat(rows) if rows else np.empty(0, CLOSE_ROW)
    every = every[every["available_at"] <= upto]
    assert (np.diff(every["available_at"]) > 0).all(), "none twice"
    out = [(row["available_at"].item(), row["close"].item()) for row in every]
    return [one for one in out if not any(since <= one[0] <= until for since, until, _ in hidden)]


@pytest.mark.parametrize("seed", range(12))
def test_in_any_order_of_arrival_the_same_count(seed):
    streams = streams_of(universe(seed), seed)

    def build():
        return OpenMarket((), LIKES, REFERENCE, True)

    def told(frames):
        every = heard(frames)
        return {
            at: [(concat(part[0]).tobytes() if part[0] else b"", part[3]) for part in parts]
            for at, parts in every.items()
        }

    whole = driven(build, streams, 0)
    assert sum(len(frame.rows) for frame in whole if frame.name == TOGETHER) > 30
    assert {frame.instrument for frame in whole if frame.name == EARLIER} == set(KEYS)
    for order in range(1, 6):
        assert told(driven(build, streams, order, restart=0.1)) == told(whole)


@pytest.mark.parametrize("seed", range(12))
def test_in_any_order_of_arrival_the_same_reference(seed):
    spans = universe(seed)
    every = streams_of(spans, seed)
    streams = {at: every[at] for at in ((REFERENCE, "bars.1m"), *((like, "members") for like in LIKES))}

    def told(frames):
        return {at: [seen(part) for part in parts] for at, parts in heard(frames).items()}

    def build():
        return OpenRelay(REFERENCE, {"1m": MINUTE_NS}, (), LIKES)

    whole = told(driven(build, streams, 0))
    assert {key for key, _ in whole} == set(KEYS)
    assert sum(len(part) for parts in whole.values() for part in parts) > 10
    for order in range(1, 6):
        assert told(driven(build, streams, order, restart=0.1)) == whole
    for key in KEYS[1:]:  # of those that leave, all is told by then
        for (joins, leaves), part in zip(spans[key], whole[key, "reference.1m"]):
            there = [at for at, _ in part if at > joins]
            assert all(any(a < at <= b for a, b in spans[REFERENCE]) and at <= leaves for at in there)


def test_one_that_joins_is_given_the_past_and_that_alone():
    rows = closes(np.random.default_rng(1), 0, 3_000 * MINUTE_NS)
    relay = OpenRelay(REFERENCE, {"1m": MINUTE_NS}, (), LIKES[:1])
    ts = 2_500 * MINUTE_NS + 5
    changes = np.array([(0, REFERENCE.encode(), 1, 0), (ts, KEYS[1].encode(), 1, 0)], MEMBER_ROW)
    relay.push(Frame("x:*", "members", changes[:1], 1))
    for part in np.array_split(rows[rows["available_at"] < ts], 500):
        relay.push(Frame(REFERENCE, "bars.1m", part, int(part["available_at"][-1]) + 1))
        relay.push(Frame("x:*", "members", NO_ROWS, int(part["available_at"][-1]) + 1))
        assert {frame.instrument for frame in relay.advance()} <= {REFERENCE}
    assert len(pickle.dumps(relay.snapshot())) < 40 * HISTORY_BARS, "bounded"
    relay.push(Frame("x:*", "members", changes[1:], int(rows["available_at"][-1]) + 1))
    relay.push(Frame(REFERENCE, "bars.1m", rows[rows["available_at"] >= ts], int(rows["available_at"][-1]) + 1))
    given = concat([frame.rows for frame in relay.advance() if frame.instrument == KEYS[1]])
    assert given.tobytes() == rows[rows["available_at"] > ts - HISTORY_BARS * MINUTE_NS].tobytes()


def test_a_void_that_comes_before_what_it_begins_behind_holds_nobody():
    relay = OpenRelay(REFERENCE, {"1m": MINUTE_NS}, [REFERENCE], LIKES[:1])
    relay.push(Frame("x:*", "members", np.array([(550, KEYS[1].encode(), 1, 0)], MEMBER_ROW), 600))
    relay.push(Frame(REFERENCE, "bars.1m", NO_ROWS, 400))
    relay.push(Frame(REFERENCE, "bars.1m", NO_ROWS, NEVER, control(VOID, 500, 500, 700)))
    assert {frame.instrument for frame in relay.advance()} == {REFERENCE}
    relay.push(Frame(REFERENCE, "bars.1m", NO_ROWS, 500))
    assert [frame.instrument for frame in relay.advance()] == [KEYS[1]]


def test_while_the_reference_is_not_there_its_stream_is_void():
    relay = OpenRelay(REFERENCE, {"1m": MINUTE_NS}, (), LIKES[:1])
    changes = np.array([(0, KEYS[1].encode(), 1, 0), (700, REFERENCE.encode(), 1, 0)], MEMBER_ROW)
    relay.push(Frame("x:*", "members", changes[:1], 500))
    relay.push(Frame("x:*", "members", changes[1:], 800))
    said = [frame for frame in relay.advance() if len(frame.control)]
    told = [(frame.instrument, *row[1:5]) for frame in said for row in frame.control.tolist()]
    assert told == [(KEYS[1], VOID, NEVER, 700, ABSENT), (REFERENCE, END, NEVER, NEVER, 0)]


def test_what_is_left_of_an_earlier_membership_is_dropped():
    gate = Gate()

    def frame(n, *said):
        return Frame("x:A/B", "bars.1m", NO_ROWS, n, *said)

    end = control(END, 3, 3)
    assert gate.push("a", frame(1)) == []
    assert [f.watermark for f in gate.begin("a")] == [1]
    gate.end("a")
    assert gate.push("a", frame(2)) == gate.push("a", frame(3, end)) == gate.push("a", frame(4)) == []
    assert [f.watermark for f in gate.begin("a")] == [4]
    assert [f.watermark for f in gate.push("a", frame(5, end))] == [5]
    assert gate.push("a", frame(6)) == []
    gate.end("a")
    again = Gate()
    again.restore(pickle.loads(pickle.dumps(gate.snapshot())))
    assert [f.watermark for f in again.begin("a")] == [6]
    assert not again.ahead


def test_changes_of_one_time_are_taken_together():
    members = Members((), ["x:*"])
    rows = np.array([(5, b"x:A/B", 1, 0), (5, b"x:C/D", 1, 0), (6, b"x:A/B", -1, 0)], MEMBER_ROW)
    members.push(Frame("x:*", "members", rows, 7))
    assert [len(members.take(reached)) for reached in (5, 6, 6, 7, 8)] == [0, 2, 0, 1, 0]
