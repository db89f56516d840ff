"""Trades of one instrument in the order of their ids, none missing and none twice: a state machine without I/O.

What is pushed over a websocket has holes after each reconnect, repeats, and sometimes swaps places. What REST serves has
all ids, but later. The sequencer takes both and hands on the next id only; whatever is ahead of it waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from events.errors import InputError
from events.schema import NEVER

Row = tuple[int, int, int, int, float, float, int, int]
"""A row of events.rows.TRADE."""
AVAILABLE_AT: Final = 0


class Arrival(NamedTuple):
    """A trade as it came: it stands for the ids `first` to `last`, which are one and the same unless the venue sums trades up."""

    first: int
    last: int
    row: Row


class Hole(NamedTuple):
    """Ids `id_from` to `id_to` that the venue does not serve; NEVER where its ids do not count. They were traded, if at all,
    strictly between `since` and `until` (ns).
    """

    since: int
    until: int
    id_from: int = NEVER
    id_to: int = NEVER


class Fill(Enum):
    """What a page of REST came to."""

    DONE = "nothing is missing"
    MORE = "ask for the next page at once"
    WAIT = "REST is behind the stream: ask again a little later"


class Sequencer:
    """Sequences the trades of one instrument.

    Args:
        name: of the instrument, for messages.
        emit: takes each row, in the order of ids.
        hole: takes each hole that stays, before the row that follows it.
        most_waiting: trades that wait, at most; what comes beyond that is let go and asked of REST later.
        tries: pages in a row that serve an id above the missing one, but not that one, before it is given up.
        patience: pages in a row that do not know the last trade handed out, before ids are taken to have begun anew.

    Attributes:
        next_id: the id that comes next; None until `start_after` or `resume`, until when all waits.
        last_ns: the time of the row handed out last, NEVER if there is none.
        repeated, filled, let_go, holes: how many trades came twice, came from REST, were let go, and how many holes there were.
    """

    def __init__(
        self,
        name: str,
        emit: Callable[[Row], None],
        hole: Callable[[Hole], None],
        most_waiting: int = 20_000,
        tries: int = 3,
        patience: int = 300,
    ) -> None:
        self.name, self.last_ns = name, NEVER
        self.next_id: int | None = None
        self._emit, self._hole = emit, hole
        self._most_waiting, self._tries, self._patience = most_waiting, tries, patience
        self._waiting: dict[int, Arrival] = {}
        self._known = NEVER  # the highest id known to exist that does not wait
        self._stuck = self._unanchored = 0
        self.repeated = self.filled = self.let_go = self.holes = 0

    @property
    def missing(self) -> bool:
        """Whether trades are known to exist that have not been handed out, so that REST must be asked."""
        return self.next_id is not None and (bool(self._waiting) or self._known >= self.next_id)

    def start_after(self, newest: Arrival) -> None:
        """Begin with the id that follows this trade, which is not handed out itself; what waits from there on goes out."""
        self.next_id, self.last_ns = newest.last + 1, newest.row[AVAILABLE_AT]
        self.settle()

    def resume(self, next_id: int, last_ns: int, recent: Sequence[int] = ()) -> None:
        """Go on with this id, after a trade of the time `last_ns`."""
        self.next_id, self.last_ns = next_id, last_ns

    def interrupted(self) -> None:
        """The stream begins again: nothing to do, since ids tell what is missing."""

    def push(self, arrival: Arrival, room: bool = True) -> None:
        """Take a trade from the stream. Without `room` behind it, it waits, or is let go and asked of REST later."""
        first, last, row = arrival
        following = self.next_id
        if first == following and room:
            self.next_id, self.last_ns = last + 1, row[AVAILABLE_AT]
            self._emit(row)
            if self._waiting:
                self.settle()
        elif (following is not None and last < following) or first in self._waiting:
            self.repeated += 1
        elif following is not None and first < following:
            self._known = max(self._known, last)  # a sum, some of it handed out: the others come one by one from REST
        elif len(self._waiting) < self._most_waiting:
            self._waiting[first] = arrival
        else:
            self.let_go += 1
            self._known = max(self._known, last)

    def settle(self) -> None:
        """Hand on what waits and is next, and forget what is passed."""
        waiting = self._waiting
        assert self.next_id is not None, "start first"
        while (arrival := waiting.pop(self.next_id, None)) is not None:
            self.next_id, self.last_ns = arrival.last + 1, arrival.row[AVAILABLE_AT]
            self._emit(arrival.row)
        for first in [first for first in waiting if first < self.next_id]:
            self._known = max(self._known, waiting.pop(first).last)

    def fill(self, anchor: int, page: Sequence[Arrival], full: bool) -> Fill:
        """Take a page of REST that was asked for from the id `anchor` on, which was the last one handed out then.

        Args:
            anchor: the id; the page holds it, unless REST is behind or has lost it.
            page: the trades, in rising order of ids.
            full: whether there may be more after them.

        Raises:
            InputError: REST keeps not knowing the trade handed out last, so ids have begun anew.
        """
        self.settle()
        if not any(arrival.last == anchor or arrival.first == anchor + 1 for arrival in page):
            return self._unanchored_page(anchor, page)
        self._unanchored = 0
        for arrival in page:
            self._take(arrival)
        self.settle()
        assert self.next_id is not None
        if self.next_id > anchor + 1:
            self._stuck = 0
            return Fill.MORE if full or self.missing else Fill.DONE
        if not self.missing:
            return Fill.DONE
        self._stuck += page[-1].last > self.next_id
        if self._stuck >= self._tries:
            self._skip()
            return Fill.MORE
        return Fill.WAIT

    def _unanchored_page(self, anchor: int, page: Sequence[Arrival]) -> Fill:
        """The page does not know the trade handed out last: REST is behind, has dropped its past, or counts anew."""
        if not page:
            return Fill.WAIT
        self._unanchored += 1
        if page[0].first > anchor + 1 and self._unanchored >= self._tries:
            for arrival in page:
                self._waiting.setdefault(arrival.first, arrival)
            self._unanchored = 0
            self._skip()
            return Fill.MORE
        if self._unanchored >= self._patience:
            raise InputError(
                f"{self.name}: the exchange does not know trade {anchor}, the last one handed out; asked for what came after it, it"
                f" serves ids {page[0].first} to {page[-1].last}. Its ids have begun anew, or this is another server than before:"
                " start a new run, in another directory"
            )
        return Fill.WAIT

    def _take(self, arrival: Arrival) -> None:
        """One trade of a page."""
        first, last, row = arrival
        assert self.next_id is not None
        if first == self.next_id:
            self.next_id, self.last_ns = last + 1, row[AVAILABLE_AT]
            self.filled += 1
            self._emit(row)
        elif first > self.next_id:
            self._waiting.setdefault(first, arrival)

    def _skip(self) -> None:
        """Give up the missing ids: go on with the first trade that waits."""
        self.settle()
        assert self.next_id is not None
        if not self._waiting:
            return
        following = self._waiting[min(self._waiting)]
        self._hole(Hole(self.last_ns, following.row[AVAILABLE_AT], self.next_id, following.first - 1))
        self.holes += 1
        self._stuck = 0
        self.next_id = following.first
        self.settle()
