"""Best quotes, for instruments without a book: reduced to minutes at once, and what the minutes say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from events.feeds import FEEDS, TOPS
from events.frames import Array, Rows
from events.rows import QUOTE_MINUTE
from events.schema import NEVER
from events.times import SECOND_NS
from operators.maths import kernel
from operators.microstructure.part import Out
from operators.microstructure.windows import Rolling, Spans

QUOTE_MINUTES: Final = "top.1m"
QUOTE_AGE_NS: Final = 30 * SECOND_NS
"""So long a quote stands without a newer one. Source: file 01 section 4."""

_NONE: Final = np.empty(0, QUOTE_MINUTE)


@kernel
def _stand(until: int, base_ns: int, marks: Array, quote: Array, sums: Array, out: Array, made: int) -> int:
    """Count the quote up to a time, as far as it is not too old, and give out the minutes that are over; how many are out.

    `marks` are (time of the quote, counted up to, close of the open minute, its known time, time of its last quote), `quote` (bid,
    size, ask, size), `sums` (spread, imbalance, wmid of the last) of the open minute.
    """
    at, end = marks[1], min(until, marks[0] + QUOTE_AGE_NS)
    bid, bid_qty, ask, ask_qty = quote[0], quote[1], quote[2], quote[3]
    while at < end:
        close = (at // base_ns + 1) * base_ns
        if close != marks[2]:
            made = _close(marks, sums, out, made)
            marks[2] = close
        lasted = min(end, close) - at
        sums[0] += float(lasted) * (1e4 * (ask - bid) / ((bid + ask) / 2.0))
        sums[1] += float(lasted) * ((bid_qty - ask_qty) / (bid_qty + ask_qty))
        sums[2] = (ask * bid_qty + bid * ask_qty) / (bid_qty + ask_qty)
        marks[3], marks[4] = marks[3] + lasted, marks[0]
        at += lasted
    marks[1] = max(marks[1], until)
    return made


@kernel
def _close(marks: Array, sums: Array, out: Array, made: int) -> int:
    """Give out the open minute, if anything is known of it."""
    if marks[3] > 0:
        row, known = out[made], float(marks[3])
        row.available_at, row.known_ns, row.age_ns = marks[2], marks[3], marks[2] - marks[4]
        row.spread_bps, row.imb_1, row.wmid = sums[0] / known, sums[1] / known, sums[2]
        made += 1
    marks[3], sums[0], sums[1] = 0, 0.0, 0.0
    return made


@kernel
def follow_quotes(
    at: Array, bid: Array, bid_qty: Array, ask: Array, ask_qty: Array, boundary: int, base_ns: int, marks: Array,
    quote: Array, sums: Array, out: Array,
) -> int:  # fmt: skip
    """Take quotes in, fill `out` with the minutes that end by `boundary`; how many."""
    made = 0
    for j in range(len(at)):
        if marks[0] != NEVER:
            made = _stand(at[j], base_ns, marks, quote, sums, out, made)
        marks[0] = marks[1] = at[j]
        quote[0], quote[1], quote[2], quote[3] = bid[j], bid_qty[j], ask[j], ask_qty[j]
    if marks[0] != NEVER:
        made = _stand(boundary, base_ns, marks, quote, sums, out, made)
        if marks[2] <= boundary:
            made = _close(marks, sums, out, made)
    return made


class QuoteMinutes:
    """In: "top", best quotes. Out: "top.1m", a row per base bar [t - base, t) in which a quote was known.

    Means are over time, each quote weighted by how long it stood; it stands until the next, for at most 30 s. Spot quotes may carry
    the time of receipt instead of the venue's, and are then no better placed in time than the clocks agree. Source: file 04
    sections 1 and 3.
    """

    instrument = ""
    outputs = (QUOTE_MINUTES,)

    def __init__(self, base_ns: int) -> None:
        self.base_ns = base_ns
        self.marks = np.array([NEVER, NEVER, NEVER, 0, NEVER], np.int64)
        self.quote, self.sums = np.full(4, np.nan), np.zeros(3)

    def promise(self, name: str, watermark: int) -> int:
        """Up to the last boundary that is complete."""
        return (watermark - 1) // self.base_ns * self.base_ns + 1

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Close minutes."""
        quotes, boundary = rows.get(TOPS, FEEDS[TOPS].empty), (watermark - 1) // self.base_ns * self.base_ns
        out = np.empty(2 * len(quotes) + 2, QUOTE_MINUTE)
        at, bid, bid_qty, ask, ask_qty = (
            np.ascontiguousarray(quotes[name]) for name in ("available_at", "bid", "bid_qty", "ask", "ask_qty")
        )
        made = follow_quotes(
            at, bid, bid_qty, ask, ask_qty, boundary, self.base_ns, self.marks, self.quote, self.sums, out,
        )  # fmt: skip
        yield QUOTE_MINUTES, out[:made]

    def snapshot(self) -> Any:
        """The newest quote, and the open minute."""
        return tuple(self.marks.tolist()), tuple(self.quote.tolist()), tuple(self.sums.tolist())

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.marks = np.array(snapshot[0], np.int64)
        self.quote, self.sums = np.array(snapshot[1]), np.array(snapshot[2])


class Quotes:
    """Best quotes over each base bar, of an instrument without a book: spread_bps, imb_1, micro_dev (which of best quotes is the
    same), wmid, spread_pctl and `liquidity.microprice`, as `Book` has them, and missing as there.
    """

    columns = ("spread_bps", "imb_1", "micro_dev", "wmid", "spread_pctl", "liquidity.microprice")

    def __init__(self, base_ns: int) -> None:
        self.base_ns = base_ns
        self.voids = Spans(QUOTE_MINUTES)
        self.spread = Rolling(1440, rank=True)

    def advance(
        self, watermark: int, bars: Array, rows: Mapping[str, Array], control: Mapping[str, Array], out: Out
    ) -> None:
        """See `Part`."""
        times = np.ascontiguousarray(bars["available_at"])
        voided = self.voids.met(times - self.base_ns, times, control, watermark - self.base_ns)
        minutes = rows.get(QUOTE_MINUTES, _NONE)
        place = minutes["available_at"].searchsorted(times)
        told = (place < len(minutes)) & ~voided
        place = place[told]
        told[told] = (
            (minutes["available_at"][place] == times[told])
            & (2 * minutes["known_ns"][place] >= self.base_ns)
            & (minutes["age_ns"][place] <= QUOTE_AGE_NS)
        )
        found = np.full((len(times), 3), np.nan)
        kept = minutes[minutes["available_at"].searchsorted(times[told])]
        for k, field in enumerate(("spread_bps", "imb_1", "wmid")):
            found[told, k] = kept[field]
        spread, imbalance, wmid = found.T
        for name, values in (
            ("spread_bps", spread), ("imb_1", imbalance), ("micro_dev", imbalance), ("wmid", wmid),
            ("liquidity.microprice", imbalance),
        ):  # fmt: skip
            out.put(name, values)
        out.put("spread_pctl", *self.spread.follow(np.ascontiguousarray(spread)))

    def snapshot(self) -> Any:
        """The voids, and the window."""
        return self.voids.snapshot(), self.spread.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.voids.restore(snapshot[0])
        self.spread.restore(snapshot[1])
