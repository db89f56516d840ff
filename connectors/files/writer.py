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
from events.feeds import FEEDS, KLINES, RATES, TOPS, TRADES
from events.frames import Array
from events.schema import NEVER

_GROUP_ROWS: Final = 131_072
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    TRADES: ("ts_event", "trade_id", "price", "qty"),
    KLINES: ("ts_open", "open", "high", "low", "close", "volume", "quote_volume"),
    RATES: ("ts_event", "rate", "interval_h", "mark"),
}
"""What is written as it is, of streams of which not all is; `ts_event` is when a row is available."""
_SIDES: Final = np.array(["", "buy", "sell"])


def written(feed: str) -> tuple[str, ...]:
    """The columns of a file of this stream, behind that of the instrument.

    >>> written("open_interest")
    ('available_at', 'ts_event', 'ts_recv', 'oi_base', 'oi_usd')
    """
    numbered = ("flags",) if feed == TOPS else ("flags", "seq")  # best quotes have the venue's own number
    return _COLUMNS.get(feed) or tuple(name for name in FEEDS[feed].dtype.names or () if name not in numbered)


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
        names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), [self._instrument])
        columns: dict[str, Any] = {"instrument": names}
        for name in written(self._feed):
            values = rows["available_at" if name == "ts_event" and self._feed in _COLUMNS else name]
            none = np.isnan(values) if values.dtype.kind == "f" else values == NEVER
            columns[name] = pa.array(values, mask=none) if none.any() else pa.array(values)
        if self._feed == TRADES:
            columns["side"] = pa.array(_SIDES[rows["side"]]).dictionary_encode()
        return pa.table(columns)


@contextmanager
def rows_file(path: Path, feed: str, instrument: str) -> Iterator[RowsFile]:
    """A file to be written, which has its name once the block has ended well; a kill leaves `.NAME.partial`.

    Args:
        path: the file.
        feed: the stream of the rows; klines may be of any length.
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
