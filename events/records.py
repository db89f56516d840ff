"""Records: what is rare enough to be an object. Immutable, and JSON in their canonical form.

Every record has `key` (the instrument), `ts` (the boundary it was computed for, never the wall clock) and an id made of
what it says.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict

from events.identity import canonical_json, id_of
from events.schema import SCHEMA_VERSION

ALL: Final = "*"
"""In place of an instrument: of a component as a whole."""


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")
    stream: ClassVar[str]

    key: str
    ts: int
    schema_v: int = SCHEMA_VERSION

    @property
    def record_id(self) -> str:
        """The id under which every sink knows this record."""
        raise NotImplementedError

    def canonical(self) -> str:
        """The record as canonical JSON: what digests are made of, and what sinks hold."""
        return canonical_json(self.model_dump())


class DeadLetter(Record):
    """A row that was refused, or a value that failed, with the reason and what came."""

    stream: ClassVar[str] = "dead_letters"

    source: str
    offset: int
    ts_event: int
    ts_recv: int
    step: str
    reason: str
    detail: str
    raw: dict[str, Any]

    @property
    def record_id(self) -> str:
        """`id(dlq, source, offset)`."""
        return id_of("dlq", self.source, self.offset)


class IntakeCounts(Record):
    """What became of the rows of one stream, told when it ends: `rejected` counts by reason, duplicates among them."""

    stream: ClassVar[str] = "counts"

    name: str
    received: int
    accepted: int
    reordered: int
    rejected: dict[str, int]

    @property
    def record_id(self) -> str:
        """One per stream and instrument."""
        return id_of("counts", self.key, self.name)


class Reconcile(Record):
    """A field of a bar made of trades that differs from the venue's own kline: `difference` is ours less the venue's. `ts` is when
    the kline was available.
    """

    stream: ClassVar[str] = "reconcile"

    tf: str
    ts_open: int
    field: str
    ours: float
    venue: float
    difference: float

    @property
    def record_id(self) -> str:
        """One per bar and field."""
        return id_of("reconcile", self.key, self.tf, self.ts_open, self.field)


class ReconcileCounts(Record):
    """How many minutes were held against the venue's klines since the counts before: `flagged` were not compared, as they are
    partial or have a hole, and `alone` are klines without a bar.
    """

    stream: ClassVar[str] = "reconcile_counts"

    tf: str
    equal: int
    different: int
    flagged: int
    alone: int

    @property
    def record_id(self) -> str:
        """One per instrument and time."""
        return id_of("reconcile_counts", self.key, self.tf, self.ts)


State = Literal["starting", "up", "degraded", "down", "stopped"]


class ComponentStatus(Record):
    """A change of the state of a component, with the clock of its source: `key` is the instrument, or ALL for the component as a
    whole. `reason` is a sentence where the state is not a good one; `counters` are those of the component until then.
    """

    stream: ClassVar[str] = "components"

    component: str
    old: State
    new: State
    reason: str | None
    counters: dict[str, int]

    @property
    def record_id(self) -> str:
        """One per component, key and time."""
        return id_of("component", self.component, self.key, self.ts)


class DimensionShare(BaseModel):
    """What one dimension said: its value u in [-1, 1], weight, filled share q, and its points of the score."""

    model_config = ConfigDict(frozen=True)

    u: float
    weight: float
    q: float
    contribution: float
    top: dict[str, float]


class Size(BaseModel):
    """Advisory position size, in base units, quote units and quote units at risk."""

    model_config = ConfigDict(frozen=True)

    qty: float
    notional: float
    risk: float


Side = Literal["LONG", "SHORT"]


class Signal(Record):
    """An entry that the score proposes, with its stop, targets and reasons."""

    stream: ClassVar[str] = "signals"

    signal_id: str
    tf: str
    side: Side
    score: float
    strength: float
    agreement: float | None
    coverage: float
    dispersion: float
    theta: float
    reliability: float | None = None
    calibrated: bool = False
    in_sample: bool = False
    warming: bool
    regime: str | None = None
    market_regime: str | None = None
    price: float
    spread_bps: float | None = None
    atr: float
    entry_type: str = "next_open"
    valid_bars: int
    stop: float
    targets: tuple[float, ...]
    target_sizes: tuple[float, ...]
    stop_source: str
    rr: float
    risk_pct: float
    size: Size | None
    size_reason: str | None = None
    components: dict[str, DimensionShare]
    analysis_hash: str

    @property
    def record_id(self) -> str:
        """`id(signal, key, tf, ts, side, analysis_hash)`."""
        return self.signal_id


class SignalUpdate(Record):
    """One step in the life of a signal, numbered from 0."""

    stream: ClassVar[str] = "updates"

    signal_id: str
    seq: int
    from_state: str | None
    to: str
    price: float | None
    reason: str
    size_closed: float
    r_gross: float | None
    r_net: float | None
    analysis_hash: str

    @property
    def record_id(self) -> str:
        """Idempotent by signal and number."""
        return id_of("update", self.signal_id, self.seq)


class Outcome(Record):
    """How a filled signal ended, in multiples R of its initial risk; a paper result.

    `funding` is null where the run had no funding rates; `settlements` are (time, rate) of what it is the sum of. Costs are in
    quote units per unit of the instrument.
    """

    stream: ClassVar[str] = "outcomes"

    signal_id: str
    side: Side
    ts_open: int
    ts_close: int
    exit_reason: str
    r_gross: float
    r_net: float
    mfe: float
    mae: float
    bars_held: int
    fees: float
    slippage: float
    funding: float | None
    settlements: tuple[tuple[int, float], ...] = ()
    regime: str | None = None
    score: float
    agreement: float | None
    coverage: float
    theta: float
    analysis_hash: str

    @property
    def record_id(self) -> str:
        """One per signal."""
        return id_of("outcome", self.signal_id)


RECORDS: dict[str, type[Record]] = {
    record.stream: record
    for record in (
        DeadLetter,
        IntakeCounts,
        ComponentStatus,
        Reconcile,
        ReconcileCounts,
        Signal,
        SignalUpdate,
        Outcome,
    )
}
"""Record types by the stream that carries them."""
