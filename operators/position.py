"""The paper life of one signal on closed base bars: filled at the next open, then stop, targets and time, pessimistically."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from events.schema import SYNTHETIC


class BaseBar(NamedTuple):
    """A closed base bar, `ts` its close."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    flags: int


class Step(NamedTuple):
    """One transition: state before and after, why, at what price, how much of the size closed, and R realised so far."""

    before: str | None
    after: str
    reason: str
    price: float | None
    closed: float = 0.0
    r_gross: float | None = None
    r_net: float | None = None


@dataclass
class Position:
    """A signal from creation to its end. Prices are per unit; R is |entry - stop|, measured with the real entry once filled.

    Funding is what the whole size pays at each settlement from after the entry to the exit: direction * rate * entry price. A
    part that a target closed goes on paying, as the specification has it.
    """

    signal_id: str
    direction: int
    ts: int
    price: float
    stop: float
    targets: tuple[float, ...]
    sizes: tuple[float, ...]
    valid_until: int
    hold_ns: int
    fee: float
    slip: float
    score: float
    agreement: float | None
    coverage: float
    theta: float
    regime: str | None = None
    state: str = "PENDING"
    seq: int = 0
    entry: float = 0.0
    entry_ts: int = 0
    left: float = 1.0
    hit: int = 0
    gross: float = 0.0
    fees: float = 0.0
    slippage: float = 0.0
    funding: float = 0.0
    settlements: tuple[tuple[int, float], ...] = ()
    mfe: float = 0.0
    mae: float = 0.0
    bars: int = 0

    def snapshot(self) -> dict[str, Any]:
        """Plain data; `Position(**data)` goes on from it."""
        return asdict(self)

    def on_bar(self, bar: BaseBar, base_ns: int, settlements: Iterable[tuple[int, float]] = ()) -> list[Step]:
        """What this base bar does to it; `settlements` are (time, rate) of all since the bar before, up to its close."""
        ts_open = bar.ts - base_ns
        steps: list[Step] = []
        if self.state == "PENDING":
            if ts_open >= self.valid_until or bar.flags & SYNTHETIC:
                if bar.ts < self.valid_until:
                    return []
                return [self._end("EXPIRED", "no_bar", None)]
            beyond = self.direction * (bar.open - self.stop) <= 0 or self.direction * (bar.open - self.targets[0]) >= 0
            if beyond or abs(bar.open / self.price - 1.0) > 0.005:
                return [self._end("CANCELLED", "price_moved", bar.open)]
            self.state, self.entry, self.entry_ts = "ACTIVE", bar.open, ts_open
            self.fees += bar.open * self.fee
            self.slippage += bar.open * self.slip
            steps.append(self._step("PENDING", "filled", bar.open, 0.0))
        self.bars += 1
        for ts, rate in settlements:
            if ts > self.entry_ts:
                self.funding += self.direction * rate * self.entry
                self.settlements += ((ts, rate),)
        return steps + self._exits(bar)

    def _exits(self, bar: BaseBar) -> list[Step]:
        sign, risk = self.direction, abs(self.entry - self.stop)
        worst, best = (bar.low, bar.high) if sign > 0 else (bar.high, bar.low)
        if sign * (worst - self.stop) <= 0:  # nothing else on this bar counts
            price = min(self.stop, bar.open) if sign > 0 else max(self.stop, bar.open)
            self.mae = max(self.mae, sign * (self.entry - price) / risk)
            return [self.close("sl", price)]
        self.mae = max(self.mae, sign * (self.entry - worst) / risk)
        self.mfe = max(self.mfe, sign * (best - self.entry) / risk)
        steps: list[Step] = []
        while self.hit < len(self.targets) and sign * (best - self.targets[self.hit]) >= 0:
            price, part = self.targets[self.hit], self.sizes[self.hit]
            self.hit += 1
            if self.hit == len(self.targets):
                steps.append(self.close("tp", price, slip=False))
                return steps
            self._realise(part, price, slip=False)
            steps.append(self._step("ACTIVE", f"tp{self.hit}", price, part))
        if bar.ts - self.entry_ts >= self.hold_ns:
            steps.append(self.close("time", bar.close))
        return steps

    def leave(self, price: float) -> Step:
        """Its instrument leaves the universe."""
        return self._end("CANCELLED", "universe", price) if self.state == "PENDING" else self.close("universe", price)

    def close(self, reason: str, price: float, slip: bool = True) -> Step:
        """Close what is left at `price`."""
        part = self.left
        self._realise(part, price, slip)
        self.left = 0.0
        before, self.state = self.state, "CLOSED"
        return self._step(before, reason, price, part)

    def _realise(self, part: float, price: float, slip: bool) -> None:
        self.gross += part * self.direction * (price - self.entry)
        self.fees += part * price * self.fee
        if slip:
            self.slippage += part * price * self.slip
        self.left = round(self.left - part, 12)

    def _end(self, state: str, reason: str, price: float | None) -> Step:
        before, self.state = self.state, state
        return Step(before, state, reason, price)

    def _step(self, before: str, reason: str, price: float, part: float) -> Step:
        return Step(before, self.state, reason, price, part, self.r_gross, self.r_net)

    @property
    def r_gross(self) -> float:
        """Realised so far, in R."""
        return self.gross / abs(self.entry - self.stop)

    @property
    def r_net(self) -> float:
        """Realised so far less fees, slippage and funding, in R."""
        return (self.gross - self.fees - self.slippage - self.funding) / abs(self.entry - self.stop)
