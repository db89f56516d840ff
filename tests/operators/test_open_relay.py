"""The closes of a reference go to who takes part at their times, however late it is said who that is."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from events.feeds import MEMBERS
from events.frames import Frame, concat
from events.rows import MEMBER_ROW
from events.times import MINUTE_NS
from operators.broadcast import CLOSE_ROW
from operators.open_relay import OpenRelay

REFERENCE, FOLLOWER = "x:BTC/USDT", "x:A/USDT"
LIKE = "x:*"
CHANGES = [(2, FOLLOWER, 1), (5, FOLLOWER, -1), (7, FOLLOWER, 1)]


def bars(first, last):
    rows = np.zeros(last - first + 1, CLOSE_ROW)
    rows["available_at"] = np.arange(first, last + 1) * MINUTE_NS
    rows["close"] = np.arange(first, last + 1)
    return Frame(REFERENCE, "bars.1m", rows, last * MINUTE_NS + 1)


def members(changes, until):
    rows = np.array([(m * MINUTE_NS, name.encode(), change, 0) for m, name, change in changes], MEMBER_ROW)
    return Frame(LIKE, MEMBERS, rows, until * MINUTE_NS + 1)


def told(frames, restart=False):
    """The closes that the follower is told, in order."""
    relay, out = OpenRelay(REFERENCE, {"1m": MINUTE_NS}, [REFERENCE], [LIKE]), []
    for frame in frames:
        relay.push(frame)
        out += relay.advance()
        if restart:
            blob, relay = pickle.dumps(relay.snapshot()), OpenRelay(REFERENCE, {"1m": MINUTE_NS}, [REFERENCE], [LIKE])
            relay.restore(pickle.loads(blob))
    rows = [frame.rows for frame in out if frame.instrument == FOLLOWER and len(frame.rows)]
    return concat(rows)["close"].astype(int).tolist()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "frames",
    [
        [members(CHANGES, 10), bars(1, 10)],
        [bars(1, 10), members(CHANGES, 10)],
        [bars(1, 3), members(CHANGES[:1], 3), bars(4, 8), members(CHANGES[1:], 6), bars(9, 10), members([], 10)],
        [members(CHANGES, 4), *(bars(m, m) for m in range(1, 11)), *(members([], m) for m in range(5, 11))],
    ],
    ids=["members first", "members last", "in turns", "one by one"],
)
def test_each_gets_the_same_in_any_order(frames, restart):
    """Up to when it leaves, then from before it joins again on: nothing that was sent has to be taken back."""
    assert told(frames, restart) == [*range(1, 6), *range(1, 11)]
