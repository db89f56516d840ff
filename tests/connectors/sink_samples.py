"""Frames of several keys and streams, and a flow that writes them to both sinks; run as a program it can be killed and resumed."""

from __future__ import annotations

import os
import signal as signals
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from connectors.segments import SegmentSink, roll
from connectors.sqlite import SqliteSink
from events.frames import NO_ROWS, Frame
from events.records import ComponentStatus, DeadLetter, IntakeCounts, Outcome, Signal, SignalUpdate
from events.rows import BAR, GAP_ROW, feature_row
from events.schema import NEVER
from events.streams import Columns, Stream, base_streams
from events.times import MINUTE_NS

ANALYSIS = "727f5db605037c4d"
KEYS = ("binance:BTC/USDT", "GLOBAL", "kraken:ETH/USD")
START = 1_700_006_400_000_000_000 - 30 * MINUTE_NS  # rows on two UTC days

_BLOCKS = {"values": ("rsi_14", "atr_14"), "status": ("rsi_14.status", "atr_14.status")}


def streams() -> dict[str, Stream]:
    found = base_streams(["1m", "5m"])
    for name in ("features.1m", "features.4h"):
        found[name] = Columns(name, feature_row(2), _BLOCKS)
    return found


def bars(ts: list[int], rng: np.random.Generator) -> np.ndarray:
    rows = np.zeros(len(ts), BAR)
    rows["available_at"] = rows["ts_close"] = ts
    rows["ts_open"] = rows["ts_close"] - MINUTE_NS
    for name in ("open", "high", "low", "close", "volume", "vwap", "signed_volume"):
        rows[name] = rng.normal(size=len(ts))
    rows["vwap"][rng.random(len(ts)) < 0.3] = np.nan
    rows["ts_first"] = np.where(rng.random(len(ts)) < 0.3, NEVER, ts)
    rows["ts_last"] = rng.integers(-(2**62), 2**62, len(ts))
    rows["flags"] = rng.integers(0, 65_536, len(ts))
    return rows


def features(ts: list[int], rng: np.random.Generator) -> np.ndarray:
    rows = np.zeros(len(ts), feature_row(2))
    rows["available_at"] = rows["ts_close"] = ts
    rows["g"] = NEVER
    rows["values"] = rng.normal(size=(len(ts), 2))
    rows["values"][:, 0] = np.where(rng.random(len(ts)) < 0.5, np.nan, rows["values"][:, 0])
    rows["status"] = rng.integers(0, 6, (len(ts), 2))
    return rows


def signal(key: str, ts: int, score: float = 62.5) -> Signal:
    return Signal(
        key=key, ts=ts, signal_id=f"s-{key}-{ts}", tf="1m", side="LONG", score=score, strength=0.5, agreement=None,
        coverage=1.0, dispersion=0.1, theta=20.0, warming=False, price=100.1, atr=1.0, valid_bars=3, stop=99.0,
        targets=(101.0, 103.0), target_sizes=(0.5, 0.5), stop_source="atr", rr=2.0, risk_pct=0.01, size=None,
        components={}, analysis_hash=ANALYSIS,
    )  # fmt: skip


def update(key: str, ts: int, seq: int) -> SignalUpdate:
    return SignalUpdate(
        key=key, ts=ts, signal_id=f"s-{key}-{ts}", seq=seq, from_state=None if seq == 0 else "ACTIVE", to="ACTIVE",
        price=0.1 + seq, reason="ü", size_closed=0.0, r_gross=None, r_net=-1 / 3, analysis_hash=ANALYSIS,
    )  # fmt: skip


def outcome(key: str, ts: int) -> Outcome:
    return Outcome(
        key=key, ts=ts, signal_id=f"s-{key}-{ts}", side="LONG", ts_open=ts, ts_close=NEVER, exit_reason="stop",
        r_gross=-1.0, r_net=-1.1, mfe=0.2, mae=-1.0, bars_held=4, fees=0.05, slippage=0.05, funding=0.0, score=62.5,
        agreement=None, coverage=1.0, theta=20.0, analysis_hash=ANALYSIS,
    )  # fmt: skip


def dead_letter(key: str, ts: int, offset: int) -> DeadLetter:
    return DeadLetter(
        key=key, ts=ts, source=f"file:{key}", offset=offset, ts_event=ts, ts_recv=ts, step="bars", reason="LATE",
        detail="", raw={"price": 1.5},
    )  # fmt: skip


def status(key: str, ts: int) -> ComponentStatus:
    return ComponentStatus(
        key=key, ts=ts, component="exchange.binance", old="up", new="degraded", reason="connection lost: 503",
        counters={"lost": 1},
    )  # fmt: skip


