"""A Parquet file to bars, beside reading it alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console

from benchmarks.agreement import Disagreement, same_rows
from benchmarks.bars import only_bars
from benchmarks.kernels import bare
from benchmarks.material import KEY, START, Count, default_plan, run
from benchmarks.tables import Budget, show
from benchmarks.timing import Contender, measure
from connectors.files import FileSource, open_inputs, read_trades
from connectors.files.merge import Merge
from connectors.files.reader import BLOCK_ROWS
from connectors.simulator import Market, write_trades
from operators.keyed import Frames

COLUMNS = ["instrument", "ts_event", "trade_id", "price", "qty", "side"]


def arrow_alone(path: Path) -> int:
    """Decode the file's columns with pyarrow and one thread; how many rows there are."""
    with pq.ParquetFile(path) as file:
        batches = file.iter_batches(BLOCK_ROWS, columns=COLUMNS, use_threads=False)
        return sum(batch.num_rows for batch in batches)


def reader_alone(path: Path) -> int:
    """Read the file as the source does; how many trades there are."""
    return sum(len(rows) for block in Merge(open_inputs([path])) for rows in block.rows.values())


def _nothing(market: Frames) -> Frames:
    return market


def contenders(path: Path, rows: int) -> list[Contender]:
    """All of them, checked against each other."""
    plan = default_plan(open_inputs([path]).sequenced(KEY))

    def source() -> FileSource:
        return FileSource(open_inputs([path]), plan.settings.run.chunk)

    trades = read_trades([path])[KEY]
    got = run(source(), only_bars(plan), Count(keep=True)).together()
    same_rows("Parquet to bars", got, bare(trades, int(trades["available_at"][-1]) + 1, plan))
    if {len(trades), arrow_alone(path), reader_alone(path)} != {rows}:
        raise Disagreement(f"a reader gave another number of trades than the {rows} that were written")
    return [
        Contender("the reader of Tidewax alone", rows, lambda: reader_alone(path)),
        Contender("pyarrow alone, one thread, nothing checked", rows, lambda: arrow_alone(path)),
        Contender("file source to a counting sink", rows, lambda: run(source(), _nothing)),
        Contender("file source, bars, counting sink", rows, lambda: run(source(), only_bars(plan))),
    ]


def bench(console: Console, quick: bool) -> list[Budget]:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trades.parquet"
        rows = write_trades(path, (Market(KEY, trades_per_minute=1_500.0),), START, 0.25 if quick else 1.0)
        measured = measure(contenders(path, rows), 3 if quick else 6)
    show(console, "Parquet (lz4, page cache warm) to bars of 1m, 5m, 30m and 4h, one core", measured)
    return [Budget("Parquet to bars, against the reader alone", measured[3].rate / measured[0].rate, 0.5, "x")]
