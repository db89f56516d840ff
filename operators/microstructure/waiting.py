"""Updates of a book that wait for its next snapshot."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from events.frames import Array, concat
from events.schema import NEVER

MOST_UPDATES: Final = 5000
"""That are kept; the oldest go."""
MOST_ROWS: Final = 50_000
"""Level changes of them."""


class Waiting:
    """The newest updates, at most 5000 of them and 50,000 level changes, whatever the parts in which they came.

    Updates without ids are not kept: nothing tells which of them a snapshot holds.

    >>> from events.rows import BOOK
    >>> rows = np.zeros(6000, BOOK)
    >>> rows["last"], rows["u_last"] = 1, np.arange(6000)
    >>> waiting = Waiting(rows[:2500])
    >>> waiting.add(rows[2500:])
    >>> waiting.take()["u_last"][[0, -1]].tolist()
    [1000, 5999]
    """

    def __init__(self, rows: Array) -> None:
        self.none = rows[:0]
        self.parts: deque[tuple[Array, Array]] = deque()  # rows, and the row after the last of each update
        self.n_updates = self.n_rows = 0
        self.add(rows)

    def add(self, rows: Array) -> None:
        """Keep whole updates."""
        rows = rows[rows["u_last"] != NEVER]
        if not len(rows):
            return
        ends = np.flatnonzero(rows["last"]) + 1
        self.parts.append((rows, ends))
        self.n_updates, self.n_rows = self.n_updates + len(ends), self.n_rows + len(rows)
        while self.n_updates > MOST_UPDATES or self.n_rows > MOST_ROWS:
            self._forget()

    def _forget(self) -> None:
        """Drop so many of the oldest part's updates as are too many."""
        rows, ends = self.parts.popleft()
        by_rows = int(ends.searchsorted(self.n_rows - MOST_ROWS)) + 1 if self.n_rows > MOST_ROWS else 0
        going = min(max(self.n_updates - MOST_UPDATES, by_rows), len(ends))
        cut = int(ends[going - 1])
        self.n_updates, self.n_rows = self.n_updates - going, self.n_rows - cut
        if going < len(ends):
            self.parts.appendleft((rows[cut:], ends[going:] - cut))

    def rows(self) -> Array:
        """All that waits."""
        return concat([rows for rows, _ in self.parts]) if self.parts else self.none

    def take(self) -> Array:
        """All that waits, which then waits no more."""
        rows = self.rows()
        self.parts.clear()
        self.n_updates = self.n_rows = 0
        return rows
