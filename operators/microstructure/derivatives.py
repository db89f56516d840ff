"""What perpetuals and their holders say: funding, basis, long/short ratio, and the index of fear and greed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from events.feeds import CONTEXT, LONG_SHORT, RATES, TICKERS
from events.frames import Array
from events.rows import CONTEXT_ROW, FUNDING, LONG_SHORT_ROW, TICKER
from events.schema import CONTEXT_NAMES, LONG_SHORT_BASES, MISSING, NEVER, SETTLED, SILENT
from events.times import DAY_NS, HOUR_NS, SECOND_NS
from operators.latest import Input
from operators.maths import kernel, soft, squash
from operators.microstructure.part import MicroSettings, Newest, Out
from operators.microstructure.windows import Rolling, Samples, freshness

LONGEST_NS: Final = 3 * 24 * HOUR_NS
"""No funding rate lives longer: three intervals of a day."""
TICKER_TTL_NS: Final = 180 * SECOND_NS
RATIO_NS: Final = 300 * SECOND_NS
FEAR_GREED_NS: Final = DAY_NS


@kernel
def contrarian(z: Array, dead: float, sign: float) -> Array:
    """-tanh(soft(z, dead) / 2) * sign: a crowd is faded once it stands more than `dead` deviations off. Source: file 05 section 2.

    >>> contrarian(np.array([1.8]), 1.0, 1.0).round(12).tolist()
    [-0.379948962255]
    """
    out = np.empty(len(z))
    for i in range(len(z)):
        out[i] = 0.0 - sign * squash(soft(z[i], dead))
    return out


@kernel
def log_odds(share: Array) -> Array:
    """ln(f / (1 - f)), as a difference, so that 1 - f gives exactly the opposite.

    >>> log_odds(np.array([0.62])).round(12).tolist()
    [0.489548225319]
    """
    out = np.empty(len(share))
    for i in range(len(share)):
        out[i] = math.log(share[i]) - math.log(1.0 - share[i])
    return out


@kernel
def fear_greed_score(value: Array, sign: float) -> Array:
    """-soft(v - 50, 25) / 25: fear is bought, greed is sold, beyond 25 points of the middle. Source: file 05 section 2.

    >>> fear_greed_score(np.array([80.0, 50.0, 10.0]), 1.0).tolist()
    [-0.2, 0.0, 0.6]
    """
    out = np.empty(len(value))
    for i in range(len(value)):
        out[i] = 0.0 - sign * soft(value[i] - 50.0, 25.0) / 25.0
    return out


def _sign(settings: MicroSettings, name: str) -> float:
    return -1.0 if name in settings.invert else 1.0


def _put_score(out: Out, name: str, u: Array, status: Array, age_ns: Array, period_ns: Array) -> None:
    """An event-clocked score and its freshness; both are missing once it is stale."""
    fresh = freshness(age_ns, period_ns)
    out.put(f"sentiment.{name}", u, np.where(np.isnan(fresh), MISSING, status))
    out.put(f"sentiment.{name}.freshness", fresh)


class Funding:
    """Funding: the newest rate, predicted or settled, against the last 90 settlements before it (at least 21).

    Predicted rows say what the rate is now and never enter the window; settlements do, each once. All rates are compared per
    hour of their intervals. A rate lives three of its intervals, its natural period is one.

    funding_rate: per interval, a fraction. funding_annual: rate * 24 / interval_h * 365, a fraction. funding_z: [-4, 4].
    `sentiment.funding`: -sq(soft(z, 1)). Source: file 05 section 2.
    """

    columns = (
        "funding_rate", "funding_annual", "funding_z", "sentiment.funding", "sentiment.funding.freshness",
    )  # fmt: skip

    def __init__(self, settings: MicroSettings) -> None:
        self.newest = Newest(Input(RATES, FUNDING, LONGEST_NS))
        self.settlements = Samples(90, 21)
        self.sign = _sign(settings, "funding")

    def advance(
        self, watermark: int, bars: Array, rows: Mapping[str, Array], control: Mapping[str, Array], out: Out
    ) -> None:
        """See `Part`."""
        times = np.ascontiguousarray(bars["available_at"])
        new = self.newest.taken(rows)
        if new is not None:
            settled = new[new["predicted"] == 0]
            self.settlements.add(settled["available_at"], settled["rate"] / settled["interval_h"])
        found, age = self.newest.advance(watermark, times, new, control)
        rate, interval_h = found["rate"].copy(), found["interval_h"]
        period = np.where(age == NEVER, 0.0, interval_h * HOUR_NS).astype(np.int64)
        rate[age > 3 * period] = np.nan
        z, status = self.settlements.z(times, rate / interval_h, (found["predicted"] == 0) & (age != NEVER))
        out.put("funding_rate", rate)
        out.put("funding_annual", rate * (24.0 / interval_h) * 365.0)
        out.put("funding_z", z, status)
        _put_score(out, "funding", contrarian(z, 1.0, self.sign), status, age, period)

    def snapshot(self) -> Any:
        """The newest rate, and the settlements."""
        return self.newest.snapshot(), self.settlements.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.newest.restore(snapshot[0])
        self.settlements.restore(snapshot[1])


def both_prices(rows: Array) -> Array:
    """Which rows say both the mark price and the index."""
    known: Array = np.isfinite(rows["mark"]) & np.isfinite(rows["index"]) & (rows["index"] > 0.0)
    return known


class Basis:
    """Basis: how far the mark price stands above the index, of the newest row of tickers or funding rates that says both.

    basis: (mark - index) / index, a fraction; it lives 180 s. basis_z: against the 1440 bars before (at least 360).
    `sentiment.basis`: -sq(soft(z, 2)). An instrument without tickers whose funding rates have never said both prices has no
    basis: its columns are SILENT. Source: file 05 section 2.
    """

    columns = ("basis", "basis_z", "sentiment.basis")

    def __init__(self, settings: MicroSettings, feeds: frozenset[str]) -> None:
        kinds = (Input(TICKERS, TICKER, TICKER_TTL_NS), Input(RATES, FUNDING, TICKER_TTL_NS))
        self.sources = [Newest(kind, both_prices) for kind in kinds if kind.name in feeds]
        self.applicable = TICKERS in feeds
        self.rolling = Rolling(1440, 360)
        self.sign = _sign(settings, "basis")

    def advance(
        self, watermark: int, bars: Array, rows: Mapping[str, Array], control: Mapping[str, Array], out: Out
    ) -> None:
        """See `Part`."""
        times = np.ascontiguousarray(bars["available_at"])
        basis, youngest = np.full(len(times), np.nan), np.full(len(times), np.iinfo(np.int64).max)
        for source in self.sources:
            found, age = source.advance(watermark, times, source.taken(rows), control)
            newer = (age != NEVER) & (age <= youngest)
            basis = np.where(newer, (found["mark"] - found["index"]) / found["index"], basis)
            youngest = np.where(newer, age, youngest)
        known = np.flatnonzero(np.isfinite(basis))
        n = 0 if self.applicable else int(known[0]) if len(known) else len(times)  # bars before any
        self.applicable |= len(known) > 0
        z, status = self.rolling.follow(basis[n:])
        before = np.full(n, SILENT, np.uint8)
        z, status = np.concatenate([np.full(n, np.nan), z]), np.concatenate([before, status])
        out.put("basis", basis, np.concatenate([before, np.full(len(times) - n, SETTLED, np.uint8)]))
        out.put("basis_z", z, status)
        out.put("sentiment.basis", contrarian(z, 2.0, self.sign), status)

    def snapshot(self) -> Any:
        """The newest rows, and the window."""
        return [source.snapshot() for source in self.sources], self.applicable, self.rolling.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        for source, held in zip(self.sources, snapshot[0]):
            source.restore(held)
        self.applicable = snapshot[1]
        self.rolling.restore(snapshot[2])


class LongShort:
    """Long/short ratio: the newest share of longs against the 2016 samples before it (at least 288).

    long_frac: the share of longs, (0, 1). long_short_z: z of ln(f / (1 - f)), [-4, 4]. `sentiment.long_short`: -sq(z). A
    sample's natural period is 300 s, it lives 900 s. Only samples of one basis (setting) are read. Source: file 05 section 2.
    """

    columns = ("long_frac", "long_short_z", "sentiment.long_short", "sentiment.long_short.freshness")

    def __init__(self, settings: MicroSettings) -> None:
        basis = LONG_SHORT_BASES.index(settings.long_short_basis)
        self.newest = Newest(Input(LONG_SHORT, LONG_SHORT_ROW, 3 * RATIO_NS), lambda rows: rows["basis"] == basis)
        self.samples = Samples(2016, 288)
        self.sign = _sign(settings, "long_short")

    def advance(
        self, watermark: int, bars: Array, rows: Mapping[str, Array], control: Mapping[str, Array], out: Out
    ) -> None:
        """See `Part`."""
        times = np.ascontiguousarray(bars["available_at"])
        new = self.newest.taken(rows)
        if new is not None:
            self.samples.add(new["available_at"], log_odds(np.ascontiguousarray(new["long_frac"])))
        found, age = self.newest.advance(watermark, times, new, control)
        current = log_odds(np.ascontiguousarray(found["long_frac"]))
        z, status = self.samples.z(times, current, age != NEVER)
        out.put("long_frac", found["long_frac"])
        out.put("long_short_z", z, status)
        _put_score(out, "long_short", contrarian(z, 0.0, self.sign), status, age, np.full(len(times), RATIO_NS))

    def snapshot(self) -> Any:
        """The newest sample, and the window."""
        return self.newest.snapshot(), self.samples.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.newest.restore(snapshot[0])
        self.samples.restore(snapshot[1])


class FearGreed:
    """The index of fear and greed: fear_greed, [0, 100], and `sentiment.fear_greed`: -soft(v - 50, 25) / 25. Its natural period
    is a day, it lives three. Source: file 05 section 2.
    """

    columns = ("fear_greed", "sentiment.fear_greed", "sentiment.fear_greed.freshness")

    def __init__(self, settings: MicroSettings) -> None:
        name = CONTEXT_NAMES.index("fear_greed")
        self.newest = Newest(Input(CONTEXT, CONTEXT_ROW, 3 * FEAR_GREED_NS), lambda rows: rows["name"] == name)
        self.sign = _sign(settings, "fear_greed")

    def advance(
        self, watermark: int, bars: Array, rows: Mapping[str, Array], control: Mapping[str, Array], out: Out
    ) -> None:
        """See `Part`."""
        times = np.ascontiguousarray(bars["available_at"])
        found, age = self.newest.advance(watermark, times, self.newest.taken(rows), control)
        value = np.ascontiguousarray(found["value"])
        out.put("fear_greed", value)
        u = fear_greed_score(value, self.sign)
        _put_score(out, "fear_greed", u, np.zeros(len(u), np.uint8), age, np.full(len(times), FEAR_GREED_NS))

    def snapshot(self) -> Any:
        """The newest figure."""
        return self.newest.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.newest.restore(snapshot)
