"""What `tidewax doctor` finds in a run directory: whether a live run could begin there, or go on."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from config import Settings
from connectors.live import universe_of
from connectors.recovery import resume_epoch
from connectors.tape import Recording
from events.errors import InputError, RunError, TidewaxError
from events.identity import id_of
from events.schema import SCHEMA_VERSION
from flows.backtest import refusal
from flows.doctor_checks import Finding
from flows.plan import Plan
from flows.recorder import TAPE, instruments_of, streams_beside
from flows.rundir import RunDirectory


def store(settings: Settings, path: Path) -> list[Finding]:
    """What `tidewax live --out PATH` with these settings would find there; nothing in it changes.

    Raises:
        SettingsError: there is no plan of these settings.
    """
    try:
        streams_beside(settings)
    except InputError as error:
        return [Finding("streams", "wrong", str(error))]
    if not path.exists():
        return [Finding("run directory", "ok", f"{path} is not there yet: a live run begins anew")]
    try:
        with RunDirectory(path) as directory:
            return [_found(settings, directory)]
    except TidewaxError as error:  # locked by another process, or not to be used
        busy = str(error).startswith("another process")
        return [Finding("run directory", "warning" if busy else "wrong", str(error))]


def _found(settings: Settings, directory: RunDirectory) -> Finding:
    stored, kept = directory.read(), settings.tape.directory
    tape = directory.path / TAPE if kept is None else Path(kept)
    recording = Recording(tape) if any(tape.glob("*.tape")) else None
    if recording is not None and (settings.exchange.symbols or settings.exchange.universe):
        symbols = {name: tuple(dict.fromkeys(listed)) for name, listed in settings.exchange.symbols.items()}
        likes = tuple(instruments_of(settings)[sum(map(len, settings.exchange.symbols.values())) :])
        held, ours = recording.header.universe, universe_of(symbols, True, streams_beside(settings), likes)
        if held != ours:
            names = (f"{', '.join(u.instruments)} ({', '.join(sorted(u.feeds))})" for u in (held, ours))
            raise RunError("{} holds a tape of {}, the settings say {}: name another directory".format(tape, *names))
    if stored is None:
        return Finding("run directory", "ok", f"{directory.path} holds no run: a live run begins anew")
    if stored["schema_v"] != SCHEMA_VERSION:
        raise RunError(
            f"{directory.path} holds a run of version {stored['tidewax']}, whose rows are of schema {stored['schema_v']}, not "
            f"{SCHEMA_VERSION}: name another directory"
        )
    if said := refusal(directory.path, stored, _header(settings, recording)):
        raise RunError(said)
    epoch = _resume_epoch(directory)
    trades = "" if recording is None else f", {recording.end:,} bytes of tape"
    since = "its tape" if epoch is None else f"epoch {epoch}"
    return Finding("run directory", "ok", f"{directory.path} holds a run that goes on from {since}{trades}")


def _header(settings: Settings, recording: Recording | None) -> dict[str, Any]:
    """What decides whether a stored run can go on, as the header of a live run has it."""
    universe = universe_of({}) if recording is None else recording.header.universe
    given = (universe.lacking, universe.instruments)
    plan = Plan(settings, universe.sequenced, universe.feeds, None, True, *given)
    return {
        "analysis_hash": plan.analysis_hash,
        "analysis": plan.tree,
        "fingerprint": id_of("live", "" if recording is None else recording.header.tape),
        "plugins": plan.plugins.described(),
        "lateness_s": {name: plan.lateness_s(name) for name in universe.instruments},
        "reused": None,
    }


def _resume_epoch(directory: RunDirectory) -> int | None:
    try:
        return resume_epoch(directory.recovery)
    except sqlite3.Error as error:
        raise RunError(
            f"{directory.recovery} cannot be read ({error}): --again computes everything on the tape afresh"
        ) from None
