"""The options of commands that read files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import typer

from config import Settings
from connectors.files import FILED, LAYOUTS, BadRows, Inputs, open_inputs
from events.errors import SettingsError

Files = Annotated[
    list[Path],
    typer.Argument(
        help="Files of trades, 1m klines, books, funding rates and more: CSV or JSON lines (.gz, .zip), Parquet, Feather.",
        metavar="INPUT...",
    ),
]
Layout = Annotated[
    str | None, typer.Option(help=f"What the columns mean: {', '.join(LAYOUTS)}; found by looking, if not given.")
]
Instrument = Annotated[str | None, typer.Option(help="exchange:BASE/QUOTE, where the file does not say.")]
Exchange = Annotated[
    str | None, typer.Option(help="That of the pairs which the names of the files, or a column symbol, show.")
]
Columns = Annotated[
    str | None,
    typer.Option(help="Columns of your own files by role: time=ts,price=px,... (bars: open=...; funding: rate=...)."),
]
Feeds = Annotated[
    str | None,
    typer.Option(help=f"Streams that are wanted, of {', '.join(FILED)}; all that the files hold, if not given."),
]
OnBadRows = Annotated[str, typer.Option(help="What becomes of rows that cannot be used: refuse or dead-letter.")]


def inputs_of(
    files: list[Path],
    layout: str | None,
    instrument: str | None,
    bad_rows: str,
    exchange: str | None = None,
    columns: str | None = None,
    feeds: Collection[str] | None = None,
    delay_s: Mapping[str, float] | None = None,
) -> Inputs:
    """The files that the options of a command mean.

    Raises:
        InputError: as `open_inputs`.
        SettingsError: an option is not known.
    """
    if bad_rows not in ("refuse", "dead-letter"):
        raise SettingsError(f"--bad-rows is {bad_rows!r}, it must be refuse or dead-letter")
    named = _named(columns) if columns else None
    way: BadRows = "refuse" if bad_rows == "refuse" else "dead-letter"
    return open_inputs(files, layout, instrument, way, exchange=exchange, columns=named, feeds=feeds, delay_s=delay_s)


def inputs_of_settings(settings: Settings) -> Inputs:
    """The files of the section `input` of settings.

    Raises:
        InputError: as `open_inputs`.
    """
    given = settings.input
    return open_inputs(
        [Path(file) for file in given.files],
        given.layout,
        given.instrument,
        given.bad_rows,
        exchange=given.exchange,
        columns=given.columns,
        feeds=given.feeds,
        delay_s=given.delay,
    )


def names_of(text: str) -> tuple[str, ...]:
    """Names with commas between.

    >>> names_of("trades, book,trades")
    ('trades', 'book')
    """
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def _named(columns: str) -> dict[str, str]:
    """The value of --columns as columns by role."""
    named: dict[str, str] = {}
    for part in columns.split(","):
        role, equals, column = (text.strip() for text in part.partition("="))
        if not (role and equals and column):
            raise SettingsError(f"--columns: {part.strip()!r} is not role=column, such as time=ts,price=px,qty=vol")
        if role in named:
            raise SettingsError(f"--columns names a column for {role} twice, {named[role]} and {column}")
        named[role] = column
    return named
