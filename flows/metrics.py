"""The metrics of a live run for Prometheus: counted a batch at a time, worked out when they are asked for."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import inf
from typing import Any, Final

from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from config.live_sections import Metrics
from connectors.live import LiveSource
from events.errors import RunError
from events.feeds import BOOKS, TRADES
from events.frames import Frame
from events.records import Signal
from events.schema import BOOK_SEQUENCE, GAP_REASON_NAMES, NEVER, SCHEMA_VERSION
from events.times import SECOND_NS
from flows.following import Following
from flows.metric_names import BUCKETS_S, METRICS, PREFIX
from flows.provenance import version_of
from flows.tally import Tally

_LOOPBACK: Final = "127.0.0.1"
OTHER: Final = "other"
"""The instrument of metrics where there are too many to tell each."""
Labels = tuple[str, ...]

_ENGINE_S: Final = 2.0
_SERVER: Final = "BYTEWAX_DATAFLOW_API_"
_SERVED_S: Final = 30.0


class RunMetrics(Collector):
    """All metrics of one live run. It is also a watcher: of the latencies of what leaves the graph.

    Args:
        source: the exchanges, or what is read of Kafka.
        tally: what has left the graph.
        analysis_hash: of the run.
        per_key: up to so many instruments each has metrics of its own; of more, the one farthest behind is told, as `other`.

    Attributes:
        registry: where they are, with those of the process.
    """

    def __init__(self, source: LiveSource | Following, tally: Tally, analysis_hash: str, per_key: int = 200) -> None:
        self._source, self._tally, self._analysis_hash = source, tally, analysis_hash
        self._each = len(source.standings) <= per_key
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._lag, self._closed, self._signalled = (
            Histogram(
                PREFIX + name, METRICS[name].about, METRICS[name].labels, buckets=BUCKETS_S, registry=self.registry
            )
            for name in ("ingest_lag_seconds", "bar_close_latency_seconds", "signal_latency_seconds")
        )
        source.lags = lambda exchange, lag_s: self._lag.labels(exchange, TRADES).observe(max(0.0, lag_s))
        self.registry.register(self)

    def __call__(self, frame: Frame) -> None:
        """Observe how late the rows of a frame are; rows that were on the tape when the run was started are not."""
        if frame.name == Signal.stream:
            for signal in frame.rows:
                self._observe(self._signalled, frame.instrument, signal.ts)
        elif frame.name.startswith("bars.") and not frame.name.startswith("bars.open."):
            spec = self._closed.labels(frame.name.removeprefix("bars."))
            for ts_close in frame.rows["ts_close"].tolist():
                self._observe(spec, frame.instrument, ts_close)

    def _observe(self, latency: Histogram, instrument: str, at_ns: int) -> None:
        if self._source.is_new(instrument, at_ns):
            late_ns = self._source.now_ns(instrument.partition(":")[0]) - at_ns
            latency.observe(max(0.0, late_ns / SECOND_NS))

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        yield from self._of_instruments()
        if isinstance(self._source, LiveSource):
            yield from self._of_exchanges(self._source)
        else:
            behind = {(topic, str(number)): n for (topic, number), n in dict(self._source.behind).items()}
            yield _told("kafka_lag", behind)
        yield from self._of_tally()
        yield _told("build_info", {(version_of("tidewax"), self._analysis_hash, str(SCHEMA_VERSION)): 1})

    def _of_instruments(self) -> Iterator[Metric]:
        records: dict[Labels, float] = {}
        newest: dict[Labels, float] = {}
        behind: dict[Labels, float] = {}
        voids: dict[Labels, float] = {}
        found = [((instrument, TRADES), standing) for instrument, standing in list(self._source.standings.items())]
        for (instrument, stream), standing in found + list(self._source.beside.items()):
            exchange = instrument.partition(":")[0]
            feed = exchange, stream
            key = (*feed, instrument if self._each else OTHER)
            records[feed] = records.get(feed, 0) + standing.rows
            voids[key] = voids.get(key, 0) + standing.voids
            if standing.newest_ns != NEVER:
                newest[key] = min(newest.get(key, inf), standing.newest_ns / SECOND_NS)
            if standing.watermark_ns != NEVER:
                lag_s = (self._source.now_ns(exchange) - standing.watermark_ns) / SECOND_NS
                behind[key] = max(behind.get(key, 0.0), lag_s)
        yield _told("ingest_records", records)
        yield _told("last_event_timestamp_seconds", newest)
        yield _told("watermark_lag_seconds", behind)
        yield _told("void", voids)

    def _of_exchanges(self, source: LiveSource) -> Iterator[Metric]:
        up: dict[Labels, float] = {}
        again: dict[Labels, float] = {}
        for exchange, feed in list(source.exchange.feeds.items()):
            health = source.health.get(exchange)
            up[exchange, TRADES] = float(health is not None and health.state == "up")
            again[exchange, TRADES] = max(0, feed.counts["connected"] - 1)
        for stream in list(source.streams):
            up[stream.exchange, stream.stream] = float(stream.state == "up")
        yield _told("connection_up", up)
        yield _told("reconnects", again)

    def _of_tally(self) -> Iterator[Metric]:
        tally = self._tally  # the engine goes on counting, so what is gone through here is a copy
        yield _told("bars", {("time", *at): n for at, n in dict(tally.bars).items()})
        for name, found in (("gaps", tally.gaps), ("gap_seconds", tally.gap_seconds)):
            yield _told(
                name, {(exchange, _feed_of(reason), reason): n for (exchange, reason), n in dict(found).items()}
            )
        yield _told("bar_reconcile_diff", dict(tally.differences))
        yield _told("dead_letters", dict(tally.dead_letters))
        yield _told("signals", dict(tally.signals))
        yield _told("signal_closed", {(how,): n for how, n in dict(tally.closed).items()})
        yield _told("component_changes", dict(tally.changes))


def _feed_of(reason: str) -> str:
    """The stream that a gap of this reason is of."""
    return BOOKS if reason == GAP_REASON_NAMES[BOOK_SEQUENCE] else TRADES


def _told(name: str, values: Mapping[Any, float]) -> Metric:
    """A metric with its values by labels."""
    kind, about, labels = METRICS[name]
    made = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
    metric = made(PREFIX + name, about, labels=labels)
    for at, value in sorted(values.items()):
        metric.add_metric(at, value)
    return metric


class EngineMetrics(Collector):
    """Bytewax's own metrics, from the server that it opens for them.

    Args:
        port: of that server.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    def describe(self) -> Iterable[Metric]:
        """Nothing: they are known once the engine runs."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Those of now; none while the engine does not run."""
        try:
            with urllib.request.urlopen(f"http://{_LOOPBACK}:{self._port}/metrics", timeout=_ENGINE_S) as answer:
                text = answer.read().decode()
        except OSError:
            return
        for metric in text_string_to_metric_families(text):
            if metric.name.startswith("bytewax_"):
                seen = set()
                told = Metric(metric.name, metric.documentation, metric.type)
                for sample in metric.samples:  # some it gives twice with the same labels
                    at = (sample.name, tuple(sorted(sample.labels.items())))
                    if at not in seen:
                        seen.add(at)
                        told.samples.append(sample)
                yield told


