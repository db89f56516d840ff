"""Signals and their outcomes: one core per instrument, which holds at most one open signal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

from events.frames import NO_CONTROL, Array, Rows
from events.identity import id_of
from events.records import DimensionShare, Outcome, Record, Side, Signal, SignalUpdate
from events.rows import MARKET_ROW
from events.schema import FROM_OHLCV, LEAVE, MARKET_REGIME_NAMES, NEVER
from operators.indicators.regime import LOW_LIQUIDITY, REGIMES
from operators.latest import AsOf, Input
from operators.market import EARLIER
from operators.position import BaseBar, Position, Step
from operators.reliability import reliability
from operators.risk import LOT, MULTIPLES, TARGET_SIZES, RiskSettings, levels, size

GRACE_BARS: Final = 3
"""How many base bars after a change of state blocked gates may still open."""
TOP: Final = 3


class SignalSettings(NamedTuple):
    """What decides signals, as plain data.

    Attributes:
        timeframe: (name, length in ns) of the risk timeframe.
        base_ns: length of the base bars.
        dimensions: names, in registry order.
        features: (dimension, name) of the feature columns of votes.
        timeframes: names of the timeframes of votes.
        analysis_hash: of the run; part of every signal's id.
        cooldown_bars, hold_bars: in bars of the risk timeframe.
        fee_bps, slip_bps: costs of a fill.
        risk: see `RiskSettings`.
        lots: steps of quantities, by instrument.
        close_on_illiquid: whether the regime LOW_LIQUIDITY ends a signal.
        shut_markets: regimes of the market in which no long begins.
        calibration: the reliability table, as plain data (`operators.reliability`), None without one.
    """

    timeframe: tuple[str, int]
    base_ns: int
    dimensions: tuple[str, ...]
    features: tuple[tuple[str, str], ...]
    timeframes: tuple[str, ...]
    analysis_hash: str
    cooldown_bars: int = 3
    hold_bars: int = 48
    fee_bps: float = 5.0
    slip_bps: float = 2.0
    risk: RiskSettings = RiskSettings()
    lots: Mapping[str, float] = MappingProxyType({})
    close_on_illiquid: bool = False
    shut_markets: tuple[str, ...] = ()
    calibration: Mapping[str, Any] | None = None


class Signals:
    """In: "confluence" and "votes", "funding" and "market.1m" if so asked. Out: "signals", "updates" (each step of a signal),
    "outcomes".

    Order at a boundary: fill, funding, stop, target and time on the base bar that closed; then the score; then reversal, then an
    illiquid market; then a new signal. A signal is made when the entry state changes to LONG or SHORT and all gates are open, or
    on the first of the next three base bars on which they are.

    Args:
        settings: see `SignalSettings`.
        funding: whether there is a stream of funding rates. Its settlements (rows that are no predictions) are costs; one that
            does not come is not charged.
        preloaded: whether base bars of klines are history from before a live run, which makes no signals.
        market: whether there are figures of the whole market. A signal at t bears the regime that was known before t, and that is
            younger than two base bars.
    """

    instrument = ""
    outputs = ("signals", "updates", "outcomes")

    def __init__(
        self, settings: SignalSettings, funding: bool = False, preloaded: bool = False, market: bool = False
    ) -> None:
        self.settings, self.funding, self.preloaded, self.market = settings, funding, preloaded, market
        # rows of the market are a nanosecond younger here than their boundaries
        self.join = AsOf((Input(EARLIER, MARKET_ROW, 2 * settings.base_ns - 2),) if market else ())
        self.due: tuple[tuple[int, float], ...] = ()  # settlements that no base bar has met yet
        self.open: Position | None = None
        self.state = 0
        self.grace = 0  # base bars left in which a blocked change may still signal
        self.cool_until = NEVER
        self.last = (NEVER, math.nan)  # close of the newest base bar: when, and at what price

    @property
    def streams(self) -> tuple[str, ...]:
        """All that it waits for; funding rates and figures of the market where the run has them."""
        return ("confluence", "votes", *["funding"] * self.funding, *[EARLIER] * self.market)

    def promise(self, name: str, watermark: int) -> int:
        """As far as its inputs."""
        return watermark

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Walk the boundaries at which something can happen."""
        if "funding" in rows:
            new = rows["funding"]
            new = new[new["predicted"] == 0]
            self.due += tuple(zip(new["available_at"].tolist(), new["rate"].tolist()))
        out: dict[str, list[Record]] = {name: [] for name in self.outputs}
        scores = rows.get("confluence")
        times = _NO_TIMES if scores is None else np.ascontiguousarray(scores["available_at"])
        joined = self.join.advance(watermark, times, rows, control)
        if scores is not None:
            regimes = joined[EARLIER][0]["market_regime"] if self.market else np.full(len(scores), NEVER)
            self._walk(scores, rows["votes"], regimes, out)
        if LEAVE in control.get("confluence", NO_CONTROL)["kind"] and self.open is not None:
            ts, price = self.last
            self._told([self.open.leave(price)], ts, out)
        yield from ((name, tuple(records)) for name, records in out.items() if records)
        if self.open is None:  # a later signal is entered after all of them
            self.due = ()

    def _walk(self, scores: Array, votes: Array, regimes: Array, out: dict[str, list[Record]]) -> None:
        state = scores["state"].astype(np.int64)
        changes = np.flatnonzero(state != np.append(self.state, state[:-1]))
        i = 0
        while i < len(scores):
            if self.open is None and self.grace == 0:  # idle until the state changes
                later = changes[changes.searchsorted(i) :]
                if not len(later):
                    break
                i = int(later[0])
            regime = MARKET_REGIME_NAMES.get(int(regimes[i]))
            self._at(scores[i], votes[i], int(state[i - 1]) if i else self.state, regime, out)
            i += 1
        if len(state):
            self.state, self.last = int(state[-1]), (int(scores["available_at"][-1]), float(votes["close"][-1]))

    def _settled(self, ts: int) -> tuple[tuple[int, float], ...]:
        """Take out the settlements up to `ts`."""
        n = 0
        while n < len(self.due) and self.due[n][0] <= ts:
            n += 1
        taken, self.due = self.due[:n], self.due[n:]
        return taken

    def _at(self, score: Any, votes: Any, before: int, market: str | None, out: dict[str, list[Record]]) -> None:
        ts, state = int(score["available_at"]), int(score["state"])
        if self.open is not None:
            bar = BaseBar(ts, *votes[["open", "high", "low", "close", "flags"]].item())
            self._told(self.open.on_bar(bar, self.settings.base_ns, self._settled(ts)), ts, out)
        if self.open is not None and self.open.state == "ACTIVE":
            illiquid = self.settings.close_on_illiquid and score["regime"] == LOW_LIQUIDITY
            reason = "reversal" if state == -self.open.direction else "invalidated" if illiquid else None
            if reason:
                self._told([self.open.close(reason, float(votes["close"]))], ts, out)
        changed = state != before
        if changed:
            self.grace = 0
        elif self.grace:
            self.grace -= 1
            changed = True
        if self.preloaded and votes["flags"] & FROM_OHLCV:
            self.grace = 0
            return
        if state == 0 or not changed or self.open is not None or ts < self.cool_until:
            self.grace = self.grace if state else 0
            return
        shut = state > 0 and market in self.settings.shut_markets
        if all(score["gates"]) and not shut:
            self.grace = 0
            self._signal(score, votes, state, ts, market, out)
        elif state != before:
            self.grace = GRACE_BARS

    def _signal(
        self, score: Any, votes: Any, state: int, ts: int, market: str | None, out: dict[str, list[Record]]
    ) -> None:
        s = self.settings
        price, atr = float(votes["close"]), float(votes["atr"])
        swing = float(votes["swing_low" if state > 0 else "swing_high"]) if s.risk.structural else math.nan
        stop, targets, distance, stop_source = levels(state, price, atr, s.risk.stop_atr, swing)
        advised, why_not = size(price, distance, s.risk, s.lots.get(self.instrument, LOT))
        side: Side = "LONG" if state > 0 else "SHORT"
        tf, tf_ns = s.timeframe
        signal_id = id_of("signal", self.instrument, tf, ts, side, s.analysis_hash)
        agreement = None if np.isnan(score["agreement"]) else float(score["agreement"])
        common = {
            "score": float(score["score"]), "agreement": agreement, "coverage": float(score["coverage"]),
            "theta": float(score["theta"]), "regime": REGIMES.get(int(score["regime"])),
        }  # fmt: skip
        out["signals"].append(
            Signal(
                key=self.instrument,
                ts=ts,
                signal_id=signal_id,
                tf=tf,
                side=side,
                **common,
                **self._reliability(ts, common),
                strength=abs(float(score["m"])),
                dispersion=float(score["dispersion"]),
                warming=bool(score["warming"]),
                market_regime=market,
                price=price,
                atr=atr,
                valid_bars=1,
                stop=stop,
                targets=targets,
                target_sizes=TARGET_SIZES,
                stop_source=stop_source,
                rr=sum(part * multiple for part, multiple in zip(TARGET_SIZES, MULTIPLES)),
                risk_pct=abs(price - stop) / price,
                size=advised,
                size_reason=why_not,
                components=self._components(score, votes),
                analysis_hash=s.analysis_hash,
            )
        )
        self.open = Position(
            signal_id=signal_id, direction=state, ts=ts, price=price, stop=stop, targets=targets, sizes=TARGET_SIZES,
            valid_until=ts + s.base_ns, hold_ns=s.hold_bars * tf_ns, fee=s.fee_bps * 1e-4, slip=s.slip_bps * 1e-4, **common,  # type: ignore[arg-type]
        )  # fmt: skip
        self._told([Step(None, "PENDING", "new", price)], ts, out)

    def _reliability(self, ts: int, like: Mapping[str, Any]) -> dict[str, Any]:
        table = self.settings.calibration
        if table is None:
            return {}
        rate = reliability(table, like["score"], like["agreement"], like["regime"])
        return {"reliability": rate, "calibrated": True, "in_sample": ts < table["ts_to"]}

    def _components(self, score: Any, votes: Any) -> dict[str, DimensionShare]:
        found = {}
        for d, name in enumerate(self.settings.dimensions):
            if np.isnan(score["u"][d]):
                continue
            points = {
                f"{feature}@{timeframe}": float(votes["points"][s, f])
                for s, timeframe in enumerate(self.settings.timeframes)
                for f, (dimension, feature) in enumerate(self.settings.features)
                if dimension == name and votes["points"][s, f] != 0.0
            }
            top = sorted(points, key=lambda feature: (-abs(points[feature]), feature))[:TOP]
            found[name] = DimensionShare(
                u=float(score["u"][d]), weight=float(score["weight"][d]), q=float(score["q"][d]),
                contribution=float(score["contribution"][d]), top={feature: points[feature] for feature in top},
            )  # fmt: skip
        return found

    def _told(self, steps: list[Step], ts: int, out: dict[str, list[Record]]) -> None:
        position = self.open
        if position is None:
            return
        for step in steps:
            out["updates"].append(
                SignalUpdate(
                    key=self.instrument,
                    ts=ts,
                    signal_id=position.signal_id,
                    seq=position.seq,
                    from_state=step.before,
                    to=step.after,
                    price=step.price,
                    reason=step.reason,
                    size_closed=step.closed,
                    r_gross=step.r_gross,
                    r_net=step.r_net,
                    analysis_hash=self.settings.analysis_hash,
                )
            )
            position.seq += 1
            if step.after in ("CLOSED", "CANCELLED", "EXPIRED"):
                self.open = None
                self.cool_until = ts + self.settings.cooldown_bars * self.settings.timeframe[1]
                if step.after == "CLOSED":
                    out["outcomes"].append(self._outcome(position, step, ts))

    def _outcome(self, position: Position, step: Step, ts: int) -> Outcome:
        return Outcome(
            key=self.instrument, ts=ts, signal_id=position.signal_id, side="LONG" if position.direction > 0 else "SHORT",
            ts_open=position.entry_ts, ts_close=ts, exit_reason=step.reason, r_gross=position.r_gross, r_net=position.r_net,
            mfe=position.mfe, mae=position.mae, bars_held=position.bars, fees=position.fees, slippage=position.slippage,
            funding=position.funding if self.funding else None, settlements=position.settlements, regime=position.regime,
            score=position.score, agreement=position.agreement, coverage=position.coverage,
            theta=position.theta, analysis_hash=self.settings.analysis_hash,
        )  # fmt: skip

    def snapshot(self) -> Any:
        """The open signal, the entry state, the cool-down, and the settlements that no base bar has met."""
        held = self.state, self.grace, self.cool_until, self.due, self.last
        return self.open and self.open.snapshot(), held, self.join.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        position, (self.state, self.grace, self.cool_until, self.due, self.last), joined = snapshot
        self.open = Position(**position) if position else None
        self.join.restore(joined)


_NO_TIMES = np.empty(0, np.int64)
