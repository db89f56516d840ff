"""The SQLite store: one file that holds all streams of a process."""

from connectors.sqlite.schema import table_name
from connectors.sqlite.sink import SqliteSink

__all__ = ["SqliteSink", "table_name"]
