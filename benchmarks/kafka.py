"""Trades in Kafka to bars: both wires, beside a bare client, Bytewax's own source and Quix Streams, on a broker of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import bytewax.operators as op
import msgspec
import numpy as np
from bytewax.connectors.kafka import KafkaSource as StockSource
from bytewax.connectors.kafka import KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import TumblingWindower, fold_window
from bytewax.testing import TestingSink, run_main
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from rich.console import Console

from benchmarks.agreement import Disagreement, same_bars, same_rows
from benchmarks.bars import PER_MINUTE, cut
from benchmarks.broker import NoBroker, broker
from benchmarks.elsewhere import version_in
from benchmarks.foreign import EPOCH, MINUTE, Bar, Trade, empty, fold, historical_clock, merge, window_arrays
from benchmarks.kernels import bare
from benchmarks.material import KEY, Count, default_plan, run, trades
from benchmarks.tables import Budget, show
from benchmarks.timing import Contender, Took, measure
from connectors.kafka.client import Connection
from connectors.kafka.source import KafkaSource, Reading
from connectors.kafka.wire import MARKET, encode
from events.frames import Array, Frame
from events.records import ComponentStatus, DeadLetter
from flows.graph import enter
from operators.keyed import omit

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".cache" / "quix-venv" / "bin" / "python"
SCRIPT = Path(__file__).with_name("quix_bars.py")
MOST_BYTES = 900_000
PAST = (ComponentStatus.stream, DeadLetter.stream)
Drained = tuple[float, float]


class Decoded(msgspec.Struct):
    """What a bare client decodes of a trade."""

    symbol: str
    id: str
    timestamp: int
    side: str
    price: float
    amount: float


def produce(servers: str, topic: str, rows: Array, end_ns: int, wire: str, per: int, partitions: int = 1) -> int:
    """Write trades to each partition of a topic, `per` rows a frame, and a heartbeat at last; how many messages that are."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 20, "compression.type": "lz4"})
    written = 0
    for number in range(partitions):
        key = KEY if partitions == 1 else f"{KEY}{number}"
        frames = [
            Frame(key, "trades", rows[at : at + per], -(1 << 63), in_order=True) for at in range(0, len(rows), per)
        ]
        first = 0
        for frame in [*frames, Frame(key, "trades", rows[:0], end_ns)]:
            for message in encode(frame, MARKET["trades"], first, wire, MOST_BYTES):
                _produce(producer, topic, message, number)
                written += 1
            first += len(frame.rows)
    if producer.flush(60):
        raise Disagreement(f"{topic}: the broker did not take all messages")
    return written


def _produce(producer: Producer, topic: str, message: Any, partition: int) -> None:
    while True:
        try:
            producer.produce(topic, key=message.key, value=message.value, headers=message.headers, partition=partition)
            return
        except BufferError:
            producer.poll(0.05)


def bare_client(servers: str, topic: str, messages: int, decode: Callable[[bytes], Any]) -> int:
    """Consume so many messages 500 at a time, and decode each value."""
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "bare", "enable.auto.commit": False, "fetch.wait.max.ms": 50}
    )
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    seen = rows = 0
    while seen < messages:
        for message in consumer.consume(500, 0.05):
            seen += 1
            value = message.value()
            if value:
                rows += decode(value)
    consumer.close()
    return rows


def _one(decoder: Any) -> Callable[[bytes], int]:
    def decode(value: bytes) -> int:
        decoder.decode(value)
        return 1

    return decode


def source(servers: str, topic: str, shards: int = 1, numbers: tuple[int, ...] = (0,)) -> KafkaSource:
    """The source, to the end of what is there."""
    return KafkaSource(Connection(servers), {"market": Reading(topic, shards, numbers)}, tail=False)


def bars_of(servers: str, topic: str, shards: int = 1, numbers: tuple[int, ...] = (0,), keep: bool = False) -> Count:
    """Bars by the graph."""
    plan = default_plan()
    return run(source(servers, topic, shards, numbers), lambda up: enter(omit("rows", up, *PAST), plan), Count(keep))


