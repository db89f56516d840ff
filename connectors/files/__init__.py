"""Trades, klines and what stands beside them from files (CSV, Parquet, Feather, JSON lines): recognised, checked, merged by time.

>>> [name for name, layout in LAYOUTS.items() if layout.feed == "klines.1m"]
['binance-klines', 'freqtrade-bars', 'lean-bars', 'tidewax-bars']
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from connectors.files.decode import BadRows
from connectors.files.inputs import FILED, Inputs, open_inputs
from connectors.files.layouts import LAYOUTS
from connectors.files.merge import Merge
from connectors.files.reader import BLOCK_ROWS
from connectors.files.source import FileSource, FileState
from events.feeds import TRADES
from events.frames import Array, concat

__all__ = [
    "FILED",
    "LAYOUTS",
    "BadRows",
    "FileSource",
    "FileState",
    "Inputs",
    "open_inputs",
    "read_streams",
    "read_trades",
]


def read_streams(
    paths: Sequence[Path | str],
    layout: str | None = None,
    instrument: str | None = None,
    bad_rows: BadRows = "refuse",
    block_rows: int = BLOCK_ROWS,
    *,
    exchange: str | None = None,
    columns: Mapping[str, str] | None = None,
    feeds: Collection[str] | None = None,
    delay_s: Mapping[str, float] | None = None,
) -> dict[tuple[str, str], Array]:
    """All rows of files in memory, for tests and notebooks: by (instrument, stream), merged, read-only.

    The streams and the types of their rows are those of `events.feeds.FEEDS`. The arguments are those of `open_inputs`.

    Raises:
        InputError: a file is missing, damaged or holds what cannot be used.
    """
    parts: dict[tuple[str, str], list[Array]] = {}
    inputs = open_inputs(
        *(paths, layout, instrument, bad_rows, block_rows),
        exchange=exchange,
        columns=columns,
        feeds=feeds,
        delay_s=delay_s,
    )
    for block in Merge(inputs):
        for source, rows in block.rows.items():
            parts.setdefault(source, []).append(rows)
    return {source: concat(arrays) for source, arrays in parts.items()}


def read_trades(
    paths: Sequence[Path | str],
    layout: str | None = None,
    instrument: str | None = None,
    bad_rows: BadRows = "refuse",
    block_rows: int = BLOCK_ROWS,
) -> dict[str, Array]:
    """All trades of files in memory: TRADE rows by instrument; see `read_streams`.

    Raises:
        InputError: a file is missing, damaged or holds what cannot be used.
    """
    found = read_streams(paths, layout, instrument, bad_rows, block_rows, feeds=(TRADES,))
    return {name: rows for (name, stream), rows in found.items() if stream == TRADES}
