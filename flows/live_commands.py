"""The commands around a live run: `tidewax live`, `replay`, `simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from config import Settings, load
from connectors.simulator.faults import EVENTS, KNOBS
from events.errors import SettingsError
from events.times import SECOND_NS, iso
from flows.command_line import Config, MetricsPort, StatusEvery, run_backtest, terminal
from flows.kafka_run import kafka_inputs, on_kafka
from flows.live import LiveRun
from flows.recorder import exchanges_of
from flows.replay import recorded
from flows.report import print_report
from flows.rundir import RunDirectory
from flows.shards import Shards

live_app = typer.Typer()


@live_app.command()
def live(
    instruments: Annotated[list[str] | None, typer.Argument(metavar="[EXCHANGE:SYMBOL]...", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="The run directory; the tape is in it.")] = Path("live"),
    config: Config = None,
    workers: Annotated[int | None, typer.Option(help="Worker threads; changes no result.", min=1)] = None,
    metrics_port: MetricsPort = None,
    status_every: StatusEvery = None,
    signals: Annotated[
        bool | None, typer.Option(help="Print signals as they come, with their reasons; so it is on a terminal.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Compute all that is on the tape afresh, then go on.")] = False,
    shard: Annotated[
        str | None, typer.Option(help="On Kafka: the shards of this process, such as 0,1,4; all of them, if not given.")
    ] = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="On Kafka: end when all is read that was in the topics at the start.")
    ] = False,
) -> None:
    """Run the graph on exchanges until Ctrl-C or SIGTERM, recording a tape; goes on where it was stopped or killed.

    With kafka.servers in the settings it runs on what `tidewax ingest` writes, each shard in a directory shard-NN of its own: other
    commands take that as a run, and `tidewax verify` all of them together.
    """
    run_settings = {
        name: value for name, value in (("workers", workers), ("status_s", status_every)) if value is not None
    }
    given: dict[str, Any] = {"run": run_settings} if run_settings else {}
    if metrics_port is not None:
        given["metrics"] = {"port": metrics_port}
    if instruments:
        given["exchange"] = {"symbols": exchanges_of(instruments)}
    settings, console = load(config, given or None), terminal()
    told = console.is_terminal if signals is None else signals
    if on_kafka(settings):
        if instruments:
            raise SettingsError(
                "a run on Kafka is of all that is ingested: name no instruments, or set kafka.source to exchange"
            )
        _live_on_kafka(settings, console, out, _numbers(shard), until_end, told, again)
        return
    if shard is not None or until_end:
        raise SettingsError(
            "--shard and --until-end are for runs on Kafka: set kafka.servers, and kafka.source to kafka"
        )
    if not settings.exchange.symbols and not settings.exchange.universe:
        raise SettingsError(
            "name what to run live, such as binance:BTC/USDT, or give exchange.symbols or "
            "exchange.universe in the settings"
        )
    with RunDirectory(out) as directory:
        run = LiveRun(settings, directory, console, store=directory.recovery)
        if again:
            directory.clear()
        if told:
            run.announce()
        names = ", ".join(run.inputs.instruments)
        console.print(
            f"live: {names}, recorded to {run.inputs.tape.directory}; Ctrl-C stops, the same command goes on",
            soft_wrap=True,
        )
        print_report(run.run(), out, run.plan, console)


def _numbers(text: str | None) -> tuple[int, ...]:
    """The shards that a value of --shard names; none stands for all."""
    words = [word.strip() for word in text.split(",")] if text is not None else []
    if not all(word.isdecimal() for word in words):
        raise SettingsError(f"--shard is {text!r}, it must be numbers such as 0,1,4")
    return tuple(map(int, words))


def _live_on_kafka(
    settings: Settings, console: Console, out: Path, numbers: tuple[int, ...], until_end: bool, told: bool, again: bool
) -> None:
    with Shards(settings, kafka_inputs(settings), out, numbers, console, until_end) as shards:
        if again:
            shards.clear()
        if told:
            shards.announce()
        names = ", ".join(map(str, shards.runs))
        console.print(
            f"live: shards {names} of {shards.inputs.shards} of {shards.inputs.topics.market}, in {out}; Ctrl-C stops, the same "
            "command goes on",
            soft_wrap=True,
        )
        if shards.plan.cross.where == "nowhere":
            console.print("kafka.market is false: no bitcoin beta, and no figures of all instruments", soft_wrap=True)
        elif shards.plan.cross.told:
            console.print(
                "scores wait for what `tidewax market` tells of other instruments: it runs once beside all shards",
                soft_wrap=True,
            )
        for number, run in shards.run().items():
            shard = shards.runs[number]
            if run["results"]:
                console.print(f"\nshard {number}", soft_wrap=True)
                print_report(run, shard.directory.path, shard.plan, console)
            else:
                console.print(f"\nshard {number}: nothing was read of any instrument", soft_wrap=True)


@live_app.command()
def replay(
    tape: Annotated[Path, typer.Argument(metavar="TAPE", help="The directory that a live run recorded to.")],
    out: Annotated[Path, typer.Option(help="The run directory.")],
    config: Config = None,
    chunk: Annotated[int | None, typer.Option(help="Rows a frame at most; changes no result.", min=1)] = None,
    workers: Annotated[int | None, typer.Option(help="Worker threads; changes no result.", min=1)] = None,
    until: Annotated[
        int | None, typer.Option(help="An offset of the tape: replay what was recorded before it.", min=1)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Start over in a directory that holds a run.")] = False,
) -> None:
    """Run the whole graph over the tape of a live run: the same results; goes on where it was stopped."""
    given = {name: value for name, value in (("chunk", chunk), ("workers", workers)) if value is not None}
    recording = recorded(tape, out, until)
    if recording.torn_bytes:
        said = f"{tape}: the last {recording.torn_bytes} bytes are of a record that was cut short, and are left out"
        terminal().print(said, soft_wrap=True)
    if recording.first:
        begun = iso(recording.begun_ns // SECOND_NS * SECOND_NS)
        said = f"{tape}: what was recorded before {begun} was removed; it begins at offset {recording.first}"
        terminal().print(said, soft_wrap=True)
    run_backtest(recording, out, load(config, {"run": given} if given else None), again)


@live_app.command()
def simulate(
    venue: Annotated[str | None, typer.Option(help="Of binance, kraken; both, if not given.")] = None,
    instruments: Annotated[
        str | None, typer.Option(help="Such as binance:BTC/USDT,binance:BTC/USDT:USDT,kraken:BTC/USD.")
    ] = None,
    port: Annotated[int, typer.Option(help="Where it listens; 0 is any free port.", min=0, max=65_535)] = 0,
    host: Annotated[
        str, typer.Option(help="Its address; 0.0.0.0 is every one of the machine, as a container needs it.")
    ] = "127.0.0.1",
    speed: Annotated[float, typer.Option(help="Seconds of the market a second; 0 stands still.", min=0)] = 1.0,
    activity: Annotated[float, typer.Option(help="Multiplies how many trades there are.", min=0)] = 1.0,
    seed: Annotated[int, typer.Option(help="Another seed is another market.", min=0)] = 1,
    history_days: Annotated[float, typer.Option(help="What REST knows from before the start.", min=0)] = 10.0,
    funding_minutes: Annotated[float, typer.Option(help="Length of a funding interval of perpetuals.", min=0)] = 480.0,
    recording: Annotated[
        Path | None,
        typer.Option(
            help="Instead of the model: Parquet trades as of `tidewax generate`, or a captured session (.gz)."
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=VALUE][@SECONDS[+FOR]]",
            help=f"A fault, from so many seconds on, for so many: {', '.join([*KNOBS, *EVENTS])}.",
        ),
    ] = None,
    for_: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", help="When to end; on Ctrl-C, if not given.", min=0)
    ] = None,
) -> None:
    """Serve a local exchange: Binance and Kraken, with trades, books and all around them, and faults on demand."""
    from flows.simulate import PlannedFault, Simulation  # noqa: PLC0415  # the server costs other commands half a second

    def names(text: str | None) -> list[str]:
        return [name.strip() for name in text.split(",")] if text else []

    faults = [PlannedFault.of(text) for text in fault or []]
    Simulation(
        names(venue),
        names(instruments),
        port,
        speed,
        activity,
        seed,
        history_days,
        funding_minutes,
        recording,
        faults,
        for_,
        host,
    ).run(terminal())
