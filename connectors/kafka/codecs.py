"""The codecs of a stream, made once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from connectors.kafka.arrow_rows import ArrowRows
from connectors.kafka.json_books import JsonBooks
from connectors.kafka.json_rows import JsonRows
from connectors.kafka.json_trades import JsonTrades
from events.feeds import BOOKS, TRADES
from events.frames import Array
from events.streams import Columns


@lru_cache(maxsize=1_024)
def arrow_of(columns: Columns) -> ArrowRows:
    """That of record batches."""
    return ArrowRows(columns)


@lru_cache(maxsize=1_024)
def json_of(columns: Columns) -> JsonRows | JsonTrades | JsonBooks:
    """That of JSON."""
    if columns.name == TRADES:
        return JsonTrades()
    return JsonBooks() if columns.name == BOOKS else JsonRows(columns)


@lru_cache(maxsize=1_024)
def empty_of(columns: Columns) -> Array:
    """No rows, read-only."""
    empty = np.empty(0, columns.dtype)
    empty.flags.writeable = False
    return empty
