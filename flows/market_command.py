"""`tidewax market`: what compares the instruments of all shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from config import load
from events.errors import SettingsError
from flows.command_line import Config, MetricsPort, StatusEvery, terminal
from flows.kafka_run import kafka_inputs
from flows.market import MarketRun
from flows.rundir import MARKET, RunDirectory
from operators.market import TOGETHER

market_app = typer.Typer()


@market_app.command()
def market(
    out: Annotated[
        Path, typer.Option(help="The directory of the shards; this run is in the folder market of it.")
    ] = Path("live"),
    config: Config = None,
    metrics_port: MetricsPort = None,
    status_every: StatusEvery = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End when all is read that was in the topics at the start.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Start over in a directory that holds a run; give kafka.prefix another value too."
        ),
    ] = False,
) -> None:
    """Tell the shards of a run on Kafka of each other: bitcoin beta and GLOBAL need it, once beside all of them.

    It reads the bars that shards write, until Ctrl-C or SIGTERM, and goes on where it was stopped or killed. While it does not run,
    scores and signals of shards wait for it, and nothing is lost.
    """
    given: dict[str, Any] = {"run": {"status_s": status_every}} if status_every is not None else {}
    if metrics_port is not None:
        given["metrics"] = {"port": metrics_port}
    settings, console = load(config, given or None), terminal()
    if settings.kafka.servers is None:
        raise SettingsError(
            "name the brokers of the shards: kafka.servers in the settings, or TIDEWAX__KAFKA__SERVERS=localhost:9092"
        )
    inputs = kafka_inputs(settings)
    with RunDirectory(out / MARKET) as directory:
        run = MarketRun(settings, inputs, directory, console, store=directory.recovery, until_end=until_end)
        if again:
            directory.clear()
        console.print(
            f"market: {len(inputs.instruments)} instruments of {inputs.shards} shards of {inputs.topics.market}, in "
            f"{directory.path}; Ctrl-C stops, the same command goes on",
            soft_wrap=True,
        )
        rows = sum(run.run()["rows"].get(TOGETHER, {}).values())
        console.print(f"stopped; {rows:,} rows of {TOGETHER} in {directory.path}", soft_wrap=True)
