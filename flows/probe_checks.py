"""What `tidewax probe` expects of an exchange, beside what it saw of it: the assumptions of the exchange source, one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from connectors.exchange.sequencer import AVAILABLE_AT, Arrival
from connectors.exchange.venues import Venue
from events.times import SECOND_NS, iso

Verdict = Literal["confirmed", "differs", "not seen in time"]

_PRICE, _QTY, _SIDE = 4, 5, 6
_MS_NS: Final = 1_000_000


class Checked(NamedTuple):
    """One check: of what, what the source relies on, what was seen, and whether they agree."""

    check: str
    expected: str
    seen: str
    verdict: Verdict


@dataclass
class Heard:
    """What was heard of one symbol: what the stream pushed, what it pushed from before, what REST has of that time."""

    symbol: str
    pushed: list[Arrival] = field(default_factory=list)
    page: list[Arrival] = field(default_factory=list)
    older: list[Arrival] | None = None
    """What REST gave when it was asked for a trade of long ago; None if it was not asked."""
    asked_id: int | None = None
    """The id that this page should begin with."""
    asked_ns: int | None = None
    """The time that this page should begin at."""
    subscribed_ns: int = 0


def missing_ids(arrivals: Iterable[Arrival]) -> int:
    """How many ids are missing between the first and the last of these trades.

    >>> row = (0, 0, 0, 0, 1.0, 1.0, 1, 0)
    >>> missing_ids([Arrival(7, 7, row), Arrival(3, 5, row), Arrival(7, 7, row)])
    1
    """
    spans = sorted((arrival.first, arrival.last) for arrival in arrivals)
    missing, last = 0, spans[0][0] - 1 if spans else 0
    for first, end in spans:
        missing += max(0, first - last - 1)
        last = max(last, end)
    return missing


def judged(venue: Venue, heard: Heard) -> list[Checked]:
    """The checks of one symbol."""
    checks = [_keyless(heard)]
    if venue.counts:
        checks += [_contiguous(heard), _complete(heard)]
    checks.append(_same(heard) if venue.each else _summed(heard))
    if venue.params.get("snapshot"):
        checks.append(_snapshot(heard))
    if heard.older is not None:
        checks.append(_reaches_back(heard))
    return [check._replace(check=f"{heard.symbol}: {check.check}") for check in checks]


def _keyless(heard: Heard) -> Checked:
    n = len(heard.pushed)
    expected = "the stream pushes trades without keys"
    return Checked("stream", expected, f"{n:,} trades", "confirmed" if n else "not seen in time")


def _contiguous(heard: Heard) -> Checked:
    """Of REST, since a stream may lose some."""
    page, missing = heard.page, missing_ids(heard.page)
    expected = "each trade has the id after that of the one before"
    if len(page) < 2:
        return Checked("ids", expected, f"{len(page)} trades over REST", "not seen in time")
    seen = f"{page[0].first} to {page[-1].last} over REST, {missing:,} missing"
    return Checked("ids", expected, seen, "differs" if missing else "confirmed")


def _complete(heard: Heard) -> Checked:
    expected = "every trade of REST was pushed too"
    told = {number for arrival in heard.pushed for number in range(arrival.first, arrival.last + 1)}
    both = [arrival for arrival in heard.page if told and min(told) <= arrival.last <= max(told)]
    if not both:
        return Checked("completeness", expected, "no trades to compare", "not seen in time")
    lost = sum(arrival.last not in told for arrival in both)
    seen = f"{len(both):,} of that time over REST, {lost:,} of them not pushed"
    return Checked("completeness", expected, seen, "differs" if lost else "confirmed")


def _same(heard: Heard) -> Checked:
    """Ids, prices, quantities, takers' sides and times of stream and REST."""
    expected = "a trade has the same id, price, quantity, side and time on the stream and over REST"
    over_rest = {arrival.last: arrival for arrival in heard.page}
    pairs = [(pushed, over_rest[pushed.last]) for pushed in heard.pushed if pushed.last in over_rest]
    if not pairs:
        seen = f"none of {len(heard.pushed):,} pushed trades over REST"
        enough = heard.pushed and heard.page and heard.page[-1].row[AVAILABLE_AT] > heard.pushed[0].row[AVAILABLE_AT]
        return Checked("one trade", expected, seen, "differs" if enough else "not seen in time")
    unlike = [pair for pair in pairs if not _alike(*(arrival.row for arrival in pair))]
    seen = f"{len(pairs):,} compared, {len(unlike):,} unlike"
    if unlike:
        pushed, rest = (arrival.row for arrival in unlike[0])
        seen += f": pushed {_told(pushed)}, REST {_told(rest)}"
    return Checked("one trade", expected, seen, "differs" if unlike else "confirmed")


def _alike(pushed: Sequence[float], rest: Sequence[float]) -> bool:
    near = abs(pushed[AVAILABLE_AT] - rest[AVAILABLE_AT]) < _MS_NS
    return near and pushed[_PRICE] == rest[_PRICE] and pushed[_QTY] == rest[_QTY] and pushed[_SIDE] == rest[_SIDE]


def _told(row: Sequence[float]) -> str:
    side = {1: "buy", -1: "sell"}.get(int(row[_SIDE]), "no side")
    return f"{row[3]} {side} {row[_QTY]:g} at {row[_PRICE]:g}, {iso(int(row[AVAILABLE_AT]))}"


def _summed(heard: Heard) -> Checked:
    """A pushed trade stands for the ids that end with its own, as many as it counts."""
    expected = "what is pushed is the sum of the `count` trades that end with its id"
    over_rest = {arrival.last: arrival.row for arrival in heard.page}
    compared = unlike = most = 0
    for pushed in heard.pushed:
        ids = range(pushed.first, pushed.last + 1)
        if all(number in over_rest for number in ids):
            total = sum(over_rest[number][_QTY] for number in ids)
            compared += 1
            most = max(most, len(ids))
            unlike += abs(total - pushed.row[_QTY]) > 1e-9 * total
    if not compared:
        return Checked("sums", expected, "no trades to compare", "not seen in time")
    seen = f"{compared:,} compared, of up to {most:,} trades, {unlike:,} unlike"
    return Checked("sums", expected, seen, "differs" if unlike else "confirmed")


def _snapshot(heard: Heard) -> Checked:
    expected = "a subscription begins with the newest trades of before"
    before = sum(arrival.row[AVAILABLE_AT] < heard.subscribed_ns for arrival in heard.pushed)
    enough = before or any(arrival.row[AVAILABLE_AT] < heard.subscribed_ns for arrival in heard.page)
    verdict: Verdict = "confirmed" if before else "differs" if enough and heard.pushed else "not seen in time"
    return Checked("snapshot", expected, f"{before:,} trades of before", verdict)


def _reaches_back(heard: Heard) -> Checked:
    expected = "REST serves old trades from the one that is asked for on"
    if not heard.older:
        return Checked("history", expected, "an empty page", "differs")
    first = heard.older[0]
    age_h = (heard.subscribed_ns - first.row[AVAILABLE_AT]) / (3600 * SECOND_NS)
    seen = f"id {first.first}, {age_h:,.1f} hours old"
    if heard.asked_id is not None:
        return Checked("history", expected, seen, "confirmed" if first.first == heard.asked_id else "differs")
    late_ns = first.row[AVAILABLE_AT] - (heard.asked_ns or 0)  # asked by time, nothing may have been traded for long
    return Checked("history", expected, seen, "confirmed" if late_ns < 3600 * SECOND_NS else "not seen in time")
