"""A finished backtest as data frames."""

from __future__ import annotations

import io
import json
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

import polars as pl
from rich.console import Console

from connectors.segments import parquet_path
from events.errors import RunError
from flows.plan import Plan
from flows.report import print_report

TIMES: Final = (
    "ts",
    "ts_open",
    "ts_close",
    "ts_first",
    "ts_last",
    "ts_event",
    "ts_recv",
    "since",
    "until",
    "state_since",
)
"""Columns of times, which are datetimes of ns in UTC."""
_LISTS: Final = pl.Struct({"targets": pl.List(pl.Float64), "target_sizes": pl.List(pl.Float64)})
_DEAD: Final = ("key", "ts", "source", "offset", "ts_event", "ts_recv", "step", "reason", "detail")
_NUMBERS: Final = ("ts", "offset", "ts_event", "ts_recv")


def with_times(frame: pl.DataFrame, status: bool = True) -> pl.DataFrame:
    """The frame with datetimes instead of integer ns; without the columns of statuses, if not asked for."""
    kept = [name for name in frame.columns if name != "ordinal" and (status or not name.endswith(".status"))]
    times = [name for name in kept if name in TIMES]
    return frame.select(kept).with_columns(pl.col(times).cast(pl.Int64).cast(pl.Datetime("ns", "UTC")))


class Frames(Mapping[str, pl.DataFrame]):
    """Data frames by name, each read when it is asked for."""

    def __init__(self, result: BacktestResult, kind: str, names: tuple[str, ...]) -> None:
        self._result, self._kind, self._names = result, kind, names

    def __getitem__(self, name: str) -> pl.DataFrame:
        if name not in self._names:
            raise KeyError(f"{name}: there are {', '.join(self._names)}")
        return self._result.stream(f"{self._kind}.{name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<{self._kind} of {', '.join(self._names)}>"


class BacktestResult:
    """What a backtest found. Frames are read from the run directory when asked for; a missing value is null.

    Times are datetimes of ns in UTC. Every frame has `key`, the instrument. Signals and outcomes are paper results: simulated on
    closed bars, no order was placed.

    Attributes:
        path: the run directory, which `tidewax explain`, `verify` and `outcomes` read; a temporary one is removed with this object.
        report: what run.json says: versions, settings, counts, reasons, results, digests.
    """

    def __init__(self, path: Path, report: dict[str, Any], plan: Plan, temporary: bool) -> None:
        self.path, self.report, self._plan = path, report, plan
        if temporary:
            weakref.finalize(self, rmtree, path, ignore_errors=True)

    def stream(self, name: str) -> pl.DataFrame:
        """The frame of a stream by its name, one of `report["streams"]`.

        Raises:
            RunError: there is no such stream.
        """
        if name == "dead_letters":
            return self.dead_letters
        if name not in self.report["streams"]:
            raise RunError(f"the run has no stream {name!r}, it has {', '.join(self.report['streams'])}")
        return with_times(pl.read_parquet(parquet_path(self.path, name)))

    @property
    def bars(self) -> Frames:
        """Closed bars by timeframe."""
        return Frames(self, "bars", tuple(name for name, _ in self._plan.timeframes))

    @property
    def features(self) -> Frames:
        """Feature rows by timeframe: values, and `<column>.status`: 0 settled, 1 converged, 2 warming, above 2 without a value."""
        return Frames(self, "features", tuple(name for name, _ in self._plan.timeframes))

    @property
    def confluence(self) -> pl.DataFrame:
        """Scores at the close of each base bar."""
        return self.stream("confluence")

    @property
    def signals(self) -> pl.DataFrame:
        """Signals with stop, targets and size; `json` has all that is said of each."""
        return (
            self.stream("signals").with_columns(pl.col("json").str.json_decode(_LISTS).alias("lists")).unnest("lists")
        )

    @property
    def updates(self) -> pl.DataFrame:
        """Each step in the life of each signal."""
        return self.stream("updates")

    @property
    def outcomes(self) -> pl.DataFrame:
        """How filled signals ended, in multiples R of their risk, net of costs."""
        return self.stream("outcomes")

    @property
    def dead_letters(self) -> pl.DataFrame:
        """Rows that were refused and values that failed, with the reason; `raw` is what came, as JSON."""
        with parquet_path(self.path, "dead_letters").open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        data = {name: [row[name] for row in rows] for name in _DEAD} | {"raw": [json.dumps(row["raw"]) for row in rows]}
        schema = {name: pl.Int64 if name in _NUMBERS else pl.String for name in data}
        return with_times(pl.DataFrame(data, schema))

    def __repr__(self) -> str:
        """The report of the command line, as text."""
        text = io.StringIO()
        print_report(self.report, self.path, self._plan, Console(file=text, width=100, highlight=False))
        return text.getvalue().rstrip()
