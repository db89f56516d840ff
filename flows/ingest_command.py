"""`tidewax ingest`: market data into Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from config import Settings, load
from connectors.files import Inputs
from connectors.tape import Recording
from events.errors import SettingsError
from flows.command_line import Config, MetricsPort, StatusEvery, terminal
from flows.file_options import Columns, Exchange, Feeds, Instrument, Layout, OnBadRows, inputs_of, names_of
from flows.ingest import LiveIngest, StoredIngest
from flows.recorder import exchanges_of
from flows.report import narrow_table
from flows.rundir import RunDirectory

ingest_app = typer.Typer()


@ingest_app.command()
def ingest(
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[EXCHANGE:SYMBOL]... | FILE...", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="The run directory; the tape of exchanges is in it.")] = Path("ingest"),
    tape: Annotated[Path | None, typer.Option(metavar="TAPE", help="Write what this tape holds.")] = None,
    config: Config = None,
    metrics_port: MetricsPort = None,
    status_every: StatusEvery = None,
    instrument: Instrument = None,
    exchange: Exchange = None,
    layout: Layout = None,
    columns: Columns = None,
    bad_rows: OnBadRows = "refuse",
    feeds: Feeds = None,
) -> None:
    """Write to Kafka what exchanges send, until Ctrl-C or SIGTERM, or what files or a tape hold; goes on where it was stopped."""
    files = [Path(name) for name in what or () if Path(name).exists()]
    symbols = [name for name in what or () if not Path(name).exists()]
    if (files and symbols) or (tape is not None and what):
        other = symbols[0] if files else what[0] if what else ""
        raise SettingsError(
            f"{other!r} cannot be written beside {files[0] if files else tape}: ingest exchanges, files or a tape in a process each"
        )
    given: dict[str, Any] = {"exchange": {"symbols": exchanges_of(symbols)}} if symbols else {}
    if metrics_port is not None:
        given["metrics"] = {"port": metrics_port}
    if status_every is not None:
        given["run"] = {"status_s": status_every}
    settings, console = load(config, given or None), terminal()
    inputs: Inputs | Recording | None = None
    if tape is not None:
        inputs = Recording(tape)
    elif files:
        read = settings.input
        wanted = names_of(feeds) if feeds is not None else read.feeds
        inputs = inputs_of(files, layout, instrument, bad_rows, exchange, columns, wanted, read.delay)
    elif not settings.exchange.symbols and not settings.exchange.universe:
        raise SettingsError(
            "name what to ingest: symbols such as binance:BTC/USDT, files, --tape, or exchange.symbols or exchange.universe in the "
            "settings"
        )
    run(settings, inputs, out, console)


def run(settings: Settings, inputs: Inputs | Recording | None, out: Path, console: Console) -> None:
    """Run an ingest and tell what it has written; one that is finished is left alone.

    Raises:
        TidewaxError: what a user can do something about.
    """
    with RunDirectory(out) as directory:
        made: LiveIngest | StoredIngest
        if inputs is None:
            made = LiveIngest(settings, directory, console, store=directory.recovery)
            of = f"{', '.join(made.origin.instruments)}, recorded to {made.source.tape.directory},"
        else:
            made = StoredIngest(settings, inputs, directory, console, store=directory.recovery)
            of = ", ".join(str(given["path"]) for given in made.origin.describe())
        if made.stored is not None and made.stored["state"] == "finished":
            directory.tidy()
            made.check_same(made.stored)
            console.print(f"{out} holds a finished ingest: all of it is in {made.topics.market}", soft_wrap=True)
            return
        console.print(
            f"ingest: {of} to topic {made.topics.market}; Ctrl-C stops, the same command goes on", soft_wrap=True
        )
        told = made.run()
    table = narrow_table("rows it has now", told["topic"], "stream", "rows")
    for name, streams in told["rows"].items():
        for stream, rows in streams.items():
            table.add_row(name, stream, f"{rows:,}")
    console.print(f"{told['state']}: all that was read is in topic {told['topic']}", soft_wrap=True)
    if told["rows"]:
        console.print(table)
