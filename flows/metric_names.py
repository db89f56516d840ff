"""The metrics of live runs: their names without the prefix, types, labels and meanings."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

PREFIX: Final = "tidewax_"
BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Bounds of all histograms."""


class Described(NamedTuple):
    """One metric. Counters are served under their name with `_total`."""

    kind: Literal["counter", "gauge", "histogram"]
    about: str
    labels: tuple[str, ...] = ()


METRICS: Final[dict[str, Described]] = {
    "ingest_records": Described("counter", "Rows handed out since the tape began, by stream", ("venue", "kind")),
    "ingest_lag_seconds": Described(
        "histogram", "From a trade to its receipt; of a newest trade of each batch", ("venue", "kind")
    ),
    "last_event_timestamp_seconds": Described("gauge", "Time of the newest row", ("venue", "feed", "key")),
    "watermark_lag_seconds": Described("gauge", "Now less the watermark", ("venue", "feed", "key")),
    "void": Described(
        "counter", "Times that joins were told to do without a stream, since the tape began", ("venue", "stream", "key")
    ),
    "connection_up": Described("gauge", "1 where a feed is up", ("venue", "feed")),
    "reconnects": Described("counter", "Connections made anew", ("venue", "feed")),
    "kafka_lag": Described("gauge", "Messages that wait to be read, of a run on Kafka", ("topic", "partition")),
    "component_changes": Described("counter", "Changes of the states of components", ("component", "state")),
    "bars": Described(
        "counter",
        "Bars closed, each under the first of from_ohlcv, gap, partial, unverified, synthetic, real that it is",
        ("kind", "spec", "flags"),
    ),
    "bar_close_latency_seconds": Described("histogram", "From the end of a bar to the sinks", ("spec",)),
    "gaps": Described("counter", "Gaps stated", ("venue", "feed", "reason")),
    "gap_seconds": Described("counter", "Length of the gaps whose end is known", ("venue", "feed", "reason")),
    "bar_reconcile_diff": Described(
        "counter", "Fields of bars that differ from the venue's own klines", ("venue", "field")
    ),
    "dead_letters": Described("counter", "Rows refused and values failed", ("step", "reason")),
    "signals": Described("counter", "Signals made", ("side", "regime")),
    "signal_closed": Described("counter", "Signals that ended", ("reason",)),
    "signal_latency_seconds": Described("histogram", "From the end of the bar of a signal to the sinks"),
    "build_info": Described("gauge", "1: what runs", ("version", "analysis_hash", "schema_v")),
}
