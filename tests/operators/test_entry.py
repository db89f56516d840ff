"""Intake and bars as one step: what they say of holes and pauses together."""

import numpy as np
import pytest

from config import Settings
from events.frames import Frame, concat, control
from events.rows import TRADE
from events.schema import HOLE, ID_HOLE, NEVER, NO_TRADES, RECONNECT
from events.times import MINUTE_NS, SECOND_NS
from operators.bars import Bars
from operators.chain import Chain
from operators.intake import Intake
from operators.ordered import Ordered

T0 = 28_333_333 * MINUTE_NS
KEY = "x:A/B"
MAX_FILL = 5


def trades(*given):
    rows = np.zeros(len(given), TRADE)
    rows["trade_id"], seconds = np.array(given).T
    rows["available_at"] = T0 + seconds * SECOND_NS
    rows["price"] = rows["qty"] = rows["side"] = 1
    return Frame(KEY, "trades", rows, NEVER)


def heartbeat(second):
    return trades((0, 0))._replace(rows=trades((0, 0)).rows[:0], watermark=T0 + second * SECOND_NS)


def entered(frames, size, sequenced=True):
    """Bars and gaps, `size` frames at a time, restarted each time."""
    made = {"bars.1m": [], "gaps": []}
    state = None
    for first in range(0, len(frames), size):
        bars = Ordered(Bars(Settings().bars.lengths, MAX_FILL), ("trades",))
        chain = Chain(Intake({}, frozenset({KEY} if sequenced else ())), bars, ("trades",))
        if state is not None:
            chain.restore(state)
        for frame in frames[first : first + size]:
            chain.push(frame)
        for out in chain.advance():
            if out.name in made and len(out.rows):
                made[out.name].append(out.rows)
        state = chain.snapshot()
    return {name: concat(rows) for name, rows in made.items()}


HEARTBEATS = [trades((1, 0), (2, 20), (3, 50)), heartbeat(600), trades((10, 690), (11, 700)), trades((12, 900))]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_hole_after_a_pause_begins_at_the_heartbeat_and_gaps_are_in_order(size):
    out = entered(HEARTBEATS, size)
    assert out["bars.1m"].tobytes() == entered(HEARTBEATS, 9)["bars.1m"].tobytes()
    assert out["gaps"].tobytes() == entered(HEARTBEATS, 9)["gaps"].tobytes()
    gaps = out["gaps"]
    assert (np.diff(gaps["available_at"]) >= 0).all()
    assert (gaps["reason"] == NO_TRADES).sum() == 2
    (hole,) = gaps[gaps["reason"] == ID_HOLE]
    assert (hole["since"], hole["until"]) == (T0 + 600 * SECOND_NS, T0 + 690 * SECOND_NS)
    assert (hole["id_from"], hole["id_to"]) == (4, 9)


@pytest.mark.parametrize("size", [1, 2, 9])
def test_a_hole_that_the_source_states_is_among_the_gaps(size):
    at = T0 + 50 * SECOND_NS
    hole = heartbeat(50)._replace(watermark=NEVER, control=control(HOLE, at, at, T0 + 200 * SECOND_NS, RECONNECT))
    frames = [trades((1, 0), (2, 20), (3, 50)), hole, trades((4, 200), (5, 210)), trades((6, 500))]
    (gap,) = entered(frames, size, sequenced=False)["gaps"]
    assert (gap["since"], gap["until"], gap["reason"]) == (at, T0 + 200 * SECOND_NS, RECONNECT)
