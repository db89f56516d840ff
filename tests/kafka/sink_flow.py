"""A flow that writes to Kafka and kills itself where it is told to, and what it should have written."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import bytewax.operators as op
import numpy as np
import sink_samples as samples
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.kafka.client import Connection
from connectors.kafka.delivery import Delivery
from connectors.kafka.names import Topics
from connectors.kafka.partition import KafkaPartition
from connectors.kafka.routes import Route, market_routes, result_routes
from connectors.kafka.sink import KafkaSink
from connectors.recovery import make_store
from events.feeds import FEEDS, TRADES
from events.frames import NO_CONTROL, NO_ROWS, Frame, concat, control
from events.schema import HOLE
from events.streams import Records
from events.times import MINUTE_NS
from flows.engine import run_flow

KINDS = ("bars", "features", "signals", "updates", "dead_letters")
MINUTES = 40
SHARDS = 4
KEYS = (*samples.KEYS, "okx:SOL/USDT")


class Event(NamedTuple):
    """One thing that a stream of an instrument says."""

    key: str
    stream: str
    rows: Any
    watermark: int
    control: Any = NO_CONTROL


def routes(prefix: str) -> dict[str, Route]:
    """Where the streams of the flow go."""
    topics = Topics(prefix)
    return market_routes(topics) | result_routes(topics, samples.streams(), KINDS)


def events(minutes: int = MINUTES) -> list[Event]:
    """All that the flow writes, one row, record or heartbeat at a time; the same every time."""
    rng, out = np.random.default_rng(11), list[Event]()
    for minute in range(minutes):
        ts = samples.START + minute * MINUTE_NS
        for key in KEYS:
            for place in range(int(rng.integers(0, 6))):
                at = ts - MINUTE_NS + place * 10**9
                row = np.zeros(1, FEEDS[TRADES].dtype)
                row["available_at"], row["seq"] = at, minute * 10 + place
                row["price"], row["qty"], row["side"] = rng.normal(100), rng.random(), rng.choice([-1, 1])
                out.append(Event(key, TRADES, row, at))
            out.append(Event(key, TRADES, NO_ROWS, ts))
            if minute % 9 == 4:
                said = control(HOLE, ts, ts - 5, ts, 1, 3, 9)
                out.append(Event(key, TRADES, NO_ROWS, ts + 1, said))
            out.append(Event(key, "bars.1m", samples.bars([ts], rng), ts + 1))
            out.append(Event(key, "features.1m", samples.features([ts], rng), ts + 1))
            out.append(Event(key, "features.1m", NO_ROWS, ts + 2))
            for seq in range(int(rng.integers(0, 3))):
                out.append(Event(key, "updates", (samples.update(key, ts, seq),), ts + 1))
            if minute % 10 == 3:
                out.append(Event(key, "signals", (samples.signal(key, ts),), ts + 1))
                out.append(Event(key, "dead_letters", (samples.dead_letter(key, ts, minute),), ts + 1))
                out.append(Event(key, "unheard_of", samples.bars([ts], rng), ts + 1))
    return out


def joined(parts: list[Event]) -> Frame:
    """Events of one stream as one frame."""
    key, stream = parts[0].key, parts[0].stream
    rows: Any
    if parts[0].stream in samples.streams() and isinstance(samples.streams()[stream], Records):
        rows = tuple(record for part in parts for record in part.rows)
    else:
        some = [part.rows for part in parts if len(part.rows)]
        rows = concat(some) if some else NO_ROWS
    said = [part.control for part in parts if len(part.control)]
    return Frame(key, stream, rows, parts[-1].watermark, np.concatenate(said) if said else NO_CONTROL)


class _Part(StatefulSourcePartition):
    def __init__(self, seed: int, at: int) -> None:
        self.events, self.at, self.random = events(), at, random.Random(seed)

    def next_batch(self) -> list[tuple[str, Frame]]:
        if self.at >= len(self.events):
            raise StopIteration
        taken = self.events[self.at : self.at + self.random.randint(1, 150)]
        self.at += len(taken)
        groups: dict[tuple[str, str], list[Event]] = {}
        for event in taken:
            groups.setdefault((event.key, event.stream), []).append(event)
        most, out = self.random.randint(1, 40), []
        for group in groups.values():
            frames = [joined(group[first : first + most]) for first in range(0, len(group), most)]
            out += [(frame.instrument, frame) for frame in frames]
        return out

    def snapshot(self) -> int:
        return self.at


class Source(FixedPartitionedSource):
    """The events, in other frames for another seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def list_parts(self) -> list[str]:
        return ["events"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Part:
        return _Part(self.seed, resume_state or 0)


def kill_at(where: str, times: int) -> None:
    """Let the process kill itself when it has come to a place so many times."""
    left = [times]

    def passed() -> bool:
        left[0] -= 1
        return left[0] == 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    send, settle, snapshot = Delivery.send, Delivery.settle, KafkaPartition.snapshot

    def killed_send(self: Any, *given: Any) -> None:
        send(self, *given)
        if passed():
            if where == "sent":
                self._producer.flush(30)  # all of it is there
            die()

    def killed_settle(self: Any) -> None:
        settle(self)
        if passed():
            die()

    def killed_snapshot(self: Any) -> Any:
        made = snapshot(self)
        if passed():
            die()
        return made

    if where in ("queued", "sent"):
        Delivery.send = killed_send  # type: ignore[method-assign]
    elif where == "settled":
        Delivery.settle = killed_settle  # type: ignore[method-assign]
    elif where == "snapshot":
        KafkaPartition.snapshot = killed_snapshot  # type: ignore[method-assign]


def main(directory: Path, options: dict[str, Any]) -> None:
    """Run the flow in a directory, on from where it was killed."""
    store = directory / "recovery"
    if not store.exists():
        make_store(store)
    kill_at(options["where"], options["times"])
    sink = KafkaSink(
        Connection(options["servers"], options.get("options", {}), options["prefix"]),
        routes(options["prefix"]),
        writer="live",
        run="run-1",
        wire=options["wire"],
        own=lambda key: key in KEYS,
    )
    flow = Dataflow("sinks")
    op.output("kafka", op.input("events", flow, Source(options["seed"])), sink)
    run_flow(flow, 1, 0.0, store)
    print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
