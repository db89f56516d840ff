"""Bars, features and backtests of data frames and files, through the same graph as the command line."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import polars as pl
from rich.console import Console

from connectors.files import BadRows
from events.errors import RunError
from flows.backtest import Backtest
from flows.rundir import RunDirectory, read_run
from flows.stages import Stage, bars_settings, bars_stage, features_stage, with_timeframes
from tidewax.data import Columns, Config, Data, opened, settings_of
from tidewax.result import BacktestResult, with_times


class RefusedRows(UserWarning):
    """Rows were refused or values failed; the message says how many and why. `backtest(...).dead_letters` has each."""


def bars(
    data: Data,
    timeframes: str | Sequence[str] = ("1m",),
    instrument: str | None = None,
    *,
    exchange: str | None = None,
    columns: Columns = None,
    layout: str | None = None,
    bad_rows: BadRows = "refuse",
) -> pl.DataFrame:
    """Time bars of trades or 1m klines.

    Args:
        data: a data frame of trades or klines (polars, pandas, pyarrow), or the path or paths of files. Its columns are
            recognised as those of files are: a time (datetimes, or integers of s, ms, us or ns), price, qty; optionally side,
            trade_id, instrument. Of klines: a time (of the open), open, high, low, close, volume.
        timeframes: one or more, such as "5m".
        instrument: `exchange:BASE/QUOTE`, where the data do not say it.
        exchange: that of the pairs which a column `symbol` or the names of files show, instead of `instrument`.
        columns: columns with names of their own, by role: `{"time": "ts", "price": "px"}`.
        layout: what the columns mean; found by looking, if not given.
        bad_rows: what becomes of rows that cannot be used: "refuse" (an error), or "dead-letter" (left out, with a warning).

    Returns:
        The columns of `tidewax bars`, a row per bar: key, timeframe, g, ts_open to ts_last (datetimes, UTC), prices, volumes in
        base units, counts, flags (`events.schema.BAR_FLAG_NAMES`; 16 is a bar that was open at the end). Rows by key, timeframe
        in the order asked for, and time. Missing values are null.

    Raises:
        InputError: the data cannot be used.
        SettingsError: there is no such timeframe.

    >>> from connectors.simulator import Market
    >>> trades = Market().trades(1_700_006_400_000_000_000, 0.01)
    >>> frame = pl.DataFrame({"time": trades["available_at"], "price": trades["price"], "qty": trades["qty"]})
    >>> made = bars(frame, "5m", "synthetic:BTC/USDT")
    >>> made["ts_open"].dt.minute().to_list(), made.columns[:3]
    ([0, 5, 10], ['key', 'timeframe', 'g'])
    """
    wanted = _names(timeframes)
    settings = bars_settings(wanted)
    with opened(data, instrument, layout, bad_rows, exchange, columns) as inputs:
        return _frame(bars_stage(settings, inputs, wanted))


def features(
    data: Data,
    config: Config = None,
    instrument: str | None = None,
    *,
    timeframes: str | Sequence[str] | None = None,
    status: bool = False,
    exchange: str | None = None,
    columns: Columns = None,
    layout: str | None = None,
    bad_rows: BadRows = "refuse",
) -> pl.DataFrame:
    """Indicators and scores of trades, a row per whole bar of each timeframe.

    Args:
        data: as for `bars`.
        config: settings: nested ones, a path, the name of a profile, `Settings`; None for the defaults.
        instrument: as for `bars`.
        timeframes: those wanted, also such as are not in `bars.time`; all of the settings, if not given.
        status: whether each column has a `<column>.status` beside it: 0 settled, 1 converged, 2 warming, above 2 without a value.
        exchange: as for `bars`.
        columns: as for `bars`.
        layout: as for `bars`.
        bad_rows: as for `bars`.

    Returns:
        key, timeframe, g, ts_open and ts_close (datetimes, UTC), flags, then the columns of the indicators (`rsi_14`) and of the
        scores (`technical.rsi`, u in [-1, 1]). A value that is not there is null, never a number.

    Raises:
        InputError: the data cannot be used.
        SettingsError: settings are wrong, or there is no such timeframe.

    >>> from connectors.simulator import Market
    >>> trades = Market().trades(1_700_006_400_000_000_000, 0.05)
    >>> frame = pl.DataFrame({"time": trades["available_at"], "price": trades["price"], "qty": trades["qty"]})
    >>> made = features(frame, "short", "synthetic:BTC/USDT", timeframes="1m")
    >>> made["rsi_14"][:14].null_count(), made["rsi_14"][14:].null_count(), "technical.rsi" in made.columns
    (14, 0, True)
    """
    settings = settings_of(config)
    wanted = settings.bars.time if timeframes is None else _names(timeframes)
    settings = with_timeframes(settings, wanted)
    with opened(data, instrument, layout, bad_rows, exchange, columns) as inputs:
        return _frame(features_stage(settings, inputs, wanted), status)


def backtest(
    data: Data,
    config: Config = None,
    instrument: str | None = None,
    out: str | PathLike[str] | None = None,
    *,
    exchange: str | None = None,
    columns: Columns = None,
    layout: str | None = None,
    bad_rows: BadRows = "refuse",
    again: bool = False,
    progress: bool = False,
) -> BacktestResult:
    """The whole graph over trades: what `tidewax backtest` does, with the same digests.

    Args:
        data: as for `bars`.
        config: as for `features`.
        instrument: as for `bars`.
        out: the run directory. A run that was stopped in it goes on, a finished one of the same settings and data is read;
            None: a temporary one, which is removed with the result.
        exchange: as for `bars`.
        columns: as for `bars`.
        layout: as for `bars`.
        bad_rows: as for `bars`.
        again: whether to start over in a directory that holds a run.
        progress: whether to show a line on the terminal while it runs.

    Raises:
        InputError: the data cannot be used.
        SettingsError: settings are wrong.
        RunError: the directory cannot be used, or holds a run of other settings or data.

    >>> from connectors.simulator import Market
    >>> trades = Market().trades(1_700_006_400_000_000_000, 0.05)
    >>> frame = pl.DataFrame({"time": trades["available_at"], "price": trades["price"], "qty": trades["qty"]})
    >>> result = backtest(frame, "short", "synthetic:BTC/USDT")
    >>> result.bars["1m"].height, result.confluence.height, result.report["state"]
    (71, 71, 'finished')
    """
    settings = settings_of(config)
    path = Path(mkdtemp(prefix="tidewax-run-") if out is None else out)
    try:
        with opened(data, instrument, layout, bad_rows, exchange, columns) as inputs, RunDirectory(path) as directory:
            if again:
                directory.clear()
            run = Backtest(settings, inputs, directory, Console() if progress else None)
            if not _holds(directory, run):
                run.run()
            report = read_run(path)
    except BaseException:
        if out is None:
            rmtree(path, ignore_errors=True)
        raise
    return BacktestResult(path, report, run.plan, temporary=out is None)


def _holds(directory: RunDirectory, run: Backtest) -> bool:
    """Whether the directory holds this run, finished.

    Raises:
        RunError: it holds another one.
    """
    stored = directory.read()
    if stored is None or stored["state"] != "finished":
        return False
    if not run.same_as(stored):
        raise RunError(
            f"{directory.path} holds a finished run of other settings or data: give another out, or again=True"
        )
    return True


def _names(timeframes: str | Sequence[str]) -> tuple[str, ...]:
    names = timeframes.split(",") if isinstance(timeframes, str) else timeframes
    return tuple(dict.fromkeys(name.strip() for name in names))


def _frame(made: Stage, status: bool = True) -> pl.DataFrame:
    if made.refused:
        told = ", ".join(f"{n:,} {reason}" for reason, n in made.refused.items())
        warnings.warn(f"rows were refused or values failed: {told}", RefusedRows, stacklevel=3)
    frame = pl.from_arrow(made.table)
    assert isinstance(frame, pl.DataFrame)
    return with_times(frame, status)
