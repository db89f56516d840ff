"""Confluence: what all features of an instrument say together at the close of each base bar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from events.frames import Array, Rows
from events.identity import entry, is_spot
from events.records import DeadLetter
from events.rows import BAR, confluence_row
from events.schema import FOLD_MISSING, GAP, NEVER, PARTIAL, SETTLED, WARMING
from operators.analysis import Analysis
from operators.ballot import Ballot, BesideFeatures
from operators.confluence_kernels import blend, combine, empty_scores, hysteresis, prior_theta
from operators.indicators.regime import LOW_LIQUIDITY
from operators.latest import AsOf
from operators.market_gates import MarketGates
from operators.rules import Rule, Ruling
from operators.theta import PRIOR, ThetaMemory

GATES: Final = ("coverage", "ready", "gap", "book", "spread", "regime", "agreement")
"""What may block an entry, in the order of the gates of a confluence row. `regime` is open while the regime is unknown; `book`
and `spread` are open for an instrument without the streams that they judge, and shut where those say nothing.
"""
ATR: Final = "atr_14"
SWINGS: Final = ("swing.high", "swing.low")

FIXED: Final = 0
THETA_SOURCES: Final = ("fixed", "prior", "quantile")


class Voters(NamedTuple):
    """Who may vote for one instrument, where it is not all.

    Attributes:
        weights: of the dimensions, in their order; 0 for one that is not applicable, which then counts as if it were not there.
        theta_base: P of the prior.
        silent: the score columns that are not applicable.
        gates: those of `book` and `spread` that judge it; the other of them is open.
    """

    weights: tuple[float, ...]
    theta_base: float
    silent: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()


class ConfluenceSettings(NamedTuple):
    """What decides a score, as plain data.

    Attributes:
        timeframes: (name, length in ns, weight in the blend), the base first.
        dimensions: (name, weight), those that take part, in registry order.
        unblended: those of them that are of the base timeframe alone.
        risk_timeframe: whose ATR and swings make stops.
        regime_timeframe: whose regime gates entries and labels signals; the risk timeframe if None.
        theta: the threshold in points, "prior" for that of the voting set, "auto" to learn it from the days before.
        theta_base: P of the prior.
        release: points by which a score must fall back.
        min_coverage, min_agreement: gates.
        require_settled: whether the gate `ready` asks for settled values throughout.
        most_spread_bps, most_spread_pctl: the gate `spread` is open where the mean spread of the bar, or its rank among those of
            the bars before, is at most this.
        spot, derivatives: who votes for spot markets and for derivatives that `instruments` does not name; all, if not given.
        instruments: who votes for these.
    """

    timeframes: tuple[tuple[str, int, float], ...]
    dimensions: tuple[tuple[str, float], ...]
    risk_timeframe: str
    regime_timeframe: str | None = None
    theta: float | Literal["auto", "prior"] = "auto"
    theta_base: float = 16.0
    release: float = 5.0
    min_coverage: float = 0.6
    min_agreement: float = 0.0
    require_settled: bool = False
    unblended: tuple[str, ...] = ()
    most_spread_bps: float = 10.0
    most_spread_pctl: float = 0.95
    spot: Voters | None = None
    derivatives: Voters | None = None
    instruments: Mapping[str, Voters] = MappingProxyType({})

    def voters_of(self, instrument: str) -> Voters:
        """Who votes for an instrument."""
        others = self.spot if is_spot(instrument) else self.derivatives
        everyone = Voters(tuple(weight for _, weight in self.dimensions), self.theta_base)
        return entry(self.instruments, instrument, others or everyone)


def votes_row(timeframes: int, features: int) -> np.dtype[Any]:
    """The dtype of what signals need beside a confluence row: the base bar, ATR and the newest swings of the risk timeframe (NaN
    without), and each feature's points of the score.
    """
    prices = [(name, "f8") for name in ("open", "high", "low", "close", "atr", "swing_high", "swing_low")]
    return np.dtype([("available_at", "i8"), *prices, ("flags", "u2"), ("points", "f8", (timeframes, features))])


class Confluence:
    """In: base bars, and of each timeframe the features and what stands beside them. Out: "confluence", one row per base bar,
    "votes" beside it, and "dead_letters", one per row on which the rule failed.

    Args:
        settings: see `ConfluenceSettings`.
        analysis: the columns of the feature rows; every timeframe has the same.
        rule: what decides the entry state in place of the score, None for the score itself.
        atr: the column of the ATR that stops are sized by.
        beside: the streams beside the features whose scores vote too; the gates `book` and `spread` judge by "micro".

    The columns `regime`, `swing.high` and `swing.low` are used where the analysis has them.
    """

    outputs = ("confluence", "votes", "dead_letters")

    def __init__(
        self,
        settings: ConfluenceSettings,
        analysis: Analysis,
        rule: Rule | None = None,
        atr: str = ATR,
        beside: tuple[BesideFeatures, ...] = (),
    ) -> None:
        self.settings = settings
        self.clock = f"bars.{settings.timeframes[0][0]}"
        names = [name for name, _ in settings.dimensions]
        self.ballot = Ballot([(name, length) for name, length, _ in settings.timeframes], analysis, beside, names)
        self.feature_weight = np.array([score.weight for score in self.ballot.scores])
        self.dimension_of = np.array([names.index(score.dimension) for score in self.ballot.scores], np.int64)
        blended = [weight for _, _, weight in settings.timeframes]
        base_alone = [1.0, *[0.0] * (len(blended) - 1)]
        self.blend_weight = np.array([base_alone if name in settings.unblended else blended for name in names])
        self.atr, self.regime = analysis.index[atr], analysis.index.get("regime")
        self.swings = [analysis.index.get(name) for name in SWINGS]
        timeframes = [name for name, _, _ in settings.timeframes]
        self.risk = timeframes.index(settings.risk_timeframe)
        self.regime_of = timeframes.index(settings.regime_timeframe or settings.risk_timeframe)
        self.features = tuple(f"features.{name}" for name, _, _ in settings.timeframes)
        self.market = MarketGates(
            settings.timeframes[0][0], beside, settings.most_spread_bps, settings.most_spread_pctl
        )
        self.join = AsOf(tuple(self.ballot.inputs))
        self.dtype = confluence_row(len(names), len(GATES))
        self.votes = votes_row(len(self.features), len(self.ballot.scores))
        self.state = np.array([0, NEVER], np.int64)
        self.ruling = None if rule is None else Ruling(rule, analysis)
        self.instrument = ""

    @property
    def instrument(self) -> str:
        """Whose rows it gets; who votes follows from it."""
        return self._instrument

    @instrument.setter
    def instrument(self, name: str) -> None:
        self._instrument = name
        self.voters = self.settings.voters_of(name)
        self.weight = np.array(self.voters.weights)
        columns = [score.column for score in self.ballot.scores]
        self.silent = np.array([columns.index(column) for column in self.voters.silent], np.int64)
        self.priors: dict[int, float] = {}  # by voting set, worked out once
        self.learned = ThetaMemory(self.weight, self.voters.theta_base)

    @property
    def streams(self) -> tuple[str, ...]:
        """All that it waits for; the base bars drive."""
        return (self.clock, *(given.name for given in self.ballot.inputs))

    def promise(self, name: str, watermark: int) -> int:
        """As far as its inputs; dead letters promise nothing."""
        return NEVER if name == "dead_letters" else watermark

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Score every base bar that closed."""
        bars = rows.get(self.clock, _NO_BARS)
        times = np.ascontiguousarray(bars["available_at"])
        joined = self.join.advance(watermark, times, rows, control)
        if not len(bars):
            return
        n = len(bars)
        u, status, freshness = self.ballot.read(joined, n, self.silent)
        out, votes = np.empty(n, self.dtype), np.empty(n, self.votes)
        u_d, q_d = np.empty((n, len(self.weight))), np.empty((n, len(self.weight)))
        status_d, warming, share = np.empty(u_d.shape, np.uint8), np.zeros(n, np.uint8), np.zeros(u.shape)
        blend(
            u,
            status,
            freshness,
            self.blend_weight,
            self.feature_weight,
            self.dimension_of,
            u_d,
            q_d,
            status_d,
            share,
            warming,
        )
        m, coverage, agreement, dispersion, unit, mask = empty_scores(n, len(self.weight))
        combine(u_d, q_d, status_d, self.weight, m, coverage, agreement, dispersion, unit, mask)
        theta, source = self._theta(bars, m, mask)
        state, since = np.empty(n, np.int64), np.empty(n, np.int64)
        score = 50.0 + 50.0 * m
        hysteresis(score, theta, self.settings.release, times, self.state, state, since)
        failures: list[tuple[int, str]] = []
        if self.ruling is not None:
            own = {"score": score, "m": m, "coverage": coverage, "agreement": agreement, "dispersion": dispersion}
            inputs = self.ruling.inputs(bars, {**own, "theta": theta, "state": state}, joined)
            state, since, failures = self.ruling.apply(inputs, times)
        for field, values in (
            ("available_at", times), ("score", score), ("m", m), ("coverage", coverage), ("agreement", agreement),
            ("dispersion", dispersion), ("theta", theta), ("warming", warming), ("state", state), ("state_since", since),
            ("u", u_d), ("weight", self.weight), ("q", q_d), ("contribution", unit * u_d), ("status", status_d),
        ):  # fmt: skip
            out[field] = values
        out["theta_source"], out["regime"] = source, self._regime(joined)
        self._gates(out["gates"], bars, joined, coverage, agreement, status, out["regime"])
        for field in ("available_at", "open", "high", "low", "close", "flags"):
            votes[field] = bars[field]
        risk = joined[self.features[self.risk]][0]["values"]
        for field, column in (("atr", self.atr), ("swing_high", self.swings[0]), ("swing_low", self.swings[1])):
            votes[field] = np.nan if column is None else risk[:, column]
        votes["points"] = share * np.nan_to_num(unit)[:, None, self.dimension_of]
        yield "confluence", out
        yield "votes", votes
        if failures:
            yield "dead_letters", tuple(self._dead(bars[row], reason) for row, reason in failures)

    def _dead(self, bar: Array, reason: str) -> DeadLetter:
        assert self.ruling is not None
        ts, g, name = int(bar["available_at"]), int(bar["g"]), self.ruling.rule.name
        return DeadLetter(
            key=self.instrument, ts=ts, source=f"{self.instrument}/confluence/{name}", offset=g, ts_event=ts, ts_recv=ts,
            step="confluence", reason="RULE", detail=f"rule {name} failed at bar {g}: {reason}"[:500], raw={},
        )  # fmt: skip

    def _regime(self, joined: dict[str, tuple[Array, Array]]) -> Array:
        """The code of the regime per row, NEVER where there is none."""
        rows = joined[self.features[self.regime_of]][0]
        if self.regime is None:
            return np.full(len(rows), NEVER, np.int64)
        codes = rows["values"][:, self.regime]
        known = ~np.isnan(codes)
        return np.where(known, np.where(known, codes, 0.0).astype(np.int64), NEVER)

    def _theta(self, bars: Array, m: Array, mask: Array) -> tuple[Array, Array]:
        """(theta, source) per row."""
        fixed, n = self.settings.theta, len(bars)
        if isinstance(fixed, float):
            return np.full(n, fixed), np.full(n, FIXED, np.uint8)
        if fixed == "prior":
            for voted in set(mask.tolist()) - self.priors.keys():
                self.priors[voted] = prior_theta(self.weight, voted, self.voters.theta_base)
            return np.array([self.priors[voted] for voted in mask.tolist()]), np.full(n, PRIOR, np.uint8)
        if self.learned.covered_ns is None:
            whole = np.flatnonzero(bars["flags"] & PARTIAL == 0)
            if len(whole):
                self.learned.cover(int(bars["ts_open"][whole[0]]))
        return self.learned.apply(np.ascontiguousarray(bars["available_at"]), m, mask)

    def _gates(
        self,
        gates: Array,
        bars: Array,
        joined: dict[str, tuple[Array, Array]],
        coverage: Array,
        agreement: Array,
        status: Array,
        regime: Array,
    ) -> None:
        settings = self.settings
        ready = np.ones(len(bars), np.bool_)
        for name in {self.features[0], self.features[self.risk]}:
            ready &= joined[name][0]["status"][:, self.atr] <= WARMING
        if settings.require_settled:
            voting = (status <= WARMING) & (self.blend_weight[self.dimension_of].T > 0)[None]
            ready &= ~(voting & (status > SETTLED)).any(axis=(1, 2))
        gates[:, 0] = coverage >= settings.min_coverage
        gates[:, 1] = ready
        gates[:, 2] = bars["flags"] & (GAP | FOLD_MISSING) == 0
        gates[:, 3], gates[:, 4] = self.market.judge(joined, self.voters.gates, len(bars))
        gates[:, 5] = regime != LOW_LIQUIDITY
        gates[:, 6] = True if settings.min_agreement <= 0 else agreement >= settings.min_agreement

    def snapshot(self) -> Any:
        """The newest features, and the entry state."""
        ruling = self.ruling and self.ruling.snapshot()
        return self.join.snapshot(), tuple(self.state.tolist()), self.learned.snapshot(), ruling

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.join.restore(snapshot[0])
        self.state = np.array(snapshot[1], np.int64)
        self.learned.restore(snapshot[2])
        if self.ruling is not None:
            self.ruling.restore(snapshot[3])


_NO_BARS = np.empty(0, BAR)
