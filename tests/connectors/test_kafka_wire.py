"""Frames to messages and back: bit for bit, on both wires, however they are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tape_samples import KEYS, frame, told

from connectors.kafka.wire import MARKET, encode, frames_of, position_of
from events.feeds import FEEDS
from events.frames import NO_CONTROL, Frame
from events.rows import BAR, confluence_row, feature_row
from events.schema import NEVER
from events.streams import Columns

MOST = 1_000_000
WIRES = ("arrow", "json")
BLOCKS = {"values": ("rsi_14", "ema_50"), "status": ("rsi_14.status", "ema_50.status")}
FEATURES = Columns("features.5m", feature_row(2), BLOCKS)
NAMES = ("trend", "volume")
CONFLUENCE = Columns(
    "confluence",
    confluence_row(2, 1),
    {block: [f"{block}_{name}" for name in NAMES] for block in ("u", "weight", "q", "contribution", "status")}
    | {"gates": ["gate_spread"]},
)
STREAMS = {**MARKET, **{columns.name: columns for columns in (FEATURES, CONFLUENCE, Columns("bars.1m", BAR))}}


def random_frame(seed: int, columns: Columns, n: int, controls: int) -> Frame:
    """Rows and control rows of random bytes: NaNs of any payload, null integers, negative zeros."""
    r = np.random.default_rng(seed)
    if columns.name in FEEDS:
        return frame(r, str(r.choice(KEYS)), columns.name, n, controls)
    rows = np.frombuffer(r.bytes(n * columns.dtype.itemsize), columns.dtype).copy()
    for name in rows.dtype.names or ():
        if rows.dtype[name].base.kind == "f":
            rows[name][r.random(rows[name].shape) < 0.5] = np.nan
            rows[name][r.random(rows[name].shape) < 0.2] = -0.0
    return Frame(KEYS[1], columns.name, rows if n else np.empty(0, columns.dtype), int(r.integers(1 << 60)), NO_CONTROL)


@pytest.mark.parametrize("wire", WIRES)
@given(st.integers(0, 2**32), st.sampled_from(sorted(STREAMS)), st.integers(0, 9), st.integers(0, 2))
@settings(max_examples=150, deadline=None)
def test_a_frame_comes_back_bit_for_bit(wire: str, seed: int, name: str, n: int, controls: int) -> None:
    sent = random_frame(seed, STREAMS[name], n, controls)
    messages = encode(sent, STREAMS[name], 5, wire, MOST)
    if not n and not controls and sent.watermark == NEVER:
        assert messages == []
        return
    [(key, got)] = frames_of(messages, STREAMS)
    # the control of a frame is heard with its last message only, so nothing of it is said twice
    if sent.in_order and not got.in_order:
        got = got._replace(in_order=True)  # rows of random bytes are in no order, and more than one message shows it
    assert told([(key, got)]) == told([(sent.instrument, sent)])
    assert not got.rows.flags.writeable
    assert sum(position_of(m.headers).rows for m in messages) == n
