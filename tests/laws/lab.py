"""A market in the lab: random streams, every way in which they can arrive, and two ways to run them: one core, the whole graph."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.testing import cluster_main, run_main

from events.frames import NO_ROWS, Array, Frame, concat
from events.rows import FUNDING, OHLCV, TRADE
from events.schema import NEVER
from events.times import DAY_NS, MINUTE_NS, SECOND_NS
from operators.core import Core
from operators.latest import AsOf, Input
from operators.ordered import Ordered

ALL = 1 << 60
START = 1_700_000_000 * SECOND_NS
END_OF_TIME = (START + 30 * DAY_NS) // (240 * MINUTE_NS) * 240 * MINUTE_NS  # on a boundary of every timeframe
KEY = "lab:BTC/USDT"

Delivery = tuple[int, int, bool, bool]
"""(rows a frame, lag of the watermark in ns, heartbeats between frames, streams one wholly after the other)."""
DELIVERIES: list[Delivery] = [
    (chunk, lag, beats, trailing)
    for chunk in (1, 7, 501, ALL)
    for lag, beats, trailing in (
        (0, False, False),
        (2 * SECOND_NS, False, True),
        (2 * SECOND_NS, True, False),
        (0, True, True),
    )
]


def trades(n: int, seed: int, spacing_ns: int = 4 * SECOND_NS, gap_ns: int = 0, shuffle_ns: int = 0) -> Array:
    """A random market, many trades a stamp; after three quarters a gap; in an order of arrival off by up to `shuffle_ns`."""
    r, out = np.random.default_rng(seed), np.zeros(n, TRADE)
    step = r.integers(0, 2 * spacing_ns, n) * (r.random(n) < 0.7)
    on_the_minute = r.random(n) < 0.02
    step[3 * n // 4] += gap_ns
    at = START + np.cumsum(step)
    at[on_the_minute] = -(-at[on_the_minute] // MINUTE_NS) * MINUTE_NS  # rows exactly on boundaries
    out["available_at"] = np.maximum.accumulate(at)
    out["ts_recv"], out["seq"] = out["available_at"], np.arange(n)
    out["trade_id"] = out["seq"]
    out["price"] = np.round(100 * np.exp(np.cumsum(r.normal(0, 1e-3, n))), 4)
    out["qty"], out["side"] = r.exponential(1, n), r.choice([-1, 1], n)
    return out[np.argsort(out["available_at"] + r.integers(0, shuffle_ns + 1, n), kind="stable")]


def funding(n: int, seed: int) -> Array:
    """Rates on every eighth minute exactly, and some in between."""
    r, out = np.random.default_rng(seed), np.zeros(n, FUNDING)
    off = (r.random(n) < 0.3) * r.integers(0, 4 * MINUTE_NS, n)
    out["available_at"] = START // (8 * MINUTE_NS) * (8 * MINUTE_NS) + np.arange(n) * 8 * MINUTE_NS + off
    out["ts_event"] = out["ts_recv"] = out["available_at"]
    out["seq"], out["rate"], out["interval_h"] = np.arange(n), r.normal(0, 1e-4, n), 8.0
    return out


def klines(n: int, seed: int, gap_ns: int = 0, quiet: float = 0.1, quoted: bool = False) -> Array:
    """A random market in minutes, some of them missing; after three quarters a gap; with quote volumes or without."""
    r, out = np.random.default_rng(seed), np.zeros(n, OHLCV)
    step = np.where(r.random(n) < quiet, r.integers(2, 9, n), 1) * MINUTE_NS
    step[3 * n // 4] += gap_ns
    out["ts_open"] = START // MINUTE_NS * MINUTE_NS + np.cumsum(step)
    out["available_at"] = out["ts_recv"] = out["ts_open"] + MINUTE_NS
    out["seq"], out["closed"], out["volume"] = np.arange(n), 1, r.exponential(1, n)
    prices = np.round(100 * np.exp(np.cumsum(r.normal(0, 1e-3, (n, 4)).reshape(-1)).reshape(n, 4)), 4)
    out["open"], out["close"] = prices[:, 0], prices[:, 3]
    out["high"], out["low"] = prices.max(1), prices.min(1)
    out["quote_volume"] = out["volume"] * (out["high"] + out["low"]) / 2 if quoted else np.nan
    return out


def deliver(
    streams: Mapping[str, Array],
    chunk: int,
    lag_ns: int = 0,
    beats: bool = False,
    trailing: bool = False,
    end: int = END_OF_TIME,
    key: str = KEY,
    control: Mapping[str, Array] | None = None,
) -> list[Frame]:
    """One of the many ways in which the same rows can arrive: watermarks behind the newest row by `lag_ns`, heartbeats of what
    is certain between any two frames, streams side by side or, `trailing`, each wholly after the one before.
    """
    frames: list[tuple[tuple[int, int, int], Frame]] = []
    for rank, (name, sent) in enumerate(streams.items()):
        order = trailing * rank
        if control and name in control:
            frames.append(((order, NEVER, rank), Frame(key, name, NO_ROWS, NEVER, control[name])))
        if len(sent):
            newest = np.maximum.accumulate(sent["available_at"])
            oldest_to_come = np.append(np.minimum.accumulate(sent["available_at"][::-1])[::-1], end)
        for a in range(0, len(sent), chunk):
            b = min(a + chunk, len(sent))
            now = int(newest[b - 1])
            frames.append(((order, now, rank), Frame(key, name, sent[a:b], now - lag_ns)))
            for ahead in (20 * MINUTE_NS, 45 * MINUTE_NS, ALL) if beats else ():
                frames.append(
                    ((order, now, rank), Frame(key, name, sent[:0], min(now + ahead, int(oldest_to_come[b]))))
                )
        frames.append(((order, end, rank), Frame(key, name, sent[:0], end)))
    return [frame for _, frame in sorted(frames, key=lambda item: item[0])]


def together(frames: Iterable[Frame]) -> dict[str, Any]:
    """Per stream all rows: one array, or one tuple of records."""
    out: dict[str, Any] = {}
    for frame in frames:
        if len(frame.rows):
            out.setdefault(frame.name, []).append(frame.rows)
    return {
        n: tuple(r for p in parts for r in p) if isinstance(parts[0], tuple) else concat(parts)
        for n, parts in out.items()
    }


def digest(outputs: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """(rows, hash of their bytes) per stream."""
    return {
        name: (
            len(out),
            hashlib.sha256(
                "\n".join(r.canonical() for r in out).encode() if isinstance(out, tuple) else out.tobytes()
            ).hexdigest()[:12],
        )
        for name, out in sorted(outputs.items())
    }


def drive(
    core: Callable[[], Core], streams: Iterable[str], frames: list[Frame], restart: float = 0.0, seed: int = 1
) -> dict[str, Any]:
    """Run one core without the engine, several frames a batch, replaced by its own pickled snapshot at random points."""
    r, names, out = np.random.default_rng(seed), tuple(streams), []
    ordered = Ordered(core(), names)
    for frame in frames:
        frame.rows.flags.writeable = False
        ordered.push(frame)
        if r.random() < restart:
            blob, ordered = pickle.dumps(ordered.snapshot()), Ordered(core(), names)
            ordered.restore(pickle.loads(blob))
        if r.random() < 0.8:
            out += ordered.advance()
    return together(out + ordered.advance())


class Joined:
    """A core that is nothing but the join: `name`, a row per clock row, with each input's newest row and its age."""

    instrument = ""

    def __init__(self, name: str, clock: str, inputs: tuple[Input, ...]) -> None:
        self.outputs, self.clock, self.join = (name,), clock, AsOf(inputs)
        ages = [(f"{i.name}.age", "i8") for i in inputs]
        self.dtype = np.dtype([("available_at", "i8"), *((i.name, i.dtype) for i in inputs), *ages])

    def promise(self, name: str, watermark: int) -> int:
        return watermark

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Any]]:
        times = np.ascontiguousarray(rows.get(self.clock, NO_ROWS)["available_at"])
        joined = self.join.advance(watermark, times, rows, control)
        if len(times):
            out = np.empty(len(times), self.dtype)
            out["available_at"] = times
            for name, (values, age) in joined.items():
                out[name], out[f"{name}.age"] = values, age
            yield self.outputs[0], out

    def snapshot(self) -> Any:
        return self.join.snapshot()

    def restore(self, snapshot: Any) -> None:
        self.join.restore(snapshot)


