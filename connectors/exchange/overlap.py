"""Trades of one instrument of a venue whose ids do not count: nothing twice, and every loss stated. A state machine without I/O.

Such a venue serves its newest trades and no others. After a reconnect what was handed out, what REST serves and what the stream
pushes are each without a hole; so they are together where they overlap. Where they do not, trades may be missing between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise

from connectors.exchange.sequencer import AVAILABLE_AT, Arrival, Fill, Hole, Row
from events.schema import NEVER

REMEMBERED = 2_000
"""Ids handed out last that are remembered: twice the longest page."""


class Overlap:
    """Joins pages and pushes by the ids that they share. It has the methods of `Sequencer`, and answers as that does.

    Args:
        name, emit, hole, most_waiting, tries: as of `Sequencer`; `tries` pages that do not meet what waits are taken as a loss.

    Attributes:
        next_id: how many rows were handed out, which is the `seq` of the next one; None until `start_after` or `resume`.
        last_ns, repeated, filled, let_go, holes: as of `Sequencer`.
    """

    def __init__(
        self,
        name: str,
        emit: Callable[[Row], None],
        hole: Callable[[Hole], None],
        most_waiting: int = 20_000,
        tries: int = 3,
    ) -> None:
        self.name, self.last_ns = name, NEVER
        self.next_id: int | None = None
        self._emit, self._hole = emit, hole
        self._most_waiting, self._tries = most_waiting, tries
        self._order: deque[int] = deque(maxlen=REMEMBERED)
        self._seen: set[int] = set()
        self._waiting: dict[int, Arrival] = {}
        self._joined = self._overflowed = False
        self._apart = 0
        self.repeated = self.filled = self.let_go = self.holes = 0

    @property
    def missing(self) -> bool:
        """Whether trades wait until it is known what came before them."""
        return self.next_id is not None and not self._joined and bool(self._waiting)

    def start_after(self, newest: Arrival) -> None:
        """Begin with whatever follows this trade, which is not handed out itself."""
        self.next_id, self.last_ns = 0, newest.row[AVAILABLE_AT]
        self._remember(newest.first)

    def resume(self, next_id: int, last_ns: int, recent: Sequence[int] = ()) -> None:
        """Go on after `next_id` rows, of which the last ones had the ids `recent`."""
        self.next_id, self.last_ns = next_id, last_ns
        for trade_id in recent:
            self._remember(trade_id)

    def interrupted(self) -> None:
        """The stream begins again, so trades may be missing before what it pushes now."""
        self._joined, self._apart = False, 0

    def push(self, arrival: Arrival, room: bool = True) -> None:
        """Take a trade from the stream."""
        if arrival.first in self._seen or arrival.first in self._waiting:
            self.repeated += 1
        elif self._joined and room and not self._waiting:
            self._hand_on(arrival)
        elif len(self._waiting) < self._most_waiting:
            self._waiting[arrival.first] = arrival
            if self._joined and not room:
                self._joined = False
        else:
            self.let_go += 1
            self._overflowed = True

    def settle(self) -> None:
        """Nothing: what waits needs a page first."""

    def fill(self, anchor: int, page: Sequence[Arrival], full: bool) -> Fill:
        """Take the newest trades of REST, in rising order of time; `anchor` and `full` mean nothing here."""
        known = [k for k, arrival in enumerate(page) if arrival.first in self._seen]
        if known:
            self._between(page, known)
            fresh = page[known[-1] + 1 :]
        else:
            fresh = page
            if page and self._order:
                self._lost(self.last_ns, page[0].row[AVAILABLE_AT])
        pushed = bool(self._waiting)
        meets = not pushed or any(arrival.first in self._waiting for arrival in page)
        for arrival in fresh:
            if self._waiting.pop(arrival.first, None) is None:
                self.filled += 1
            self._hand_on(arrival)
        self._apart = 0 if meets else self._apart + 1
        if not meets and self._apart < self._tries:
            return Fill.WAIT
        self._joined = self._joined or pushed  # until something is pushed, nothing shows that the page reaches up to it
        waiting, self._waiting = list(self._waiting.values()), {}
        if waiting and (not meets or self._overflowed):
            self._lost(self.last_ns, waiting[0].row[AVAILABLE_AT])
        for arrival in waiting:
            if arrival.first not in self._seen:
                self._hand_on(arrival)
        self._overflowed, self._apart = False, 0
        return Fill.DONE

    def _between(self, page: Sequence[Arrival], known: list[int]) -> None:
        """State what REST has between two trades that were handed out: the stream lost it without a break."""
        for before, after in pairwise(known):
            since, until = page[before].row[AVAILABLE_AT], page[after].row[AVAILABLE_AT]
            lost = [arrival for arrival in page[before + 1 : after] if since < arrival.row[AVAILABLE_AT] < until]
            if lost:
                self._lost(since, until)
                for arrival in lost:
                    self._remember(arrival.first)

    def _lost(self, since: int, until: int) -> None:
        self._hole(Hole(since, until))
        self.holes += 1

    def _hand_on(self, arrival: Arrival) -> None:
        assert self.next_id is not None, "start first"
        at, received, _, trade_id, price, qty, side, flags = arrival.row
        self._remember(arrival.first)
        self.last_ns = max(self.last_ns, at)
        self._emit((at, received, self.next_id, trade_id, price, qty, side, flags))
        self.next_id += 1

    def _remember(self, trade_id: int) -> None:
        if len(self._order) == REMEMBERED:
            self._seen.discard(self._order[0])
        self._order.append(trade_id)
        self._seen.add(trade_id)
