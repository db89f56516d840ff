"""What several commands share: options, where they print, and a run into a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from config import Settings
from connectors.files import Inputs
from connectors.tape import Recording
from events.errors import RunError
from flows.backtest import Backtest
from flows.report import print_report
from flows.rundir import RunDirectory

Config = Annotated[str | None, typer.Option(help="A settings file, or a shipped profile: default, short.")]
MetricsPort = Annotated[
    int | None,
    typer.Option(help="Serve metrics for Prometheus, on metrics.host; 0 is any free port.", min=0, max=65_535),
]
StatusEvery = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Between lines where the output is no terminal; 0 for none.", min=0),
]


def terminal() -> Console:
    """Standard output; numbers are not coloured."""
    return Console(highlight=False)


def run_backtest(inputs: Inputs | Recording, out: Path, settings: Settings, again: bool) -> None:
    """Run a backtest or a replay to its end and report; a finished run in the directory is left alone, but `again` starts over.

    Raises:
        RunError: the directory holds a finished run of something else.
    """
    console = terminal()
    with RunDirectory(out) as directory:
        stored = directory.read()
        run = Backtest(settings, inputs, directory, console)
        if stored is not None and stored["state"] == "finished" and not again:
            directory.tidy()
            if not run.same_as(stored):
                raise RunError(
                    f"{out} holds a finished run of other settings or files: give --out another directory, or start over "
                    "with --again"
                )
            console.print(
                f"{out} holds a finished run ({stored['signals']} signals); --again starts over", soft_wrap=True
            )
            return
        if again:
            directory.clear()
        print_report(run.run(), out, run.plan, console)
