"""`tidewax topics`: the topics of Kafka, made with the right settings, and what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from config import load
from connectors.kafka.client import connect_admin
from connectors.kafka.names import Topics
from connectors.kafka.topics import Found, check_partitions, contents, found, make, specs
from flows.command_line import Config, terminal
from flows.connection import connection_of
from flows.report import narrow_table
from flows.schemas import write_schemas

topics_app = typer.Typer(no_args_is_help=True, help="The topics of Kafka that `kafka` of the settings is about.")

_WIDE = 130


@topics_app.command()
def create(
    config: Config = None,
    apply: Annotated[bool, typer.Option("--apply/--dry-run", help="Make them; without it, only look.")] = False,
    market_days: Annotated[float, typer.Option(help="How long the market's messages are kept.", min=0.01)] = 7.0,
    result_days: Annotated[float, typer.Option(help="How long results are kept.", min=0.01)] = 30.0,
) -> None:
    """Make the topics of the settings that are not there yet; say first what would be made, and how those that are there differ."""
    settings, console = load(config), terminal()
    to, kafka = connection_of(settings), settings.kafka
    wanted = specs(
        Topics(kafka.prefix), kafka.shards, kafka.results, kafka.market, kafka.replication, market_days, result_days
    )
    admin = connect_admin(to)
    there = found(to, admin, wanted)
    lacking = [one.spec for one in there if not one.partitions]
    make(to, admin, lacking, kafka.replication, dry=True)
    _print_wanted(there, kafka.replication, console)
    check_partitions(there)
    if not lacking:
        console.print("all topics are there")
    elif apply:
        make(to, admin, lacking, kafka.replication)
        console.print(f"{len(lacking)} topics made")
    else:
        console.print(f"{len(lacking)} topics would be made; --apply makes them")


@topics_app.command()
def show(config: Config = None) -> None:
    """Say what is in the topics of the settings, and how far behind the readers of `kafka.group` are."""
    settings, console = load(config), terminal()
    to, kafka = connection_of(settings), settings.kafka
    admin = connect_admin(to)
    there = found(to, admin, specs(Topics(kafka.prefix), kafka.shards, kafka.results, kafka.market))
    held = contents(to, {one.spec.name: one.partitions for one in there if one.partitions})
    table = narrow_table(f"topics at {to.servers}", "topic", "partitions", "replicas", "messages", "unread", "keeps")
    for one in there:
        if not one.partitions:
            table.add_row(one.spec.name, "not there", "", "", "", "")
            continue
        now = held[one.spec.name]
        unread = "" if now.unread is None else f"{now.unread:,}"
        table.add_row(
            one.spec.name,
            str(one.partitions),
            str(one.replicas),
            f"{now.messages:,}",
            unread,
            _keeps(one.settings or {}),
        )
    _wide(console)
    console.print(table)


@topics_app.command()
def schemas(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made if missing.")], config: Config = None
) -> None:
    """Write the JSON schemas of the records in topics, and of the newest rows with the columns of these settings."""
    names = write_schemas(directory, load(config))
    terminal().print(f"{directory}: {len(names)} schemas", soft_wrap=True)


def _print_wanted(there: list[Found], replication: int | None, console: Console) -> None:
    table = narrow_table("topics", "topic", "partitions", "replicas", "keeps", "largest message", "")
    for one in there:
        spec, replicas = one.spec, "as the brokers" if replication is None else str(replication)
        state = "missing" if not one.partitions else "there"
        if one.partitions:
            replicas = str(one.replicas)
            state = f"has {one.partitions} partitions" if one.partitions != spec.partitions else state
        largest = f"{int(spec.settings['max.message.bytes']):,} bytes"
        table.add_row(spec.name, str(spec.partitions), replicas, _keeps(spec.settings), largest, state)
    _wide(console)
    console.print(table)
    for one in there:
        for difference in one.differences:
            console.print(f"note: {one.spec.name}: {difference}; it is left as it is", soft_wrap=True, markup=False)


def _keeps(settings: dict[str, str]) -> str:
    """What a topic keeps, of its settings.

    >>> _keeps({"cleanup.policy": "compact"}), _keeps({"cleanup.policy": "delete", "retention.ms": "43200000"})
    ('the newest of each key', '0.5 days')
    """
    if "compact" in settings.get("cleanup.policy", ""):
        return "the newest of each key"
    kept_ms = int(settings.get("retention.ms", -1))
    return "all" if kept_ms < 0 else f"{kept_ms / 86_400_000:g} days"


def _wide(console: Console) -> None:
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)  # whoever reads it there wants each line whole
