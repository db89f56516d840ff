"""A second order book, the plain way: dictionaries, every state written down, and what follows from them by the definitions."""

from __future__ import annotations

import math
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from events.schema import BOOK_SNAPSHOT, NEVER
from events.times import MINUTE_NS, SECOND_NS

Side = list[tuple[float, float]]


class State(NamedTuple):
    """The book from `since` on, until the next state, at most 30 s; no sides where it is not known."""

    since: int
    bids: Side
    asks: Side
    begins: bool  # no flow leads here from the state before
    known: bool = True


def updates(rows: Any) -> list[Any]:
    """The rows of a book, cut into its updates."""
    return np.split(rows, np.flatnonzero(rows["last"])[:-1] + 1) if len(rows) else []


class SimpleBook:
    """Takes updates one by one; `states` are all that the book was in, `healed` how often it began again."""

    def __init__(self) -> None:
        self.sides: dict[int, dict[float, float]] = {1: {}, -1: {}}
        self.u: int | None = None
        self.synced, self.fresh = False, False
        self.waiting: list[Any] = []
        self.states: list[State] = []
        self.broken: list[tuple[int, str]] = []
        self.begins = True

    def take(self, update: Any, at: int | None = None) -> None:
        at = int(update["available_at"][0]) if at is None else at
        if update["kind"][0] == BOOK_SNAPSHOT:
            self._snapshot(update, at)
        elif not self.synced:
            self.waiting.append(update)
        else:
            self._delta(update, at)

    def _snapshot(self, update: Any, at: int) -> None:
        begins = not self.synced or not self.fresh
        waiting, self.waiting = self.waiting, []
        self.sides = {1: {}, -1: {}}
        nonce = int(update["u_last"][0])
        self.u, self.synced, self.fresh = None if nonce == NEVER else nonce, True, True
        self._set(update, at, begins)
        for held in waiting if self.u is not None else ():
            self.take(held, at)

    def _delta(self, update: Any, at: int) -> None:
        u_first, u_last, u_prev = (int(update[name][0]) for name in ("u_first", "u_last", "u_prev"))
        if self.u is not None and u_last != NEVER:
            if u_last <= self.u:
                return
            named = u_prev != NEVER
            if not (u_prev == self.u or (self.fresh and u_prev <= self.u) if named else u_first <= self.u + 1):
                self._drop(at, "BOOK_SEQ")
                return
        if u_last != NEVER:
            self.u = u_last
        self.fresh = False
        self._set(update, at, False)

    def _set(self, update: Any, at: int, begins: bool) -> None:
        for row in update:
            if row["side"]:
                self.sides[int(row["side"])][float(row["price"])] = float(row["qty"])
        self.sides = {side: {p: q for p, q in levels.items() if q > 0} for side, levels in self.sides.items()}
        bids = sorted(self.sides[1].items(), reverse=True)
        asks = sorted(self.sides[-1].items())
        if bids and asks and bids[0][0] >= asks[0][0]:
            self._drop(at, "CROSSED")
            return
        old = not self.states or at > self.states[-1].since + 30 * SECOND_NS
        self.states.append(State(at, bids, asks, begins or old))

    def _drop(self, at: int, why: str) -> None:
        self.broken.append((at, why))
        self.synced, self.u, self.sides = False, None, {1: {}, -1: {}}
        self.states.append(State(at, [], [], True, known=False))


def flows(before: Side, after: Side, carried: list[tuple[float, float]], sign: int) -> list[float]:
    """Of one side, by level: what came less what went; `carried` is what each level was, an absent one at its last price."""
    out = []
    for m in range(5):
        price_before, size_before = carried[m]
        price, size = after[m] if m < len(after) else (price_before, 0.0)
        out.append(size * (sign * price >= sign * price_before) - size_before * (sign * price <= sign * price_before))
        carried[m] = (price, size)
    return out


