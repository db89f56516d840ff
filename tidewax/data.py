"""What the functions of notebooks take: files or data frames, and settings in any form."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

import polars as pl
import pyarrow as pa

from config import Settings, load, with_table
from connectors.files import BadRows, Inputs, open_inputs
from events.errors import InputError


class ArrowFrame(Protocol):
    """A data frame of any library that exports Arrow streams: polars, pandas from 2.2 on, pyarrow, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The frame as a PyCapsule of an Arrow stream."""
        ...


File = str | PathLike[str]
Data = ArrowFrame | pl.LazyFrame | File | Sequence[File]
"""A data frame of trades or klines, or a file of them, or several files."""
Config = Settings | Mapping[str, Any] | File | None
"""Settings, nested settings, the path of a settings file, the name of a profile, or None for the defaults."""

Columns = Mapping[str, str] | None
"""Columns by role, such as `{"time": "ts", "price": "px"}`."""

LABEL: Final = "the data frame"


def settings_of(config: Config) -> Settings:
    """The settings that `config` says. Variables such as TIDEWAX__BARS__MAX_FILL win over files and profiles.

    >>> settings_of({"signals": {"tf": "5m"}}).signals.tf, settings_of("short").signals.tf
    ('5m', '1m')

    Raises:
        SettingsError: the file cannot be read, or settings are wrong; each has a line.
    """
    if isinstance(config, Settings):
        return with_table(config)
    if isinstance(config, Mapping):
        return load(None, dict(config))
    return load(None if config is None else str(config))


@contextmanager
def opened(
    data: Data,
    instrument: str | None,
    layout: str | None,
    bad_rows: BadRows,
    exchange: str | None = None,
    columns: Columns = None,
) -> Iterator[Inputs]:
    """The files of a run. A data frame is written to a temporary Parquet file, and so is read and checked as files are.

    Raises:
        InputError: it is no data frame nor a file, or cannot be used; also instead of any InputError of the block, in words that
            fit a function.
    """
    with TemporaryDirectory(prefix="tidewax-") as folder:
        paths = _paths(data)
        frame = None if paths is not None else Path(folder) / "trades.parquet"
        try:
            if frame is not None:
                _table(data).write_parquet(frame, compression="lz4")
            inputs = open_inputs(
                paths or [frame or ""], layout, instrument, bad_rows, exchange=exchange, columns=columns
            )
            if frame is not None:
                named = tuple(replace(file, meaning=replace(file.meaning, label=LABEL)) for file in inputs.files)
                inputs = replace(inputs, files=named)
            yield inputs
        except InputError as error:
            said = str(error) if frame is None else str(error).replace(str(frame), LABEL)
            said = re.sub(
                r"--(instrument|exchange|columns|layout|bad-rows)\b", lambda option: option[1].replace("-", "_"), said
            )
            raise InputError(said) from None


def _paths(data: Data) -> list[Path] | None:
    """The paths, None for a data frame."""
    if isinstance(data, str | PathLike):
        return [Path(data)]
    if isinstance(data, list | tuple) and data and all(isinstance(path, str | PathLike) for path in data):
        return [Path(path) for path in data]
    return None


def _table(data: Any) -> pl.DataFrame:
    if isinstance(data, pl.DataFrame | pl.LazyFrame):
        return data.lazy().collect()
    if not hasattr(data, "__arrow_c_stream__"):
        raise InputError(
            f"data is a {type(data).__name__}: give a data frame (polars, pandas, pyarrow), a path, or paths"
        )
    frame = pl.from_arrow(pa.table(data))  # of pandas with its index, if that holds more than positions
    assert isinstance(frame, pl.DataFrame)
    return frame
