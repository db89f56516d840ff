"""One stage of the graph over files, as one table: what `tidewax bars` and `tidewax features` write."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq

from config import Settings
from connectors.files import FileSource, Inputs
from connectors.segments import SegmentSink, parquet_path, roll
from events.errors import InputError, RunError, SettingsError
from events.feeds import DRIVING
from events.streams import Stream
from events.times import timeframe_ns
from flows.engine import dataflow, run_flow
from flows.graph import enter, study
from flows.plan import Plan
from flows.report import refusals
from operators.keyed import Frames, merge

_WRITERS: Final[Mapping[str, Callable[[pa.Table, str], None]]] = {
    ".parquet": lambda table, path: pq.write_table(table, path, compression="zstd"),
    ".feather": lambda table, path: pyarrow.feather.write_feather(table, path, compression="lz4"),
    ".csv": pyarrow.csv.write_csv,
}


class Stage(NamedTuple):
    """What a stage made.

    Attributes:
        table: rows by key, timeframe in the order asked for, and time; the columns of the stream behind key and timeframe.
        rows: how many of each timeframe.
        refused: rows refused and values failed, by reason; duplicates among them.
    """

    table: pa.Table
    rows: dict[str, int]
    refused: dict[str, int]


def with_timeframes(settings: Settings, wanted: Sequence[str]) -> Settings:
    """Settings whose bars have these timeframes too; for stages, which do not score.

    >>> with_timeframes(Settings(), ["15m", "5m"]).bars.time
    ('1m', '5m', '15m', '30m', '4h')

    Raises:
        SettingsError: there is no timeframe of that name, or none is wanted.
    """
    if not wanted:
        raise SettingsError("name at least one timeframe, such as 5m")
    try:
        time = tuple(sorted({*settings.bars.time, *wanted}, key=timeframe_ns))
    except ValueError as error:
        raise SettingsError(str(error)) from None
    return settings.model_copy(update={"bars": settings.bars.model_copy(update={"time": time})})


def bars_settings(wanted: Sequence[str]) -> Settings:
    """Settings under which nothing but these bars matters.

    Raises:
        SettingsError: as `with_timeframes`.
    """
    base = {"bars": {"time": ("1m",)}, "confluence": {"blend": {"1m": 1.0}}, "signals": {"tf": "1m"}}
    return with_timeframes(Settings.model_validate(base), wanted)


def bars_stage(settings: Settings, inputs: Inputs, timeframes: Sequence[str], folder: Path | None = None) -> Stage:
    """The bars of these timeframes. Those still open at the end of the files come last, flagged FLUSHED (16).

    Args:
        settings: whose `bars.time` has the timeframes.
        inputs: the files.
        timeframes: in the order of the rows.
        folder: an existing directory for what is kept while it runs; a temporary one, if not given.

    Raises:
        InputError: a file cannot be used.
    """
    return _stage(settings, inputs, timeframes, ("bars", "bars.open"), folder)


def features_stage(settings: Settings, inputs: Inputs, timeframes: Sequence[str], folder: Path | None = None) -> Stage:
    """The feature rows of these timeframes, values and statuses; arguments and errors as `bars_stage`. Nothing is scored."""
    return _stage(settings, inputs, timeframes, ("features",), folder)


def _stage(
    settings: Settings, inputs: Inputs, timeframes: Sequence[str], kinds: tuple[str, ...], folder: Path | None
) -> Stage:
    inputs = inputs.only(DRIVING)
    plan = Plan(settings, frozenset(name for name in inputs.instruments if inputs.sequenced(name)))
    names = [f"{kind}.{timeframe}" for timeframe in timeframes for kind in kinds]
    kept = {name: stream for name, stream in plan.streams.items() if name in (*names, "counts", "dead_letters")}

    def graph(market: Frames) -> Frames:
        bars = enter(market, plan)
        return bars if "bars" in kinds else merge("all", bars, *study(bars, plan, timeframes).values())

    failures: list[InputError] = []
    made = Path(tempfile.mkdtemp(prefix="tidewax-", dir=folder))
    try:
        source = FileSource(inputs, settings.run.chunk, plan.lateness_ns["trades"], on_error=failures.append)
        run_flow(dataflow(kinds[0], source, graph, SegmentSink(made, kept)))
        if failures:
            raise failures[0]
        roll(made, kept)
        return _joined(made, names, timeframes, kept)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _joined(made: Path, names: list[str], timeframes: Sequence[str], streams: Mapping[str, Stream]) -> Stage:
    """The Parquet files of these streams as one table."""
    rank, rows = {timeframe: k for k, timeframe in enumerate(timeframes)}, dict.fromkeys(timeframes, 0)
    tables = []
    for name in names:
        timeframe = name.rsplit(".", 1)[1]
        table = pq.read_table(parquet_path(made, name)).drop_columns(["ordinal"])
        table = table.add_column(1, "timeframe", pa.repeat(pa.scalar(timeframe), table.num_rows))
        tables.append(table.append_column("rank", pa.repeat(pa.scalar(rank[timeframe], pa.int32()), table.num_rows)))
        rows[timeframe] += table.num_rows
    by = [("key", "ascending"), ("rank", "ascending"), ("ts_open", "ascending")]
    whole = pa.concat_tables(tables).sort_by(by).drop_columns(["rank"]).replace_schema_metadata(None)
    return Stage(whole, rows, dict(sorted(refusals(made, streams)[1].items())))


def write_stage(stage: Callable[[Path], Stage], out: Path) -> Stage:
    """Make a stage, given a folder beside `out`, and write its table to that file, which appears whole or not at all.

    Raises:
        InputError: a file cannot be used.
        RunError: the output's ending is not .parquet, .feather or .csv, or it cannot be written.
    """
    writer = _WRITERS.get(out.suffix.lower())
    if writer is None:
        raise RunError(f"--out {out}: tables are written as {', '.join(_WRITERS)}; give the file one of these endings")
    if not out.parent.is_dir():
        raise RunError(f"--out {out}: there is no directory {out.parent}")
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise RunError(f"--out {out}: {out.parent} cannot be written: {error.strerror}") from None
    try:
        made = stage(folder)
        part = folder / f"whole{out.suffix.lower()}"
        writer(made.table, str(part))
        part.replace(out)
        return made
    finally:
        shutil.rmtree(folder, ignore_errors=True)
