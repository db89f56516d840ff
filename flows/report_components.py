"""Which components of a live run were degraded or down, when, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from connectors.segments import read_keys, read_stream
from events.records import ALL, ComponentStatus, State
from events.streams import Records, Stream
from events.times import SECOND_NS, iso

WORSE: Final[tuple[State, ...]] = ("down", "degraded")


class Outage(NamedTuple):
    """One time that a component, or one instrument of it, was not up.

    Attributes:
        name: of the component, or of the instrument.
        state: degraded or down.
        since, until: in ns; `until` is None where nothing was said any more.
        reason: the sentence.
    """

    name: str
    state: State
    since: int
    until: int | None
    reason: str | None


def outages(records: Iterable[ComponentStatus]) -> list[Outage]:
    """The outages that these records tell of, by the time at which they began."""
    found: list[Outage] = []
    last: dict[tuple[str, str], ComponentStatus] = {}
    ordered = sorted(records, key=lambda record: record.ts)
    for record in ordered:
        before = last.get((record.component, record.key))
        if before is not None and before.new in WORSE:
            found.append(_outage(before, record.ts))
        last[record.component, record.key] = record
    found += [_outage(record, None) for record in last.values() if record.new in WORSE]
    return sorted(found, key=lambda outage: outage.since)


def _outage(record: ComponentStatus, until: int | None) -> Outage:
    name = record.component if record.key == ALL else record.key
    return Outage(name, record.new, record.ts, until, record.reason)


def read_outages(directory: Path, streams: Mapping[str, Stream], *keys: str) -> list[Outage]:
    """The outages of a run; only those that were told under these keys, if any are given."""
    stream = streams[ComponentStatus.stream]
    assert isinstance(stream, Records)
    kept = [key for key in read_keys(directory, stream) if key in keys or not keys]
    return outages(
        record for key in kept for record in read_stream(directory, stream, key) if isinstance(record, ComponentStatus)
    )


def summary(found: Iterable[Outage]) -> dict[str, dict[str, Any]]:
    """By component or instrument: how often it was degraded and down, for how many seconds in all, and the last reason."""
    told: dict[str, dict[str, Any]] = {}
    for outage in found:
        of = told.setdefault(outage.name, {"reason": None} | {f"{s}{unit}": 0 for s in WORSE for unit in ("", "_s")})
        of[outage.state] += 1
        of[f"{outage.state}_s"] += 0 if outage.until is None else (outage.until - outage.since) / SECOND_NS
        of["reason"] = outage.reason
    return told


def component_lines(told: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The summary in words.

    >>> component_lines({"exchange.okx": {"down": 1, "down_s": 65, "degraded": 2, "degraded_s": 8.4, "reason": "no"}})
    ['exchange.okx was down once (65 s), degraded 2 times (8 s); last: no']
    """
    lines = []
    for name, of in told.items():
        said = [f"{state} {_times(of[state])} ({of[f'{state}_s']:.0f} s)" for state in WORSE if of[state]]
        lines.append(f"{name} was {', '.join(said)}; last: {of['reason'] or '-'}")
    return lines


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def outage_line(outage: Outage) -> str:
    """One outage in words."""
    until = "the end" if outage.until is None else iso(outage.until)
    return f"{outage.name} was {outage.state} from {iso(outage.since)} to {until}: {outage.reason or '-'}"
