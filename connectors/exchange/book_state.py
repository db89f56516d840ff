"""Whether a book that is handed out is whole: continuity of its updates, its best quotes, its checksum; no I/O, no clock.

Who takes the rows in keeps a book of its own. This one is here so that the source knows when to ask for a new snapshot.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, deque
from typing import Final
from zlib import crc32

from connectors.exchange.book_frames import Level, Update
from events.schema import NEVER
from events.validation import PRICE_MAX, PRICE_MIN, QTY_MAX

BUFFERED: Final = 300
"""Updates kept while a snapshot is waited for, half a minute of the busiest book: a snapshot is not older than that."""
MOST: Final = 5_000
"""Levels of a side that are kept where the venue sends all there are."""
_CHECKED: Final = 10  # levels of each side in a checksum of Kraken

# What breaks a book.
RECONNECTED: Final = "reconnected"
SKIPPED: Final = "skipped"
CROSSED: Final = "crossed"
INVALID: Final = "invalid"
UNLIKE: Final = "unlike its checksum"
OVERFLOWN: Final = "overflown"
SILENT: Final = "silent"


class Side:
    """One side of a book.

    Args:
        sign: +1 for bids, -1 for asks.
        most: levels; the worst of more are let go.

    Attributes:
        levels: quantity by price times `sign`.
        order: the keys of `levels`, the best last: most changes are near it, so little has to move.
    """

    def __init__(self, sign: int, most: int = MOST) -> None:
        self.sign, self.most = sign, most
        self.levels: dict[float, float] = {}
        self.order: list[float] = []

    def clear(self) -> None:
        """Forget all levels."""
        self.levels.clear()
        self.order.clear()

    def apply(self, changes: list[Level]) -> bool:
        """Set or delete levels; False where one is out of range, at which it stops."""
        sign, levels, order = self.sign, self.levels, self.order
        for price, qty in changes:
            if not (PRICE_MIN <= price <= PRICE_MAX and 0.0 <= qty <= QTY_MAX):
                return False
            key = price * sign
            if qty == 0.0:
                if levels.pop(key, None) is not None:
                    del order[bisect_left(order, key)]
            else:
                if key not in levels:
                    insort(order, key)
                levels[key] = qty
        return True

    def cut(self) -> list[float]:
        """Let the worst levels beyond `most` go; gives their prices."""
        beyond = self.order[: max(0, len(self.order) - self.most)]
        del self.order[: len(beyond)]
        for key in beyond:
            del self.levels[key]
        return [key * self.sign for key in beyond]

    def best(self, n: int) -> list[Level]:
        """Up to `n` best levels.

        >>> side = Side(-1)
        >>> side.apply([(101.0, 2.0), (100.5, 1.0), (102.0, 3.0), (101.0, 0.0)]), side.best(2)
        (True, [(100.5, 1.0), (102.0, 3.0)])
        """
        return [(key * self.sign, self.levels[key]) for key in reversed(self.order[-n:])]


class BookState:
    """Follows one book.

    Args:
        pushed: whether snapshots come in the stream, and not over REST: what came before one is then of no use.
        depth: levels of a side that are kept. Of a venue that sends so many of them, one that an update pushes out is let go
            without a word, and may be gone when it comes back: `cut` names them.
        digits: (of prices, of quantities) after the point in the text that checksums are made of, None for no checksums.

    Attributes:
        synced: whether what was handed out is a whole book.
        last: the update id that it stands at, NEVER for none.
        newest_ns: the time of its newest update, NEVER for none.
        reason: why it is not synced.
        counts: how often what broke it.
    """

    def __init__(self, pushed: bool = False, depth: int = MOST, digits: tuple[int, int] | None = None) -> None:
        self.pushed, self.digits = pushed, digits
        self.bids, self.asks = Side(1, depth), Side(-1, depth)
        self.synced, self.last, self.newest_ns, self.reason = False, NEVER, NEVER, RECONNECTED
        self.counts: Counter[str] = Counter()
        self._fresh = False  # whether nothing came after the snapshot
        self._buffer: deque[Update] = deque(maxlen=0 if pushed else BUFFERED)

    @property
    def waiting(self) -> int:
        """Updates that wait for a snapshot."""
        return len(self._buffer)

    @property
    def needed(self) -> int:
        """A snapshot has to stand at this id at least, NEVER for at any."""
        return self.last if not self._buffer else max(NEVER, _before(self._buffer[0]))

    def lose(self, reason: str) -> None:
        """It is not whole any more; a snapshot at or above `last` heals it."""
        self.counts[reason] += self.synced
        self.synced, self.reason = False, reason
        self._buffer.clear()

    def delta(self, update: Update) -> bool:
        """Take an update; whether it is new. `synced` says what has become of the book."""
        if update.last != NEVER and update.last <= (self._buffer[-1].last if self._buffer else self.last):
            return False
        self.newest_ns = max(self.newest_ns, update.at_ns)
        if not self.synced:
            if self._buffer and not _follows(update, self._buffer[-1].last, False):
                self._buffer.clear()
            self._buffer.append(update)
        elif _follows(update, self.last, self._fresh):
            self._apply(update)
        else:
            self.lose(SKIPPED)
            self._buffer.append(update)
        return True

    def snapshot(self, update: Update) -> bool:
        """Take a snapshot, and what was buffered after it; False if it came over REST and is older than what was pushed."""
        if not self.pushed and update.last < self.needed:
            return False
        self.newest_ns = max(self.newest_ns, update.at_ns)
        buffered = list(self._buffer)
        self._buffer.clear()
        self.bids.clear()
        self.asks.clear()
        self.synced = True
        self._apply(update)
        self._fresh = True
        for place, later in enumerate(buffered):
            if later.last <= update.last:
                continue
            if not self.synced:
                self._buffer.extend(buffered[place:])
                break
            if _follows(later, self.last, self._fresh):
                self._apply(later)
        return True

    def cut(self) -> tuple[list[float], list[float]]:
        """The prices (bids, asks) that are beyond the depth now, and are let go."""
        return self.bids.cut(), self.asks.cut()

    def _apply(self, update: Update) -> None:
        bids, asks = self.bids, self.asks
        valid = bids.apply(update.bids) and asks.apply(update.asks)
        self.last, self._fresh = update.last, False
        if not valid:
            self.lose(INVALID)
        elif bids.order and asks.order and bids.order[-1] >= -asks.order[-1]:
            self.lose(CROSSED)
        elif (
            update.checksum is not None
            and self.digits is not None
            and checksum(asks.best(_CHECKED), bids.best(_CHECKED), *self.digits) != update.checksum
        ):
            self.lose(UNLIKE)


def _before(update: Update) -> int:
    """The id that the book must stand at, or above, for an update to follow."""
    return update.prev if update.prev != NEVER else update.first - 1 if update.first != NEVER else NEVER


def _follows(update: Update, last: int, fresh: bool) -> bool:
    """Whether an update follows on a book that stands at an id; right after a snapshot it may begin before it."""
    if NEVER in (update.last, last):
        return True
    return last == update.prev if update.prev != NEVER and not fresh else _before(update) <= last < update.last


def checksum(asks: list[Level], bids: list[Level], price_digits: int, qty_digits: int) -> int:
    """The checksum of Kraken: of the ten best asks and bids, without points and leading zeros, as CRC32.

    Source: the example of its documentation of the book channel (v2).

    >>> asks = [(0.05005, 0.00000500), (0.05010, 0.00000500), (0.05015, 0.00000500), (0.05020, 0.00000500),
    ...         (0.05025, 0.00000500), (0.05030, 0.00000500), (0.05035, 0.00000500), (0.05040, 0.00000500),
    ...         (0.05045, 0.00000500), (0.05050, 0.00000500)]
    >>> bids = [(0.05000, 0.00000500), (0.04995, 0.00000500), (0.04990, 0.00000500), (0.04980, 0.00000500),
    ...         (0.04975, 0.00000500), (0.04970, 0.00000500), (0.04965, 0.00000500), (0.04960, 0.00000500),
    ...         (0.04955, 0.00000500), (0.04950, 0.00000500)]
    >>> checksum(asks, bids, 5, 8)
    974947235
    """
    text = [
        f"{number:.{digits}f}".replace(".", "").lstrip("0")
        for level in (*asks, *bids)
        for number, digits in zip(level, (price_digits, qty_digits))
    ]
    return crc32("".join(text).encode())
