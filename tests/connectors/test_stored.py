"""Bars of a finished run as a source: every row once, in order, with promises that hold and that the step gave too."""

from __future__ import annotations

import numpy as np
import pytest

from connectors.segments import SegmentSink, StoredSource, read_stream, roll, stored
from connectors.segments.stored import SPAN_NS
from connectors.simulator import Market
from events.errors import RunError
from events.frames import Frame, concat, control
from events.schema import END, NEVER
from events.streams import base_streams
from operators.bars import Bars
from operators.ordered import Ordered

pytestmark = pytest.mark.slow

MINUTE = 60_000_000_000
TIMEFRAMES = (("1m", MINUTE), ("5m", 5 * MINUTE), ("4h", 240 * MINUTE))
STREAMS = base_streams([name for name, _ in TIMEFRAMES])
TIMED = {name: stream for name, stream in STREAMS.items() if name in ("bars.1m", "bars.5m", "bars.4h")}
OTHERS = {name: STREAMS[name] for name in ("bars.open.1m", "gaps", "counts", "dead_letters")}
KEYS = "synthetic:BTC/USDT", "synthetic:ETH/USDT"


def made_by_the_step(key, seed, start, days):
    """The frames of the bars step over generated trades, to the end."""
    trades = Market(key, trades_per_minute=3.0, seed=seed).trades(start, days)
    trades = trades[(trades["available_at"] // (300 * MINUTE)) % 3 != 0]  # with pauses of five hours
    step, last, frames = Ordered(Bars(TIMEFRAMES, 7), ("trades",)), int(trades["available_at"][-1]), []
    for part in np.array_split(trades, 5):
        step.push(Frame(key, "trades", part, int(part["available_at"][-1])))
        frames += step.advance()
    step.push(Frame(key, "trades", trades[:0], last + 1, control(END, last)))
    return frames + step.advance()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    frames = [
        *made_by_the_step(KEYS[0], 1, SPAN_NS * 90 - 600 * MINUTE, 2.5),
        *made_by_the_step(KEYS[1], 2, SPAN_NS * 90, 1.2),
    ]
    partition = SegmentSink(folder, STREAMS, batch_rows=100).build_part("segments", "segments", None)
    partition.write_batch(frames)
    partition.close()
    roll(folder, STREAMS)
    return folder, frames


def source(folder):
    return StoredSource(folder, TIMED, Bars(TIMEFRAMES, 7).promise, OTHERS, {"intake"})


def drained(partition):
    frames = []
    while True:
        try:
            frames += [frame for _, frame in partition.next_batch()]
        except StopIteration:
            return frames


@pytest.mark.parametrize("span_ns", [SPAN_NS, 240 * MINUTE, 7 * MINUTE])
def test_every_row_once_in_order_below_the_promise(kept, monkeypatch, span_ns):
    folder, made = kept
    monkeypatch.setattr(stored, "SPAN_NS", span_ns)
    frames = drained(source(folder).build_part("stored", "stored", None))
    for key in KEYS:
        for name, stream in TIMED.items():
            mine = [frame for frame in frames if (frame.instrument, frame.name) == (key, name)]
            rows = concat([frame.rows for frame in mine if len(frame.rows)])
            assert stream.pack(rows).tobytes() == stream.pack(read_stream(folder, stream, key)).tobytes()
            assert len(rows) > 3
            watermark = NEVER
            for frame in mine:
                times = frame.rows["available_at"]
                assert frame.watermark >= watermark, "promises only rise"
                assert (times >= watermark).all(), "no row comes below what was promised"
                assert (times < frame.watermark).all(), "a row is certain at once"
                watermark = frame.watermark
            promised = max(frame.watermark for frame in made if frame.name == name)  # of the instrument that ends last
            assert watermark <= promised, "nothing is promised that the step did not promise"
    names = [frame.name for frame in frames]
    assert set(names) >= {"bars.open.1m", "gaps"}
    assert names.index("gaps") > max(k for k, name in enumerate(names) if name in TIMED)
    gaps = concat([frame.rows for frame in frames if frame.name == "gaps" and len(frame.rows)])
    assert len(gaps) == sum(len(frame.rows) for frame in made if frame.name == "gaps") > 0


def test_it_goes_on_from_any_part_and_from_no_other_run(kept, monkeypatch):
    folder, _ = kept
    monkeypatch.setattr(stored, "SPAN_NS", 240 * MINUTE)
    whole = drained(source(folder).build_part("stored", "stored", None))
    first = source(folder).build_part("stored", "stored", None)
    states, counts = [first.snapshot()], [0]
    while counts[-1] < len(whole):
        counts.append(counts[-1] + len(first.next_batch()))
        states.append(first.snapshot())
    assert len(states) > 10
    for state, before in zip(states, counts):
        rest = drained(source(folder).build_part("stored", "stored", state))
        assert len(rest) == len(whole) - before
        for ours, theirs in zip(rest, whole[before:]):
            assert ours[:2] == theirs[:2]
            assert ours.watermark == theirs.watermark
            assert len(ours.rows) == len(theirs.rows)
    monkeypatch.setattr(stored, "SPAN_NS", SPAN_NS)
    with pytest.raises(RunError, match="other bars"):
        source(folder).build_part("stored", "stored", states[3])


def test_a_run_without_the_stream_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"bars\.1m\.parquet"):
        source(tmp_path).build_part("stored", "stored", None)
