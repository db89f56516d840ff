"""The command line: `tidewax`, or `python -m flows`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from config import grid, load
from connectors.simulator import Market, write_trades
from events.errors import StepError, TidewaxError
from events.identity import canonical_json
from events.times import DAY_NS
from flows.command_line import Config, run_backtest, terminal
from flows.config_command import config_app
from flows.diagnose_commands import diagnose_app
from flows.explain import explain as explain_signal
from flows.explain import list_signals
from flows.fetch_command import fetch_app
from flows.file_options import Columns, Exchange, Feeds, Files, Instrument, Layout, OnBadRows, inputs_of, names_of
from flows.ingest_command import ingest_app
from flows.laws import judge, print_laws
from flows.live_commands import live_app
from flows.market_command import market_app
from flows.outcomes import calibrate, print_outcomes, report
from flows.picture import mermaid
from flows.report import refused_line
from flows.stages import Stage, bars_settings, bars_stage, features_stage, with_timeframes, write_stage
from flows.sweep import Sweep, print_sweep
from flows.tape_commands import tape_app
from flows.topics_command import topics_app
from flows.verify import verify as compare

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Market data to bars, indicators, confluence scores and signals.",
)

app.add_typer(config_app, name="config")
app.add_typer(live_app)
app.add_typer(ingest_app)
app.add_typer(market_app)
app.add_typer(fetch_app)
app.add_typer(diagnose_app)
app.add_typer(tape_app, name="tape")
app.add_typer(topics_app, name="topics")


@app.command()
def bars(
    files: Files,
    out: Annotated[Path, typer.Option(help="Where to: a .parquet, .feather or .csv file.")],
    timeframe: Annotated[str, typer.Option(help="One or more, separated by commas.")] = "1m",
    instrument: Instrument = None,
    exchange: Exchange = None,
    layout: Layout = None,
    columns: Columns = None,
    bad_rows: OnBadRows = "refuse",
) -> None:
    """Make time bars of trades or klines."""
    wanted = names_of(timeframe)
    settings, inputs = bars_settings(wanted), inputs_of(files, layout, instrument, bad_rows, exchange, columns)
    _tell(write_stage(lambda folder: bars_stage(settings, inputs, wanted, folder), out), "bars", out)


@app.command()
def features(
    files: Files,
    out: Annotated[Path, typer.Option(help="Where to: a .parquet, .feather or .csv file.")],
    timeframe: Annotated[
        str | None, typer.Option(help="One or more, separated by commas; those of the settings, if not given.")
    ] = None,
    config: Config = None,
    instrument: Instrument = None,
    exchange: Exchange = None,
    layout: Layout = None,
    columns: Columns = None,
    bad_rows: OnBadRows = "refuse",
) -> None:
    """Make indicator and score columns of trades or klines, with a status each; nothing is scored together."""
    settings = load(config)
    wanted = settings.bars.time if timeframe is None else names_of(timeframe)
    settings = with_timeframes(settings, wanted)
    inputs = inputs_of(files, layout, instrument, bad_rows, exchange, columns)
    _tell(write_stage(lambda folder: features_stage(settings, inputs, wanted, folder), out), "rows", out)


def _tell(made: Stage, what: str, out: Path) -> None:
    console = terminal()
    console.print(f"{out}: " + ", ".join(f"{n:,} {what} of {name}" for name, n in made.rows.items()), soft_wrap=True)
    if made.refused:
        console.print(refused_line(made.refused), soft_wrap=True)


@app.command()
def backtest(
    files: Files,
    out: Annotated[Path, typer.Option(help="The run directory.")],
    config: Config = None,
    chunk: Annotated[int | None, typer.Option(help="Rows a frame; changes no result.", min=1)] = None,
    workers: Annotated[int | None, typer.Option(help="Worker threads; changes no result.", min=1)] = None,
    instrument: Instrument = None,
    exchange: Exchange = None,
    layout: Layout = None,
    columns: Columns = None,
    bad_rows: OnBadRows = "refuse",
    feeds: Feeds = None,
    again: Annotated[bool, typer.Option("--again", help="Start over in a directory that holds a run.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE[,VALUE...]", help="A setting; with several values a run for each."),
    ] = None,
) -> None:
    """Run the whole graph over files of trades or klines and of what stands beside them; goes on where it was stopped."""
    given = {name: value for name, value in (("chunk", chunk), ("workers", workers)) if value is not None}
    points = grid(config, set_ or [], {"run": given} if given else None)
    read, console = points[0].settings.input, terminal()
    wanted = names_of(feeds) if feeds is not None else read.feeds
    inputs = inputs_of(files, layout, instrument, bad_rows, exchange, columns, wanted, read.delay)
    for note in inputs.notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    if len(points) == 1:
        run_backtest(inputs, out, points[0].settings, again)
    else:
        print_sweep(Sweep(points, inputs, out, console, again).run(), out, console)


@app.command()
def verify(
    a: Annotated[Path, typer.Argument(metavar="DIR_A")], b: Annotated[Path, typer.Argument(metavar="DIR_B")]
) -> None:
    """Compare two runs: equal, or the first row that differs (exit code 1). A directory of shards is one run, of all of them."""
    verdict, console = compare(a, b), terminal()
    for note in verdict.notes:
        console.print(f"note: {note}", soft_wrap=True)
    for difference in verdict.differences:
        console.print(f"different: {difference}", soft_wrap=True)
    if verdict.differences:
        raise typer.Exit(1)
    console.print(f"equal: {verdict.digests} digests over {verdict.rows:,} rows")


@app.command()
def explain(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Of a finished run; of one on Kafka, that of a shard, such as live/shard-03."
        ),
    ],
    signal_id: Annotated[
        str | None, typer.Argument(metavar="SIGNAL_ID", help="Without it, the signals are listed.")
    ] = None,
) -> None:
    """Say why a signal was made, and what became of it; without its id, list the signals."""
    print(list_signals(directory) if signal_id is None else explain_signal(directory, signal_id), end="")


@app.command()
def outcomes(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Of finished runs; of one on Kafka, those of its shards, such as live/shard-*."
        ),
    ],
    table: Annotated[Path | None, typer.Option("--calibrate", help="Make this reliability table of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Report on paper outcomes by preset, side, regime and month; make the reliability table."""
    data, console = report(directories), terminal()
    if as_json:
        print(canonical_json(data))
    else:
        print_outcomes(data, console)
    if table is not None:
        made = calibrate(directories, table)
        if not as_json:
            n, buckets = made["table"]["n"], len(made["table"]["buckets"])
            console.print(f"{table}: {n} outcomes in {buckets} buckets, sha256 {made['sha256']}", soft_wrap=True)


