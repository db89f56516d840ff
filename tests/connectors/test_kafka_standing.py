"""What a resumed sink leaves out: all that was written, and nothing else, also where instruments leave and join again."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from connectors.kafka.standing import GONE, Standing
from connectors.kafka.tail import Written, _note
from connectors.kafka.wire import MARKET, encode, frames_of
from events.feeds import FEEDS
from events.frames import NO_CONTROL, Frame, concat, control
from events.schema import END, FOREVER, HOLE, LEAVE, NEVER, VOID

KEY, STREAM = "x:A/B", "funding"


def rows(*at):
    made = np.zeros(len(at), FEEDS[STREAM].dtype)
    made["available_at"] = at
    return made


def frame(watermark, *at, said=NO_CONTROL):
    return Frame(KEY, STREAM, rows(*at), watermark, said)


NEVER_THERE = frame(FOREVER)
FRAMES = [
    NEVER_THERE,
    frame(40, said=control(LEAVE, 39)),
    frame(NEVER, 50, 51),
    frame(60, said=control(VOID, 52, 50, 60)),
    frame(70, 61, 62, said=control(HOLE, 63, 61, 62)),
    frame(80),
    frame(90, said=control(LEAVE, 89)),
    NEVER_THERE,
    frame(95, said=control(LEAVE, 94)),
    frame(NEVER, 96, 97),
    frame(100),
    frame(101, said=control(END, 100)),
]


def sent(standing, frames):
    """The messages of frames that are still to be written."""
    out = []
    for one in frames:
        first, rest = standing.rest(one) or (0, None)
        if rest is not None:
            out += encode(rest, MARKET[STREAM], first, "arrow", 1_000_000)
    return out


def told(messages):
    """All that they say, one message after another."""
    return [decoded for message in messages for _, decoded in frames_of([message], MARKET)]


def scanned(messages):
    """What is found behind a snapshot."""
    found = {}
    for message in messages:
        stored = SimpleNamespace(
            key=lambda m=message: m.key, headers=lambda m=message: m.headers, topic=lambda: "t", partition=lambda: 0
        )
        _note(found, stored, lambda key: True)
    return found.get((KEY, STREAM), Written())


ALL = sent(Standing(), FRAMES)


def test_all_of_it_is_written_by_a_run_that_is_never_stopped():
    said = told(ALL)
    assert concat([one.rows for one in said]).tobytes() == concat([one.rows for one in FRAMES]).tobytes()
    assert [one.watermark for one in said if one.watermark == FOREVER] == [FOREVER] * 2
    assert [row["kind"] for one in said for row in one.control] == [LEAVE, VOID, HOLE, LEAVE, LEAVE, END]


@pytest.mark.parametrize("handed", range(len(FRAMES)))
def test_after_a_kill_exactly_what_is_missing_is_written(handed):
    snapshot = Standing()
    before = sent(snapshot, FRAMES[:handed])
    state = snapshot.state(KEY, STREAM)[2:]
    for reached in range(len(before), len(ALL) + 1):
        handed_rows, written, watermark, ids, said = state
        resumed = Standing(handed_rows, written, watermark, list(ids), list(said))
        resumed.found(scanned(ALL[len(before) : reached]))
        rest = sent(resumed, FRAMES[handed:])
        assert [m.value for m in ALL[:reached] + rest] == [m.value for m in ALL]
        assert [sorted(m.headers) for m in ALL[:reached] + rest] == [sorted(m.headers) for m in ALL]


def test_the_newest_is_what_was_handed_over_last_and_gone_once_it_has_left():
    standing = Standing(written=3)
    standing.rest(frame(5, 1, 2))
    assert not standing.caught_up  # the topic has a newer row already
    standing.rest(frame(6, 3))
    assert standing.caught_up
    assert standing.newest["available_at"].tolist() == [3]
    standing.rest(frame(8, 7, said=control(LEAVE, 7)))
    assert standing.newest is GONE
    standing.rest(frame(12, 11))
    assert standing.newest["available_at"].tolist() == [11]
