"""The command `tidewax fetch`."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from config import load
from events.errors import SettingsError
from events.times import DAY_NS, SECOND_NS
from flows.command_line import Config, terminal
from flows.fetch import Fetch

fetch_app = typer.Typer()


@fetch_app.command()
def fetch(
    exchange: Annotated[str, typer.Argument(metavar="EXCHANGE", help="Of binance, kraken, okx, coinbase, bybit.")],
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="BASE/QUOTE; BASE/QUOTE:QUOTE of a perpetual.")],
    since: Annotated[str, typer.Option(metavar="T", help="Begin: a date or a time (UTC), or nanoseconds since 1970.")],
    out: Annotated[Path, typer.Option(help="A directory, or a .parquet file.")],
    until: Annotated[
        str | None, typer.Option(metavar="T", help="End (exclusive); the last full minute, if not given.")
    ] = None,
    what: Annotated[str, typer.Option(help="trades, klines, funding, or all that the market has.")] = "trades",
    timeframe: Annotated[str, typer.Option(help="Of klines; bars are made of those of 1m.")] = "1m",
    config: Config = None,
    again: Annotated[bool, typer.Option("--again", help="Fetch files anew that are there.")] = False,
) -> None:
    """Fetch trades, klines or funding rates of a span from an exchange into Parquet files, ready for a backtest."""
    since_ns, until_ns = _time("--since", since), None if until is None else _time("--until", until)
    wanted = Fetch(exchange, symbol, what, since_ns, until_ns, timeframe, out, load(config), again)
    try:
        wanted.run(terminal())
    except KeyboardInterrupt:
        print(
            "tidewax: stopped; the same command keeps the files that are whole, and begins the others anew",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None


def time_ns(text: str) -> int:
    """The time that a text means: a date or a time of ISO 8601, UTC where it names no zone, or an integer of nanoseconds.

    >>> time_ns("1970-01-02"), time_ns("1970-01-01T00:00:01.5Z"), time_ns("1970-01-01 01:00+01:00")
    (86400000000000, 1500000000, 0)
    >>> time_ns("1700000000000000001"), time_ns("2023-11-14T22:13:20.000000001")
    (1700000000000000001, 1700000000000000001)

    Raises:
        ValueError: it is none, or lies before 1970.
    """
    text = text.strip()
    if re.fullmatch(r"\d{15,19}", text):  # since February 1970; a date has fewer digits
        return int(text)
    fraction = re.search(r"(?<=:\d\d)[.,](\d{1,9})", text)
    try:
        at = datetime.fromisoformat(text if fraction is None else text[: fraction.start()] + text[fraction.end() :])
    except ValueError:
        raise ValueError(
            f"{text!r} is no time: write a date or a time such as 2024-01-31 or 2024-01-31T12:30:00Z, or nanoseconds since 1970"
        ) from None
    since_epoch = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    if since_epoch.days < 0:
        raise ValueError(f"{text!r} lies before 1970, where time begins here")
    whole_ns = since_epoch.days * DAY_NS + since_epoch.seconds * SECOND_NS
    return whole_ns + (0 if fraction is None else int(fraction[1].ljust(9, "0")))


def _time(option: str, text: str) -> int:
    try:
        return time_ns(text)
    except ValueError as error:
        raise SettingsError(f"{option}: {error}") from None
