"""The commands that look before a live run: `tidewax doctor`, `probe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from config import resolve
from flows.command_line import Config, terminal
from flows.live import exchanges_of

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
