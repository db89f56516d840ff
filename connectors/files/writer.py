"""Rows of a feed to a Parquet file of one's own layout, which is read without any options; a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.storage import replacing
from events.feeds import FEEDS, KLINES, RATES, TRADES
from events.frames import Array

_GROUP_ROWS: Final = 131_072
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    TRADES: ("trade_id", "price", "qty"),
    KLINES: ("open", "high", "low", "close", "volume", "quote_volume"),
    RATES: ("rate", "interval_h", "mark"),
}
"""What is written as it is; the time is `ts_event`, that of a kline `ts_open`."""
_SIDES: Final = np.array(["", "buy", "sell"])


class RowsFile:
    """A file that is being written."""

    def __init__(self, path: Path, feed: str, instrument: str) -> None:
        self._feed, self._instrument = feed, instrument
        self._waiting: list[Array] = []
        self._writer = pq.ParquetWriter(path, self._table(np.zeros(0, FEEDS[feed].dtype)).schema, compression="zstd")

    def write(self, rows: Array) -> None:
        """Add rows, which may wait in memory until they make a row group."""
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what waits."""
        try:
            self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(self._table(np.concatenate(self._waiting)))
            self._waiting = []

    def _table(self, rows: Array) -> pa.Table:
        time = "ts_open" if self._feed == KLINES else "ts_event"
        names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), [self._instrument])
        columns: dict[str, Any] = {"instrument": names, time: rows["available_at" if time == "ts_event" else time]}
        for name in _COLUMNS[self._feed]:
            values = rows[name]
            columns[name] = pa.array(values, mask=np.isnan(values)) if values.dtype.kind == "f" else pa.array(values)
        if self._feed == TRADES:
            columns["side"] = pa.array(_SIDES[rows["side"]]).dictionary_encode()
        return pa.table(columns)


@contextmanager
def rows_file(path: Path, feed: str, instrument: str) -> Iterator[RowsFile]:
    """A file to be written, which has its name once the block has ended well; a kill leaves `.NAME.partial`.

    Args:
        path: the file.
        feed: the stream of the rows: trades, klines of any length, funding.
        instrument: whose they are.

    Raises:
        RunError: it cannot be written.
    """
    with replacing(path) as temporary:
        file = RowsFile(temporary, feed, instrument)
        try:
            yield file
        finally:
            file.close()