@app.command()
def laws(
    file: Annotated[Path, typer.Argument(metavar="PLUGIN.py", help="A file of indicators, scores and rules.")],
    config: Config = None,
) -> None:
    """Hold the laws against a plugin: no look-ahead, any split, restart and start; a fault is a sentence, exit code 1."""
    if not print_laws(file, judge(file, config), terminal()):
        raise typer.Exit(1)


@app.command()
def graph(config: Config = None) -> None:
    """Print the flow as a Mermaid diagram."""
    print(mermaid(load(config)))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where to.")] = Path("demo"),
    seconds: Annotated[float, typer.Option(help="How long it runs; Ctrl-C ends it before.", min=1)] = 60.0,
    speed: Annotated[float, typer.Option(help="Seconds of the market a second.", min=1)] = 60.0,
    seed: Annotated[int, typer.Option(help="Another seed is another market.")] = 1,
) -> None:
    """Run live on a local exchange for a minute: signals with their reasons as they come; no network, no keys."""
    from flows.demo import demo as run  # noqa: PLC0415  # only it and the live commands need the exchanges

    run(out, seconds, speed, seed, terminal())


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="Folder of the file.")] = Path("demo"),
    days: Annotated[float, typer.Option(help="How many days of trades.", min=0.5)] = 3.0,
    seed: Annotated[int, typer.Option(help="Another seed is another market.")] = 1,
) -> None:
    """Write a Parquet file of synthetic trades, to try backtests on."""
    market = Market(seed=seed), Market("synthetic:ETH/USDT", 3_000.0, seed=seed + 1)
    path = out / f"synthetic-trades-seed{seed}-{days:g}d.parquet"
    n = write_trades(path, market, 19_675 * DAY_NS, days)
    terminal().print(
        f"{path}: {n:,} synthetic trades of {len(market)} instruments, made by a seeded model", soft_wrap=True
    )


def main(arguments: list[str] | None = None) -> Any:
    """Run a command; what a user can do something about is told as a sentence, exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return app(arguments)
    except TidewaxError as error:
        print(f"tidewax: {error}", file=sys.stderr)
        if isinstance(error, StepError):
            print("TIDEWAX_DEBUG=1 shows where; the run goes on from its last snapshot.", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("tidewax: stopped; the same command goes on from the last snapshot", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
