"""`tidewax bars`: only bars, into one file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq

from config import Settings
from connectors.files import FileSource, Inputs
from connectors.segments import SegmentSink, parquet_path, roll
from events.errors import InputError, RunError
from flows.engine import dataflow, run_flow
from flows.graph import enter
from flows.plan import plan_of_inputs

_WRITERS: dict[str, Callable[[pa.Table, str], None]] = {
    ".parquet": lambda table, path: pq.write_table(table, path, compression="zstd"),
    ".feather": lambda table, path: pyarrow.feather.write_feather(table, path, compression="lz4"),
    ".csv": pyarrow.csv.write_csv,
}


def write_bars(settings: Settings, inputs: Inputs, timeframes: tuple[str, ...], out: Path) -> dict[str, int]:
    """Bars of these timeframes from files into one file; rows per timeframe.

    Rows are by instrument, timeframe and time. Bars still open at the end of the files come last, flagged FLUSHED (16). The file
    appears whole or not at all.

    Raises:
        InputError: a file cannot be used.
        RunError: the output's ending is not .parquet, .feather or .csv, or it cannot be written.
    """
    writer = _WRITERS.get(out.suffix.lower())
    if writer is None:
        raise RunError(f"--out {out}: bars are written as {', '.join(_WRITERS)}; give the file one of these endings")
    if not out.parent.is_dir():
        raise RunError(f"--out {out}: there is no directory {out.parent}")
    plan = plan_of_inputs(settings, inputs)
    failures: list[InputError] = []
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise RunError(f"--out {out}: {out.parent} cannot be written: {error.strerror}") from None
    try:
        source = FileSource(inputs, settings.run.chunk, max(plan.lateness_ns.values()), on_error=failures.append)
        segments = SegmentSink(folder, plan.bar_streams)
        run_flow(dataflow("bars", source, lambda market: enter(market, plan), segments))
        if failures:
            raise failures[0]
        roll(folder, plan.bar_streams)
        names = [f"bars{kind}.{timeframe}" for timeframe in timeframes for kind in ("", ".open")]
        tables = []
        for name in names:
            table = pq.read_table(parquet_path(folder, name))
            timeframe = pa.repeat(pa.scalar(name.rsplit(".", 1)[1]), table.num_rows)
            tables.append(table.drop_columns(["ordinal"]).add_column(1, "timeframe", timeframe))
        rank = {timeframe: k for k, timeframe in enumerate(timeframes)}
        whole = pa.concat_tables(tables)
        order = pa.array([rank[name] for name in whole.column("timeframe").to_pylist()], pa.int32())
        by = [("key", "ascending"), ("rank", "ascending"), ("ts_open", "ascending")]
        whole = whole.append_column("rank", order).sort_by(by).drop_columns(["rank"])
        part = folder / f"whole{out.suffix.lower()}"
        writer(whole.replace_schema_metadata(None), str(part))
        part.replace(out)
        return {
            timeframe: sum(t.num_rows for t, n in zip(tables, names) if n.endswith(f".{timeframe}"))
            for timeframe in timeframes
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