def frames(minutes: int = 60, seed: int = 7) -> list[Frame]:
    """Frames of every stream but `bars.5m` and `features.4h`, which stay empty; heartbeats between them."""
    rng = np.random.default_rng(seed)
    out: list[Frame] = []
    for minute in range(minutes):
        for key in KEYS:
            ts = START + minute * MINUTE_NS
            out.append(Frame(key, "bars.1m", bars([ts], rng), ts + 1))
            out.append(Frame(key, "bars.1m", NO_ROWS, ts + 2))
            out.append(Frame(key, "bars.open.1m", bars([ts, ts, ts + 5], rng), ts + 6))
            twice = [ts] * int(rng.integers(1, 4))  # rows at one time, in one frame and over two
            out.append(Frame(key, "features.1m", features(twice, rng), ts))
            out.append(Frame(key, "features.1m", features([ts, ts + 7], rng), ts + 8))
            out.append(Frame(key, "updates", (update(key, ts, 0), update(key, ts, 1)), ts))
            out.append(Frame(key, "updates", (update(key, ts, 2),), ts + 1))
            out.append(Frame(key, "unheard_of", bars([ts], rng), ts + 1))
            if minute % 10 == 3:
                gaps = np.array([(ts, ts - 5, NEVER, 4, NEVER, NEVER), (ts, ts - 5, ts, 1, 3, 9)], GAP_ROW)
                out.append(Frame(key, "gaps", gaps, ts + 1))
                out.append(Frame(key, "signals", (signal(key, ts),), ts + 1))
                out.append(Frame(key, "outcomes", (outcome(key, ts),), ts + 1))
                out.append(Frame(key, "components", (status(key, ts - 10**9 * minute),), NEVER))
                out.append(Frame(key, "dead_letters", (dead_letter(key, ts - 10**9 * minute, minute),), ts + 1))
    for key in KEYS:
        counts = IntakeCounts(
            key=key, ts=ts, name="trades", received=9, accepted=7, reordered=0, rejected={"LATE": 1, "CROSSED": 1}
        )
        out.append(Frame(key, "counts", (counts,), ts + 1))
    return out


class Death(NamedTuple):
    """When a process kills itself: `delay_s` after so many frames, at the latest after `most`."""

    soon: int
    most: int
    delay_s: float


def die() -> None:
    os.kill(os.getpid(), signals.SIGKILL)


class _Part(StatefulSourcePartition):
    def __init__(self, frames: list[Frame], sleep_seconds: float, at: int, death: Death | None) -> None:
        self.frames, self.sleep_seconds, self.at, self.death = frames, sleep_seconds, at, death
        self.given = 0

    def next_batch(self) -> list[tuple[str, Frame]]:
        if self.death is not None and self.given == self.death.soon:
            threading.Timer(self.death.delay_s, die).start()
        if self.death is not None and self.given == self.death.most:
            die()
        if self.at >= len(self.frames):
            raise StopIteration
        time.sleep(self.sleep_seconds)
        frame = self.frames[self.at]
        self.at += 1
        self.given += 1
        return [(frame.instrument, frame)]

    def snapshot(self) -> int:
        return self.at


class Source(FixedPartitionedSource):
    def __init__(self, frames: list[Frame], sleep_seconds: float = 0.0, death: Death | None = None) -> None:
        self.frames, self.sleep_seconds, self.death = frames, sleep_seconds, death

    def list_parts(self) -> list[str]:
        return ["frames"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Part:
        return _Part(self.frames, self.sleep_seconds, resume_state or 0, self.death)


def run(
    directory: Path,
    frames: list[Frame],
    *,
    rows: int = 8_192,
    analysis_hash: str = ANALYSIS,
    recovery: RecoveryConfig | None = None,
    sleep_seconds: float = 0.0,
    epoch_seconds: float = 10.0,
    death: Death | None = None,
) -> None:
    """Write frames to `directory/segments` and `directory/run.sqlite` through Bytewax."""
    flow = Dataflow("sinks")
    stream = op.input("frames", flow, Source(frames, sleep_seconds, death))
    op.output("segments", stream, SegmentSink(directory, streams(), analysis_hash, batch_rows=rows))
    op.output("sqlite", stream, SqliteSink(directory / "run.sqlite", streams(), analysis_hash, buffer_rows=rows))
    cli_main(flow, epoch_interval=timedelta(seconds=epoch_seconds), recovery_config=recovery)


if __name__ == "__main__":
    target, store = Path(sys.argv[1]), Path(sys.argv[1]) / "recovery"
    if not store.exists():
        store.mkdir(parents=True)
        init_db_dir(store, 1)
    death = Death(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])) if sys.argv[2:] else None
    run(target, frames(), rows=5, recovery=RecoveryConfig(store), sleep_seconds=0.0005, epoch_seconds=0.02, death=death)
    roll(target, streams(), ANALYSIS)
    print("done", flush=True)
