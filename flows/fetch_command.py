"""The command `tidewax fetch`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from config import load
from events.errors import SettingsError
from events.times import time_ns
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


def _time(option: str, text: str) -> int:
    try:
        return time_ns(text)
    except ValueError as error:
        raise SettingsError(f"{option}: {error}") from None
