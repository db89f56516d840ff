"""The metrics of a live run for Prometheus, on loopback: counted a batch at a time, worked out when they are asked for."""

from __future__ import annotations

import os
import socket
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from config.sections import Metrics
from connectors.exchange.standings import Standing
from connectors.live import LiveSource
from events.errors import RunError
from events.feeds import TRADES
from events.frames import Frame
from events.records import Signal
from events.schema import NEVER, SCHEMA_VERSION
from events.times import SECOND_NS
from flows.provenance import version_of
from flows.tally import Tally

HOST: Final = "127.0.0.1"
BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
OTHER: Final = "other"
"""The instrument of metrics where there are too many to tell each."""
_ENGINE_S: Final = 2.0


class RunMetrics(Collector):
    """All metrics of one live run. It is also a watcher: of the latencies of what leaves the graph.

    Args:
        source: the exchanges.
        tally: what has left the graph.
        analysis_hash: of the run.
        per_key: up to so many instruments each has metrics of its own; of more, the one farthest behind is told, as `other`.

    Attributes:
        registry: where they are, with those of the process.
    """

    def __init__(self, source: LiveSource, tally: Tally, analysis_hash: str, per_key: int = 200) -> None:
        self._source, self._tally, self._analysis_hash = source, tally, analysis_hash
        self._each = len(source.standings) <= per_key
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        given: Any = {"buckets": BUCKETS_S, "registry": self.registry}
        self._lag = Histogram(
            "tidewax_ingest_lag_seconds",
            "From a trade to its receipt; of the newest trade of each batch",
            ["venue", "kind"],
            **given,
        )
        self._closed = Histogram(
            "tidewax_bar_close_latency_seconds", "From the end of a bar to the sinks", ["spec"], **given
        )
        self._signalled = Histogram(
            "tidewax_signal_latency_seconds", "From the end of the bar of a signal to the sinks", **given
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
        yield from self._of_exchanges()
        yield from self._of_tally()
        build = GaugeMetricFamily("tidewax_build_info", "What runs", labels=["version", "analysis_hash", "schema_v"])
        build.add_metric([version_of("tidewax"), self._analysis_hash, str(SCHEMA_VERSION)], 1)
        yield build

    def _of_instruments(self) -> Iterator[Metric]:
        records = CounterMetricFamily(
            "tidewax_ingest_records", "Trades handed out since the tape began", labels=["venue", "kind"]
        )
        newest = GaugeMetricFamily(
            "tidewax_last_event_timestamp_seconds", "Time of the newest trade", labels=["venue", "feed", "key"]
        )
        behind = GaugeMetricFamily(
            "tidewax_watermark_lag_seconds", "Now less the watermark", labels=["venue", "feed", "key"]
        )
        by_exchange: dict[str, dict[str, Standing]] = {}
        for instrument, standing in list(self._source.standings.items()):
            by_exchange.setdefault(instrument.partition(":")[0], {})[instrument] = standing
        for exchange, standings in by_exchange.items():
            records.add_metric([exchange, TRADES], sum(standing.rows for standing in standings.values()))
            now_ns = self._source.now_ns(exchange)
            for key, newest_ns in self._told(standings, lambda standing: standing.newest_ns).items():
                newest.add_metric([exchange, TRADES, key], newest_ns / SECOND_NS)
            for key, watermark_ns in self._told(standings, lambda standing: standing.watermark_ns).items():
                behind.add_metric([exchange, TRADES, key], max(0, now_ns - watermark_ns) / SECOND_NS)
        yield from (records, newest, behind)

    def _told(self, standings: Mapping[str, Standing], time_of: Callable[[Standing], int]) -> dict[str, int]:
        """By label, the times that are known; of too many instruments the earliest."""
        times = {key: at for key, standing in standings.items() if (at := time_of(standing)) != NEVER}
        return times if self._each or not times else {OTHER: min(times.values())}

    def _of_exchanges(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("tidewax_connection_up", "1 where a feed is up", labels=["venue", "feed"])
        again = CounterMetricFamily("tidewax_reconnects", "Connections made anew", labels=["venue", "feed"])
        for exchange, feed in list(self._source.exchange.feeds.items()):
            health = self._source.health.get(exchange)
            up.add_metric([exchange, TRADES], float(health is not None and health.state == "up"))
            again.add_metric([exchange, TRADES], max(0, feed.counts["connected"] - 1))
        yield from (up, again)

    def _of_tally(self) -> Iterator[Metric]:
        tally = self._tally
        bars = {("time", spec, kind): n for (spec, kind), n in dict(tally.bars).items()}
        gaps = {(exchange, TRADES, reason): n for (exchange, reason), n in dict(tally.gaps).items()}
        seconds = {(exchange, TRADES, reason): s for (exchange, reason), s in dict(tally.gap_seconds).items()}
        yield _counter("bars", "Bars closed", ("kind", "spec", "flags"), bars)
        yield _counter("gaps", "Gaps stated", ("venue", "feed", "reason"), gaps)
        yield _counter("gap_seconds", "Length of the gaps whose end is known", ("venue", "feed", "reason"), seconds)
        yield _counter("dead_letters", "Rows refused and values failed", ("step", "reason"), tally.dead_letters)
        yield _counter("signals", "Signals made", ("side", "regime"), tally.signals)
        yield _counter(
            "signal_closed", "Signals that ended", ("reason",), {(how,): n for how, n in dict(tally.closed).items()}
        )
        yield _counter("component_changes", "Changes of states", ("component", "state"), tally.changes)
        voids = self._voids()
        yield _counter("void", "Times that joins were told to do without a stream", ("venue", "stream", "key"), voids)

    def _voids(self) -> dict[tuple[str, str, str], int]:
        told: dict[tuple[str, str, str], int] = {}
        for instrument, standing in list(self._source.standings.items()):
            at = instrument.partition(":")[0], TRADES, instrument if self._each else OTHER
            told[at] = told.get(at, 0) + standing.voids
        return told


def _counter(name: str, about: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    """Values by a tuple of labels. They are copied first, since the engine goes on counting."""
    metric = CounterMetricFamily(f"tidewax_{name}", about, labels=labels)
    for at, value in sorted(dict(values).items()):
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
            with urllib.request.urlopen(f"http://{HOST}:{self._port}/metrics", timeout=_ENGINE_S) as answer:
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
    """Serve the metrics on loopback until the block ends; the port, None where they are off.

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
            server, thread = start_http_server(settings.port, HOST, metrics.registry)
        except OSError as error:
            raise RunError(
                f"metrics cannot be served on {HOST}:{settings.port}: {error.strerror or error}. Give metrics.port "
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
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        given = {"ENABLED": "1", "PORT": str(port), "CACHE_PATH": folder}  # it writes a picture of the flow there
        names = {f"BYTEWAX_DATAFLOW_API_{name}": value for name, value in given.items()}
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(names)
        try:
            yield port
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
