"""Trades from files: CSV, Parquet, Feather and JSON lines, recognised, checked and merged by time.

>>> sorted(LAYOUTS)
['binance-aggtrades', 'binance-stream', 'binance-trades', 'ccxt', 'freqtrade', 'kraken-dump', 'tidewax']
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connectors.files.decode import BadRows
from connectors.files.inputs import Inputs, open_inputs
from connectors.files.layouts import LAYOUTS
from connectors.files.merge import Merge
from connectors.files.reader import BLOCK_ROWS
from connectors.files.source import FileSource, FileState, Progress
from events.frames import Array, concat

__all__ = [
    "LAYOUTS",
    "BadRows",
    "FileSource",
    "FileState",
    "Inputs",
    "Progress",
    "open_inputs",
    "read_trades",
]


def read_trades(
    paths: Sequence[Path | str],
    layout: str | None = None,
    instrument: str | None = None,
    bad_rows: BadRows = "refuse",
    block_rows: int = BLOCK_ROWS,
) -> dict[str, Array]:
    """All trades of files in memory, for tests and notebooks: TRADE rows by instrument, merged, read-only.

    The arguments are those of `open_inputs`.

    Raises:
        InputError: a file is missing, damaged or holds what cannot be used.
    """
    parts: dict[str, list[Array]] = {}
    for block in Merge(open_inputs(paths, layout, instrument, bad_rows, block_rows)):
        for name, rows in block.rows.items():
            parts.setdefault(name, []).append(rows)
    return {name: concat(arrays) for name, arrays in parts.items()}
