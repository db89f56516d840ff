"""What is run: trades of a synthetic market, frames of them, and a flow from memory through a graph to a counting sink."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, Source, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.testing import run_main

from config import Settings
from connectors.simulator import Market
from events.frames import Array, Frame, concat
from events.schema import NEVER
from events.times import DAY_NS
from flows.plan import Plan
from operators.keyed import Frames

START = 19_700 * DAY_NS  # a boundary of every timeframe
KEY = "synthetic:BTC/USDT"


def trades(days: float, per_minute: float, seed: int = 1) -> Array:
    """Read-only TRADE rows of a synthetic market from START on."""
    rows = Market(KEY, trades_per_minute=per_minute, seed=seed).trades(START, days)
    rows.flags.writeable = False
    return rows


def before(rows: Array, end_ns: int) -> Array:
    """The rows before a time."""
    return rows[: int(rows["available_at"].searchsorted(end_ns))]


def default_plan(sequenced: bool = False, **settings: Any) -> Plan:
    """The plan of the default settings, or of these."""
    return Plan(Settings.model_validate(settings), frozenset({KEY} if sequenced else ()))


def frames(rows: Array, chunk: int, end_ns: int) -> list[Frame]:
    """The rows cut into frames as the file source cuts them, and a heartbeat: no row is left before `end_ns`."""
    cut = [Frame(KEY, "trades", rows[at : at + chunk], NEVER) for at in range(0, len(rows), chunk)]
    return [*cut, Frame(KEY, "trades", rows[:0], end_ns)]


class Memory(FixedPartitionedSource[tuple[str, Frame], int]):
    """Frames in memory, `per` of them a batch, as one partition."""

    def __init__(self, data: list[Frame], per: int = 1) -> None:
        self.items, self.per = [(frame.instrument, frame) for frame in data], per

    def list_parts(self) -> list[str]:
        """The one partition."""
        return ["memory"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> MemoryPart:
        """The partition, from where it was."""
        return MemoryPart(self, resume_state or 0)


class MemoryPart(StatefulSourcePartition[tuple[str, Frame], int]):
    """Hands the batches out."""

    def __init__(self, source: Memory, at: int) -> None:
        self.items, self.per, self.at = source.items, source.per, at

    def next_batch(self) -> list[tuple[str, Frame]]:
        """The next frames."""
        if self.at >= len(self.items):
            raise StopIteration
        self.at += self.per
        return self.items[self.at - self.per : self.at]

    def snapshot(self) -> int:
        """The position."""
        return self.at


class Count(FixedPartitionedSink[Frame, None]):
    """Counts the rows of each stream; with `keep` it also keeps the frames."""

    def __init__(self, keep: bool = False) -> None:
        self.rows: dict[str, int] = {}
        self.kept: list[Frame] | None = [] if keep else None

    def list_parts(self) -> list[str]:
        """The one partition."""
        return ["count"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> CountPart:
        """The partition."""
        return CountPart(self)

    def together(self) -> dict[str, Any]:
        """What was kept: per stream one array, or a tuple of records."""
        parts: dict[str, list[Any]] = {}
        for frame in self.kept or ():
            if len(frame.rows):
                parts.setdefault(frame.name, []).append(frame.rows)
        return {
            name: tuple(record for part in found for record in part) if isinstance(found[0], tuple) else concat(found)
            for name, found in parts.items()
        }


class CountPart(StatefulSinkPartition[Frame, None]):
    """Counts."""

    def __init__(self, sink: Count) -> None:
        self.rows, self.kept = sink.rows, sink.kept

    def write_batch(self, values: list[Frame]) -> None:
        """Count these frames."""
        for frame in values:
            if len(frame.rows):
                self.rows[frame.name] = self.rows.get(frame.name, 0) + len(frame.rows)
        if self.kept is not None:
            self.kept += values

    def snapshot(self) -> None:
        """Nothing."""


def run(source: Source[Any], graph: Callable[[Frames], Frames], sink: Count | None = None, **engine: Any) -> Count:
    """Run a flow in this thread, and give its sink."""
    sink, flow = sink or Count(), Dataflow("benchmark")
    op.output("out", graph(op.input("market", flow, source)), sink)
    run_main(flow, **engine)
    return sink
