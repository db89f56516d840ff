"""Segments: append-only Arrow files that a run can resume, and the Parquet files made of them."""

from connectors.segments.parquet import read_keys, read_stream, recount
from connectors.segments.result import RollResult
from connectors.segments.roll import parquet_path, roll
from connectors.segments.sink import SegmentSink
from connectors.segments.stored import StoredSource

__all__ = ["RollResult", "SegmentSink", "StoredSource", "parquet_path", "read_keys", "read_stream", "recount", "roll"]
