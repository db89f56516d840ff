"""Replay: the graph over a tape, into a run directory, as `flows.backtest` runs it over files."""

from __future__ import annotations

from pathlib import Path

from connectors.tape import Recording
from flows.rundir import RUN_FILE, read_run


def recorded(tape: Path, out: Path, until: int | None = None) -> Recording:
    """The tape, as long as it was when an unfinished run over it began in `out`: a live run may have appended since.

    Args:
        tape: its directory.
        out: the run directory.
        until: take it for as long as the records that end at this offset or before.

    Raises:
        InputError: there is no tape, it is damaged, or is of another version.
        RunError: run.json in `out` cannot be read.
    """
    recording = Recording(tape, until)
    if until is None and (out / RUN_FILE).exists() and (stored := read_run(out))["state"] == "unfinished":
        for given in stored["inputs"]:
            if given.get("tape") == recording.header.tape and given["until"] < recording.end:
                return Recording(tape, given["until"])
    return recording