class Source(FixedPartitionedSource):
    """Frames by instrument, `per` of them a batch; stops with an error before batch `crash` of the first instrument."""

    def __init__(self, data: Mapping[str, list[Frame]], per: int = 1, crash: int | None = None) -> None:
        self.data, self.per, self.crash = data, per, crash

    def list_parts(self) -> list[str]:
        return list(self.data)

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Part:
        crash = self.crash if for_part == self.list_parts()[0] else None
        return Part(for_part, self.data[for_part], self.per, resume_state or 0, crash)


class Part(StatefulSourcePartition):
    def __init__(self, key: str, frames: list[Frame], per: int, at: int, crash: int | None) -> None:
        self.items, self.per, self.at, self.crash = [(key, frame) for frame in frames], per, at, crash

    def next_batch(self) -> list[tuple[str, Frame]]:
        if self.at >= len(self.items):
            raise StopIteration
        if self.crash is not None and self.at >= self.crash:
            raise ConnectionResetError("a crash, as ordered")
        self.at += self.per
        return self.items[self.at - self.per : self.at]

    def snapshot(self) -> int:
        return self.at


class Sink(FixedPartitionedSink):
    """Keeps frames in memory, across crashes, and drops what came after the last snapshot."""

    def __init__(self) -> None:
        self.items: list[Frame] = []

    def list_parts(self) -> list[str]:
        return ["all"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> SinkPart:
        del self.items[resume_state or 0 :]
        return SinkPart(self.items)


class SinkPart(StatefulSinkPartition):
    def __init__(self, items: list[Frame]) -> None:
        self.items = items

    def write_batch(self, items: list[Frame]) -> None:
        self.items += items

    def snapshot(self) -> int:
        return len(self.items)


def run(
    graph: Callable[[Any], Any],
    data: Mapping[str, list[Frame]],
    workers: int = 1,
    per: int = 1,
    sink: Sink | None = None,
    crash: int | None = None,
    **recovery: Any,
) -> dict[str, dict[str, Any]]:
    """Run a graph in the engine: per instrument, per stream all rows."""
    sink, flow = sink or Sink(), Dataflow("lab")
    out = graph(op.input("market", flow, Source(data, per, crash)))
    op.output("out", op.map("to_one", out, lambda item: ("all", item[1])), sink)
    if workers == 1:
        run_main(flow, **recovery)
    else:
        cluster_main(flow, [], 0, worker_count_per_proc=workers, **recovery)
    return {key: together(f for f in sink.items if f.instrument == key) for key in data}
