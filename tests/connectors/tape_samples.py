"""Random frames of all input streams, and tapes of them; run as a program it appends until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from connectors.tape import Tape, Universe
from connectors.tape.records import Items
from events.feeds import FEEDS, TRADES
from events.frames import CONTROL, NO_CONTROL, NO_ROWS, Frame, control
from events.schema import NEVER, VOID

KEYS = ("binance:BTC/USDT", "kraken:ÄÖ/EUR:EUR", "x:A/B")
UNIVERSE = Universe(KEYS, frozenset(KEYS[:1]), frozenset(FEEDS))
STREAMS = tuple(FEEDS)


def frame(r: np.random.Generator, instrument: str, name: str, n: int, controls: int = 0) -> Frame:
    """A frame whose rows and control rows are random bytes: NaNs of any payload, null integers, negative zeros."""
    rows = np.frombuffer(r.bytes(n * FEEDS[name].dtype.itemsize), FEEDS[name].dtype).copy()
    for field in rows.dtype.names or ():
        if rows.dtype[field].kind == "f":
            rows[field][r.random(n) < 0.2] = -0.0
        elif rows.dtype[field].kind == "S":
            rows[field] = r.choice([key.encode() for key in KEYS], n)
        elif rows.dtype[field] == np.dtype("i8"):
            rows[field][r.random(n) < 0.2] = NEVER
    rows.flags.writeable = False
    said = np.frombuffer(r.bytes(controls * CONTROL.itemsize), CONTROL) if controls else NO_CONTROL
    watermark = NEVER if r.random() < 0.5 else int(r.integers(-(2**62), 2**62))
    return Frame(instrument, name, rows if n else FEEDS[name].empty, watermark, said, bool(r.random() < 0.5))


def items(r: np.random.Generator, frames: int, rows: int) -> Items:
    """So many frames with fewer than `rows` rows each; some say something."""
    made = [
        frame(r, str(r.choice(KEYS)), str(r.choice(STREAMS)), int(r.integers(rows)), int(r.integers(3)))
        for _ in range(frames)
    ]
    return [(one.instrument, one) for one in made]


def appends(seed: int, n: int, frames: int = 4, rows: int = 6) -> list[Items]:
    """What is appended to a tape of this seed, of any length; the last frame of each is a heartbeat."""
    out = []
    for k in range(n):
        r = np.random.default_rng([seed, k])
        beat = Frame(KEYS[0], TRADES, NO_ROWS, k, control(VOID, k) if k % 2 else NO_CONTROL)
        out.append([*items(r, int(r.integers(1, frames)), rows), (KEYS[0], beat)])
    return out


def told(given: Items) -> list[tuple[object, ...]]:
    """All of frames, to be compared."""
    return [
        (key, f.instrument, f.name, f.rows.tobytes(), f.watermark, f.control.tobytes(), f.in_order) for key, f in given
    ]


def record(directory: Path, given: list[Items], **options: object) -> list[int]:
    """Append them to a tape; the offsets after each."""
    with Tape(directory, UNIVERSE, **options) as tape:
        return [tape.append(one) for one in given]


if __name__ == "__main__":
    _directory, _seed = Path(sys.argv[1]), int(sys.argv[2])
    with Tape(_directory, UNIVERSE, segment_bytes=4_000) as _tape:
        _done = sum(1 for _ in _tape.read(0))
        while True:
            for _given in appends(_seed, _done + 50)[_done:]:
                _after = _tape.append(_given)
                _done += 1
                print(_done, _after, flush=True)
