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
        self._joined = self._follows = self._overflowed = False
        self._apart = 0
        self.repeated = self.filled = self.let_go = self.holes = 0

    @property
    def missing(self) -> bool:
        """Whether trades wait, for room or until it is known what came before them."""
        return self.next_id is not None and bool(self._waiting)

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
        """The stream begins again, so trades may be missing before what it pushes from now on."""
        if self._waiting and not self._follows:
            self._lost(self.last_ns, next(iter(self._waiting.values())).row[AVAILABLE_AT])
        self._flush()
        self._joined = False

    def push(self, arrival: Arrival, room: bool = True) -> None:
        """Take a trade from the stream."""
        if arrival.first in self._seen or arrival.first in self._waiting:
            self.repeated += 1
        elif self._joined and room and not self._waiting:
            self._hand_on(arrival)
        elif len(self._waiting) < self._most_waiting:
            if not self._waiting:
                self._follows = self._joined
            self._waiting[arrival.first] = arrival
        else:
            self.let_go += 1
            self._overflowed = True

    def settle(self) -> None:
        """Hand on what waits for room alone."""
        if self._follows:
            self._flush()

    def fill(self, anchor: int, page: Sequence[Arrival], full: bool) -> Fill:
        """Take the newest trades of REST, in rising order of time; `anchor` and `full` mean nothing here."""
        self.settle()
        known = [k for k, arrival in enumerate(page) if arrival.first in self._seen]
        self._between(page, known)
        fresh = page[known[-1] + 1 :] if known else page
        if not self._waiting:
            self._hand_on_page(fresh, bool(known))
            return Fill.DONE
        waiting = list(self._waiting.values())
        meeting = next((k for k, arrival in enumerate(page) if arrival.first in self._waiting), None)
        if meeting is not None:
            before = page[known[-1] + 1 if known else 0 : meeting]
            after = [arrival for arrival in page[meeting:] if arrival.first not in self._waiting]
            self.filled += len(before) + len(after)
            self._hand_on_page([*before, *waiting, *after], bool(known), counted=False)
            self._end_of_waiting()
            return Fill.DONE
        if page and page[-1].row[AVAILABLE_AT] <= waiting[0].row[AVAILABLE_AT]:
            self._hand_on_page(fresh, bool(known))
        self._apart += 1
        if self._apart < self._tries:
            return Fill.WAIT
        self._lost(self.last_ns, waiting[0].row[AVAILABLE_AT])
        self._flush()
        return Fill.DONE

    def _hand_on_page(self, rows: Sequence[Arrival], follow: bool, counted: bool = True) -> None:
        """Hand on rows of a page. Where they do not `follow` what was handed out, something may be missing between."""
        if rows and not follow and self._order:
            self._lost(self.last_ns, rows[0].row[AVAILABLE_AT])
        self.filled += len(rows) * counted
        for arrival in rows:
            self._hand_on(arrival)

    def _flush(self) -> None:
        """Hand on what waits."""
        for arrival in self._waiting.values():
            self._hand_on(arrival)
        self._end_of_waiting()

    def _end_of_waiting(self) -> None:
        """What waited is handed on, so the stream goes straight on, unless some of it was let go."""
        self._joined = self._joined or bool(self._waiting)
        if self._overflowed:
            self._joined = False
        self._waiting, self._follows, self._overflowed, self._apart = {}, False, False, 0

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
