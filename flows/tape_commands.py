"""`tidewax tape`: what is on a tape, and its upkeep by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connectors.tape import Recording, roll_closed
from connectors.tape.contents import contents
from connectors.tape.rolled import Rolled
from events.times import SECOND_NS, iso
from flows.command_line import terminal
from flows.report import narrow_table

tape_app = typer.Typer(no_args_is_help=True, help="What is on the tape of a live run, and its upkeep by hand.")

_WIDE = 100

Directory = Annotated[Path, typer.Argument(metavar="TAPE", help="The directory that a live run recorded to.")]


@tape_app.command()
def show(tape: Directory) -> None:
    """Say what is on a tape, and in how many segments; a live run may go on meanwhile."""
    recording, console = Recording(tape), terminal()
    parts, sequenced = recording.parts, [name for name in recording.instruments if recording.sequenced(name)]
    rolled = sum(isinstance(part, Rolled) for part in parts)
    begun = iso(recording.begun_ns // SECOND_NS * SECOND_NS)
    torn = f", behind them {recording.torn_bytes} of a record cut short" if recording.torn_bytes else ""
    removed = "; what was before is removed" if recording.first else ""
    for line in (
        f"{tape}: tape {recording.header.tape}, recorded by Tidewax {recording.header.created_by} from {begun} on",
        f"streams: {', '.join(sorted(recording.feeds))}; with consecutive ids: {', '.join(sequenced) or 'none'}",
        f"offsets: {recording.first} to {recording.end}{torn}{removed}",
        f"segments: {len(parts)}, {rolled} of them rolled; {sum(part.size for part in parts) / 1e6:,.1f} MB on the disk",
    ):
        console.print(line, soft_wrap=True)
    rows = contents(recording)
    table = narrow_table("what is on it", "", "stream", "rows", "first (UTC)", "last (UTC)")
    for instrument in recording.instruments:
        for stream in sorted(recording.feeds):
            if (instrument, stream) in rows:
                n, *span = rows[instrument, stream]
                times = (iso(ns // SECOND_NS * SECOND_NS) for ns in span)
                table.add_row(instrument, stream, f"{n:,}", *times)
            else:
                table.add_row(instrument, stream, "0", "", "")
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)  # whoever reads it there wants each line whole
    console.print(table)


@tape_app.command()
def roll(tape: Directory) -> None:
    """Make Parquet files of closed segments now; a live run does so by itself, unless `tape.roll` is off."""
    Recording(tape)  # says so if there is no tape
    made = roll_closed(tape)
    size = sum(part.size for part in made)
    terminal().print(f"{tape}: {len(made)} segments rolled, {size / 1e6:,.1f} MB of Parquet files", soft_wrap=True)