@contextmanager
def serving(metrics: RunMetrics, settings: Metrics) -> Iterator[int | None]:
    """Serve the metrics until the block ends; the port, None where they are off.

    Raises:
        RunError: the port is taken.
    """
    if settings.port is None:
        yield None
        return
    with ExitStack() as stack:
        if settings.engine:
            metrics.registry.register(EngineMetrics(stack.enter_context(_engine_server())))
        try:
            server, thread = start_http_server(settings.port, settings.host, metrics.registry)
        except OSError as error:
            raise RunError(
                f"metrics cannot be served on {settings.host}:{settings.port}: {error.strerror or error}. Give metrics.port "
                "(--metrics-port) another one, or 0 for any that is free"
            ) from None
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        yield int(server.server_port)


@contextmanager
def _engine_server() -> Iterator[int]:
    """Let the engine open its server when it starts, on a free port, which it gives."""
    with socket.socket() as free:
        free.bind((_LOOPBACK, 0))
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        given = {"ENABLED": "1", "PORT": str(port), "CACHE_PATH": folder}  # it writes a picture of the flow there
        names = {f"{_SERVER}{name}": value for name, value in given.items()}
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(names)
        try:
            yield port
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def served_once(flow: threading.Thread) -> None:
    """Let the engine open its server for a flow that was begun, and not again for flows that are begun after it in the process.

    Args:
        flow: the thread that runs it.
    """
    if f"{_SERVER}ENABLED" not in os.environ:
        return
    at, ends_s = (_LOOPBACK, int(os.environ.get(f"{_SERVER}PORT", "3030"))), time.monotonic() + _SERVED_S
    while flow.is_alive() and time.monotonic() < ends_s:
        try:
            socket.create_connection(at, _ENGINE_S).close()
            break
        except OSError:
            time.sleep(0.01)
    del os.environ[f"{_SERVER}ENABLED"]