def stock_bars(servers: str, topic: str) -> list[Bar]:
    """1m bars by Bytewax's own source and `fold_window`."""
    out: list[Any] = []
    decoder = msgspec.json.Decoder(Decoded)

    def trade(message: Any) -> tuple[str, Trade] | None:
        if not isinstance(message, KafkaSourceMessage) or not message.value:
            return None
        found = decoder.decode(message.value)
        when = EPOCH + MINUTE * (found.timestamp / 60_000)
        return KEY, (when, found.price, found.amount, 1 if found.side == "buy" else -1)

    flow = Dataflow("stock")
    up = op.input("trades", flow, StockSource(servers.split(","), [topic], tail=False, batch_size=1_000))
    windower = TumblingWindower(length=MINUTE, align_to=EPOCH)
    windows = fold_window(
        "bars", op.filter_map("trade", up, trade), historical_clock(), windower, empty, fold, merge, ordered=False
    )
    op.output("out", windows.down, TestingSink(out))
    run_main(flow)
    return [[window, *bar] for _, (window, bar) in out]


def quix(servers: str, topic: str, messages: int) -> dict[str, Any]:
    """What the script found.

    Raises:
        Disagreement: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.json"
        line = [str(part) for part in (PYTHON, SCRIPT, servers, topic, messages, target, Path(folder) / "state")]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode or not target.exists():
            raise Disagreement(f"Quix Streams did not run: {done.stderr.strip()[-500:]}")
        found: dict[str, Any] = json.loads(target.read_text())
    return found


def _check_quix(found: dict[str, Any], want: dict[str, Array]) -> None:
    names = ("ts_open", "open", "high", "low", "close", "volume")
    columns = {name: np.array([bar[k + 1] for bar in found["bars"]]) for k, name in enumerate(names)}
    columns["ts_open"] = columns["ts_open"] * 1_000_000
    for name in names:
        got, expected = columns[name], want["bars.1m"][name][: len(columns[name])]
        if len(got) < len(want["bars.1m"]) - 1 or not np.allclose(got, expected, rtol=1e-9, atol=0):
            raise Disagreement(f"Quix Streams: {name} of the bars is another")


def json_contenders(servers: str, rows: Array, end_ns: int, version: str) -> list[Contender]:
    """One trade a message, as JSON."""
    topic, want, n = "json", bare(rows, end_ns, default_plan()), len(rows)
    produce(servers, topic, rows, end_ns, "json", 1_000)
    same_rows("Tidewax, json", bars_of(servers, topic, keep=True).together(), want)
    same_bars("Bytewax's own source", window_arrays(stock_bars(servers, topic)), want["bars.1m"])
    decode = _one(msgspec.json.Decoder(Decoded))
    out = [
        Contender(
            "bare consume(500), each value decoded by msgspec", n, lambda: bare_client(servers, topic, n, decode)
        ),
        Contender("Tidewax, json: the source alone", n, lambda: run(source(servers, topic), lambda up: up)),
        Contender("Tidewax, json to bars of 4 timeframes", n, lambda: bars_of(servers, topic)),
        Contender("Bytewax's KafkaSource, fold_window, 1m only", n, lambda: stock_bars(servers, topic)),
    ]
    if version:
        most = min(n, 50_000)
        few, few_end = cut(rows, most)
        produce(servers, "quix", few, few_end, "json", len(few))
        _check_quix(quix(servers, "quix", len(few)), bare(few, int(few["available_at"][-1]), default_plan()))
        turn = partial(_quix_turn, servers, len(few))
        out.append(Contender(f"Quix Streams {version}, tumbling_window, 1m only", len(few), turn))
    return out


def _quix_turn(servers: str, messages: int) -> Took:
    return Took(float(quix(servers, "quix", messages)["seconds"]))


def arrow_contenders(servers: str, rows: Array, end_ns: int, per: int) -> list[Contender]:
    """Record batches of `per` trades."""
    topic, n = f"arrow{per}", len(rows)
    messages = produce(servers, topic, rows, end_ns, "arrow", per)
    want = bare(rows, end_ns, default_plan())
    same_rows(f"Tidewax, arrow {per}", bars_of(servers, topic, keep=True).together(), want)
    named = f"arrow, {per:,} trades a message"
    return [
        Contender(
            f"bare consume(500), {named}, nothing decoded", n, lambda: bare_client(servers, topic, messages, len)
        ),
        Contender(f"Tidewax, {named}: the source alone", n, lambda: run(source(servers, topic), lambda up: up)),
        Contender(f"Tidewax, {named}, to bars of 4 timeframes", n, lambda: bars_of(servers, topic)),
    ]


def drain(servers: str, topic: str, numbers: tuple[int, ...], together: Any, told: Any) -> None:
    """In a process of its own: warm up, begin with the others, and tell when it began and ended."""
    bars_of(servers, topic, 2, numbers)
    together.wait()
    began = time.monotonic()
    bars_of(servers, topic, 2, numbers)
    told.put((began, time.monotonic()))


def processes(servers: str, topic: str, shares: list[tuple[int, ...]]) -> Took:
    """How long processes take for their partitions of a topic, all at the same time."""
    context = get_context("spawn")
    together, told = context.Barrier(len(shares)), context.Queue()
    running = [context.Process(target=drain, args=(servers, topic, share, together, told)) for share in shares]
    for process in running:
        process.start()
    spans: list[Drained] = [told.get(timeout=300) for _ in shares]
    for process in running:
        process.join()
    return Took(max(end for _, end in spans) - min(begin for begin, _ in spans))


@contextmanager
def topics(names: dict[str, int]) -> Iterator[str]:
    """A broker with these topics; its address."""
    with broker() as made:
        for name, partitions in names.items():
            made.create(name, partitions)
        yield made.bootstrap


def bench(console: Console, quick: bool) -> list[Budget]:
    """Measure and print."""
    version, rounds = version_in(PYTHON, "quixstreams"), 1 if quick else 3
    rows, end_ns = cut(trades(1.0, PER_MINUTE), 60_000 if quick else 400_000)
    try:
        with topics({"json": 1, "quix": 1, "arrow64": 1, "arrow1000": 1, "two": 2}) as servers:
            by_json = measure(json_contenders(servers, rows, end_ns, version), rounds)
            show(console, "Kafka, one trade a message as JSON, one core and the broker beside it", by_json)
            budgets = [Budget("Kafka, json to bars against a bare client", by_json[2].rate / by_json[0].rate, 0.5, "x")]
            for per in (64, 1_000):
                many, many_end = cut(trades(2.0, PER_MINUTE), 60_000 if quick else 4_000 * per)
                by_arrow = measure(arrow_contenders(servers, many, many_end, per), rounds)
                show(console, f"Kafka, record batches of {per:,} trades", by_arrow)
            budgets.append(Budget("Kafka, arrow, 1,000 trades a message, the source", by_arrow[1].rate / 1e6, 5, "M/s"))
            produce(servers, "two", rows, end_ns, "json", 1_000, 2)
            both = [
                Contender("one process, two partitions", 2 * len(rows), lambda: processes(servers, "two", [(0, 1)])),
                Contender("two processes", 2 * len(rows), lambda: processes(servers, "two", [(0,), (1,)])),
            ]
            show(
                console,
                f"Shards, json to bars, {os.cpu_count()} cores with the broker",
                measure(both, rounds, warm=False),
            )
    except NoBroker as missing:
        console.print(f"Kafka is left out: {missing}")
        return []
    if not version:
        console.print(
            f"Quix Streams is not installed in {PYTHON.parent.parent.relative_to(ROOT)}: `make bench` does it"
        )
    return budgets
