"""Finished runs as reports read them: what run.json says, and rows and records by instrument."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from connectors.segments import read_stream
from events.errors import RunError
from events.frames import Array
from events.records import Record, Signal
from events.schema import FROM_OHLCV, SCHEMA_VERSION
from events.streams import Columns, Records
from flows.plan import Plan, plan_of_run
from flows.rundir import WHOLE, read_run, shard_directory

R = TypeVar("R", bound=Record)


def read_records(directory: Path, plan: Plan, kind: type[R], key: str) -> list[R]:
    """The records of one type and instrument, in canonical order.

    Raises:
        RunError: their file is missing or of other settings.
    """
    stream = plan.streams[kind.stream]
    assert isinstance(stream, Records)
    return [record for record in read_stream(directory, stream, key) if isinstance(record, kind)]


def read_rows(directory: Path, plan: Plan, name: str, key: str) -> Array:
    """The rows of one column stream and instrument, in the order of time.

    Raises:
        RunError: their file is missing or of other settings.
    """
    stream = plan.streams[name]
    assert isinstance(stream, Columns)
    return read_stream(directory, stream, key)


def lived(directory: Path, plan: Plan, key: str) -> tuple[Array, Array]:
    """The base bars and the confluence rows of an instrument, without the history that a live run began with.

    Raises:
        RunError: a file is missing or of other settings.
    """
    bars, scores = (read_rows(directory, plan, name, key) for name in (f"bars.{plan.timeframes[0][0]}", "confluence"))
    if plan.preloaded:
        bars = bars[bars["flags"] & FROM_OHLCV == 0]
        scores = scores[scores["available_at"] >= (bars["ts_close"][0] if len(bars) else 2**63 - 1)]
    return bars, scores


class FinishedRun:
    """A finished run directory.

    Attributes:
        path: of the directory.
        run: what its run.json says.
        plan: what its graph computed.
        keys: its instruments, sorted.

    Raises:
        RunError: there is no run, it is not finished, or another version wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.run = path, read_run(path)
        if self.run.get("state") not in WHOLE:
            raise RunError(f"{path} holds an unfinished run: run the same command again to finish it")
        if self.run.get("schema_v") != SCHEMA_VERSION:
            raise RunError(
                f"{path} was written with schema version {self.run.get('schema_v')}, this one reads {SCHEMA_VERSION}: "
                "read it with the version that wrote it"
            )
        if Signal.stream not in self.run["streams"]:
            raise RunError(
                f"{path} compares the instruments of shards and has no signals of its own: name a shard, such as "
                f"{shard_directory(path.parent, 0)}"
            )
        try:
            self.plan = plan_of_run(self.run)
        except ValidationError:
            raise RunError(
                f"{path} has settings that this version does not know: read it with the version that wrote it "
                f"({self.run.get('tidewax')})"
            ) from None
        self.keys: list[str] = sorted(self.run["results"])

    @property
    def base(self) -> str:
        """Name of the base timeframe."""
        return self.plan.timeframes[0][0]

    def records(self, kind: type[R], key: str) -> list[R]:
        """The records of one type and instrument."""
        return read_records(self.path, self.plan, kind, key)

    def rows(self, name: str, key: str) -> Array:
        """The rows of one column stream and instrument."""
        return read_rows(self.path, self.plan, name, key)
