"""The truth about one instrument: every trade it ever had, under contiguous ids."""

from __future__ import annotations

from typing import Final

import numpy as np

from connectors.simulator import klines
from connectors.simulator.listings import Listing
from connectors.simulator.model import Tape
from events.frames import Array
from events.rows import TRADE
from events.times import DAY_NS, MINUTE_NS

_FIRST_ID: Final = 1_000


class Ledger:
    """Trades of one listing by id and time, and klines of them.

    Attributes:
        listing: whose they are.
        next_id: the id of the next trade.
        first_live_id: that of the first trade since the start.
    """

    def __init__(self, listing: Listing, tape: Tape, origin_ns: int, start_ns: int) -> None:
        self.listing, self._tape = listing, tape
        self._skipped = tape.index_at(origin_ns)  # what lies before the history that is served
        self._start_index = self._at = tape.index_at(start_ns)
        self.origin_ns, self._start_ns, self._quiet_until = origin_ns, start_ns, start_ns
        self.first_live_id = self.next_id = _FIRST_ID + self._start_index - self._skipped
        self._live = np.zeros(1_024, TRADE)
        self._days: dict[int, Array] = {}
        self._start_minute = start_ns // MINUTE_NS * MINUTE_NS
        self._minutes = np.zeros(0, klines.KLINE)  # closed ones from the start minute on
        self._unfolded_id = _FIRST_ID + max(tape.index_at(self._start_minute) - self._skipped, 0)

    def until(self, time_ns: int) -> Array:
        """Take from the tape what trades before that time, and give it."""
        if time_ns <= self._quiet_until:  # most instruments, most of the time
            return self._live[:0]
        index = self._tape.index_at(time_ns)
        rows = self._tape.rows(self._at, index)
        self._at, self._quiet_until = max(self._at, index), self._tape.quiet_until(time_ns)
        return self.append(rows)

    def append(self, rows: Array) -> Array:
        """Give rows the next ids and keep them; no row may be earlier than the last one."""
        n, kept = len(rows), self.next_id - self.first_live_id
        if kept + n > len(self._live):
            self._live = np.concatenate([self._live, np.zeros(max(len(self._live), n), TRADE)])
        mine = self._live[kept : kept + n]
        mine[:] = rows
        mine["trade_id"] = mine["seq"] = np.arange(self.next_id, self.next_id + n)
        self.next_id += n
        return mine

    def traded(self, from_id: int | None = None) -> Array:
        """A copy of the rows from an id on; of those since the start, if none is given."""
        return self.rows(self.first_live_id if from_id is None else from_id, self.next_id).copy()

    @property
    def last_price(self) -> float:
        """That of the newest trade; where the model begins, if there was none."""
        return self.price_before(self.next_id)

    def price_before(self, end_id: int) -> float:
        """The price of the trade before that id."""
        rows = self.rows(end_id - 1, end_id)
        return float(rows["price"][0]) if len(rows) else self.listing.asset.price

    def rows(self, first_id: int, end_id: int) -> Array:
        """The rows of ids `[first_id, end_id)`, as far as there are."""
        first_id, end_id = max(first_id, _FIRST_ID), min(end_id, self.next_id)
        if first_id >= end_id:
            return np.zeros(0, TRADE)
        live = self._live[max(first_id - self.first_live_id, 0) : max(end_id - self.first_live_id, 0)]
        if first_id >= self.first_live_id:
            return live
        old_end = min(end_id, self.first_live_id)
        shift = self._skipped - _FIRST_ID
        old = self._tape.rows(first_id + shift, old_end + shift)
        old["trade_id"] = old["seq"] = np.arange(first_id, old_end)
        return np.concatenate([old, live])

    def id_at(self, time_ns: int) -> int:
        """The id of the first trade that is not before that time; `next_id` if there is none."""
        live = self._live[: self.next_id - self.first_live_id]
        # asking the model about the far future would make it plan all days until then
        old = _FIRST_ID + max(self._tape.index_at(min(time_ns, self._start_ns)) - self._skipped, 0)
        if old < self.first_live_id:
            return old
        return self.first_live_id + int(np.searchsorted(live["available_at"], time_ns, "left"))

    def klines(self, interval_ns: int, since_ns: int, until_ns: int, end_id: int) -> Array:
        """Every KLINE row that opens in `[since_ns, until_ns)`, of trades with ids below `end_id`.

        Nothing opens before the history begins. The last one may still be forming.
        """
        first_open = -(-max(since_ns, self.origin_ns) // interval_ns) * interval_ns
        if first_open >= until_ns:
            return np.zeros(0, klines.KLINE)
        end = -(-until_ns // interval_ns) * interval_ns
        minutes = self._minutes_of(first_open, end, end_id)
        made = klines.folded(minutes, interval_ns)
        before = self.price_before(min(self.id_at(first_open), end_id))
        return klines.filled(made, first_open, end, interval_ns, before)

    def _minutes_of(self, since_ns: int, until_ns: int, end_id: int) -> Array:
        """Sparse one-minute rows that open in `[since_ns, until_ns)`, of trades with ids below `end_id`."""
        self._fold_live()
        old_end = min(until_ns, self._start_minute)
        parts = [self._day(day) for day in range(since_ns // DAY_NS, -(-old_end // DAY_NS))]
        parts += [self._minutes, klines.of_trades(self.rows(self._unfolded_id, self.next_id), MINUTE_NS)]
        minutes: Array = np.concatenate(parts)
        inside = (minutes["ts_open"] >= since_ns) & (minutes["ts_open"] < until_ns) & (minutes["first_id"] < end_id)
        minutes = minutes[inside]
        if len(minutes) and minutes["last_id"][-1] >= end_id:  # history that lags cuts into the last one
            cut = klines.of_trades(self.rows(int(minutes["first_id"][-1]), end_id), MINUTE_NS)
            minutes = np.concatenate([minutes[:-1], cut])
        return minutes

    def _day(self, day: int) -> Array:
        """Minutes of a day of history, before the start; folded once."""
        if day not in self._days:
            first, end = self.id_at(day * DAY_NS), self.id_at(min((day + 1) * DAY_NS, self._start_minute))
            self._days[day] = klines.of_trades(self.rows(first, end), MINUTE_NS)
        return self._days[day]

    def _fold_live(self) -> None:
        """Fold the minutes that are over since the last call."""
        rows = self.rows(self._unfolded_id, self.next_id)
        if len(rows):
            closed = int(np.searchsorted(rows["available_at"], rows["available_at"][-1] // MINUTE_NS * MINUTE_NS))
            self._minutes = np.concatenate([self._minutes, klines.of_trades(rows[:closed], MINUTE_NS)])
            self._unfolded_id += closed