def shape(bids: Side, asks: Side, depth: int, cap_mult: float | None) -> dict[str, float]:
    """All columns but flows of a book with both sides."""
    raw_bids, raw_asks = bids, asks
    if cap_mult is not None:
        cap = cap_mult * median([q for _, q in bids[:20]] + [q for _, q in asks[:20]])
        bids, asks = ([(p, min(q, cap)) for p, q in side] for side in (bids, asks))
    bids, asks = bids[:depth], asks[:depth]
    bid, bid_qty, ask, ask_qty = *bids[0], *asks[0]
    mid = (bid + ask) / 2
    wmid = (ask * bid_qty + bid * ask_qty) / (bid_qty + ask_qty)

    def away(price: float) -> float:
        return 1e4 * abs(price - mid) / mid

    def balance(a: float, b: float) -> float:
        return (a - b) / (a + b) if a + b else math.nan

    def size(side: Side, k: int) -> float:
        return math.fsum(q for _, q in side[:k])

    out = {f"ad_{m + 1}": (size(raw_bids[m : m + 1], 1) + size(raw_asks[m : m + 1], 1)) / 2 for m in range(5)}
    out |= {f"imb_{k}": balance(size(bids, k), size(asks, k)) for k in (1, 5)}
    band = [math.fsum(math.exp(-away(p) / 10) * q for p, q in side if away(p) <= 50) for side in (bids, asks)]
    out |= {"imb_band": balance(*band), "micro_dev": (wmid - mid) / ((ask - bid) / 2)}
    out |= {"spread_bps": 1e4 * (ask - bid) / mid}
    for name, side in (("bid", bids), ("ask", asks)):
        for bps in (10, 25, 50):
            out[f"depth_{name}_{bps}_usd"] = math.fsum(p * q for p, q in side if away(p) <= bps)
        near = [(away(p), p * q) for p, q in side if away(p) <= 50]
        total = np.cumsum([n for _, n in near])
        squares = math.fsum(d * d for d, _ in near)
        products = math.fsum(d * n for (d, _), n in zip(near, total))
        out[f"book_slope_{name}"] = products / squares if squares else math.nan
    out |= {"mid": mid, "wmid": wmid, "bid": bid, "bid_qty": raw_bids[0][1], "ask": ask, "ask_qty": raw_asks[0][1]}
    for label, notional in (("10k", 1e4), ("100k", 1e5)):
        for name, side, sign in (("buy", asks, 1), ("sell", bids, -1)):
            left, quantity = notional, 0.0
            for price, q in side:
                part = min(left, price * q)
                quantity, left = quantity + part / price, left - part
            vwap = notional / quantity
            out[f"ctt_{name}_{label}"] = 1e4 * sign * (vwap - mid) / mid if left <= 0 else math.nan
    return out


MEANS = (
    *(f"ad_{m}" for m in range(1, 6)),
    "imb_1",
    "imb_5",
    "imb_band",
    "micro_dev",
    "spread_bps",
    *(f"depth_{side}_{bps}_usd" for side in ("bid", "ask") for bps in (10, 25, 50)),
)


def minutes(book: SimpleBook, until: int, depth: int, cap_mult: float | None) -> dict[int, dict[str, float]]:
    """By the end of the minute: flows, means and last values, and for how long the book was known."""
    out: dict[int, dict[str, float]] = {}
    carried: dict[int, list[tuple[float, float]]] = {}
    for k, state in enumerate(book.states):
        close = (state.since // MINUTE_NS + 1) * MINUTE_NS
        if state.known:
            row = out.setdefault(close, {})
            row["updates"] = row.get("updates", 0) + 1
            if state.begins:
                nothing = [(math.nan, 0.0)] * 5
                carried = {sign: (side + nothing)[:5] for sign, side in ((1, state.bids), (-1, state.asks))}
            else:
                before = book.states[k - 1]
                bid = flows(before.bids, state.bids, carried[1], 1)
                ask = flows(before.asks, state.asks, carried[-1], -1)
                for m in range(5):
                    row[f"ofi_{m + 1}"] = row.get(f"ofi_{m + 1}", 0.0) + bid[m] - ask[m]
        end = book.states[k + 1].since if k + 1 < len(book.states) else until
        end = min(end, state.since + 30 * SECOND_NS)
        if not state.known or not state.bids or not state.asks:
            continue
        values = shape(state.bids, state.asks, depth, cap_mult)
        at = state.since
        while at < end:
            close = (at // MINUTE_NS + 1) * MINUTE_NS
            part = min(end, close) - at
            row = out.setdefault(close, {})
            row["synced_ns"] = row.get("synced_ns", 0) + part
            for name in MEANS:
                row[f"sum {name}"] = row.get(f"sum {name}", 0.0) + values[name] * part
            if min(end, close) == close:
                row |= {name: values[name] for name in values if name not in MEANS}
            at += part
    return {close: row for close, row in sorted(out.items()) if close <= until}
