"""The commands that look before a live run: `tidewax doctor`, `probe`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config import load, resolve
from flows.command_line import Config, terminal
from flows.recorder import exchanges_of

if TYPE_CHECKING:
    from flows.probe_checks import Checked

diagnose_app = typer.Typer()


@diagnose_app.command()
def doctor(
    instruments: Annotated[list[str] | None, typer.Argument(metavar="[EXCHANGE:SYMBOL]...", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="The run directory that a live run is to have.")] = Path("live"),
    config: Config = None,
) -> None:
    """Say what would keep a live run from running: versions, settings, exchanges, clock, disk (exit code 1)."""
    from flows.doctor import examine, print_findings  # noqa: PLC0415  # other commands do not pay for it

    given: dict[str, Any] | None = {"exchange": {"symbols": exchanges_of(instruments)}} if instruments else None
    if not print_findings(examine(resolve(config, given), out), terminal()):
        raise typer.Exit(1)


@diagnose_app.command()
def probe(
    exchange: Annotated[str, typer.Argument(metavar="EXCHANGE", help="binance, kraken, okx, coinbase or bybit.")],
    symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", show_default=False)] = None,
    config: Config = None,
    seconds: Annotated[float, typer.Option(help="How long to listen.", min=1, max=3600)] = 30.0,
) -> None:
    """Check on a live exchange what is relied on: ids, completeness, history, pings (exit code 1 if something differs)."""
    from flows.probe import Probe, print_checked  # noqa: PLC0415  # other commands do not pay for it

    address, console = load(config).exchange.addresses.get(exchange), terminal()

    async def probed() -> list[Checked]:
        return await Probe(exchange, symbols or (), address, seconds).run()

    console.print(f"{exchange}: listening for {seconds:g} s; Ctrl-C judges what was seen by then", soft_wrap=True)
    if not print_checked(asyncio.run(probed()), console):
        raise typer.Exit(1)
