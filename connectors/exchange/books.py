"""The order books of one exchange: every update handed out as it came, and the snapshots that make whole books of them.

Books have connections of their own, so that whatever happens to them never touches trades. ccxt holds the subscriptions and sees
none of the updates.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from connectors.exchange.beside import Seen
from connectors.exchange.book_connection import BookConnection
from connectors.exchange.book_frames import Update
from connectors.exchange.book_rows import Packed, packed
from connectors.exchange.book_state import OVERFLOWN, RECONNECTED, SILENT, BookState
from connectors.exchange.book_venues import BOOK_VENUES
from connectors.exchange.client import kind_of
from connectors.exchange.frames import Item, Other
from connectors.exchange.heartbeats import MARGIN_NS
from connectors.exchange.venues import Market
from connectors.retry import Backoff
from events.feeds import BOOKS
from events.frames import control
from events.schema import BOOK_SEQUENCE, BOOK_SNAPSHOT, HOLE, NEVER, RECONNECT, VOID
from events.times import SECOND_NS

if TYPE_CHECKING:
    from connectors.exchange.feed import Feed
    from connectors.exchange.instrument import Instrument

log = logging.getLogger(__name__)
_LOOK_S: Final = 0.05
_TOGETHER: Final = 50
"""Books of one connection, at most."""
_QUIET_S: Final = 1.0
"""A book that nothing was pushed of so long after its connection is asked for all the same."""
_PUSHED_S: Final = 10.0
"""So long a snapshot that was asked for may take to be pushed."""
_PATIENCE_NS: Final = 10 * SECOND_NS
"""A book that is not whole for longer is worth telling."""
_SHARE: Final = 2
"""Snapshots may take up one part in so many of what the venue allows over REST."""


@dataclass
class Book:
    """The book of an instrument of a feed.

    Attributes:
        one: the instrument.
        market: the venue's name of it.
        state: whether what was handed out is a whole book.
        at_ns: the time of the newest row handed out; none after it is older.
        received_ns: when that was received.
        lost_ns: since when it is not whole.
        promised_ns: the newest heartbeat.
        dropped: whether updates are dropped, since too many wait to be handed out.
        unheard: whether it has to be subscribed to anew, since nothing comes.
        asked_ns: when that was done last.
        due_s: when a snapshot may be asked for next, in the time of the loop.
        backoff: of the snapshots that did not fit.
    """

    one: Instrument
    market: str
    state: BookState
    at_ns: int = NEVER
    received_ns: int = NEVER
    lost_ns: int = NEVER
    promised_ns: int = NEVER
    dropped: bool = False
    unheard: bool = False
    asked_ns: int = NEVER
    due_s: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(0.2, 30.0))
    stream = BOOKS

    @property
    def known(self) -> bool:
        """Whether it has been whole."""
        return self.at_ns > NEVER and (self.state.synced or self.lost_ns > NEVER)

    def lose(self, reason: str, now_ns: int, due_s: float) -> None:
        """It is not whole any more; a snapshot may be asked for from `due_s` on."""
        self.lost_ns = now_ns if self.state.synced or self.lost_ns == NEVER else self.lost_ns
        self.state.lose(reason)
        self.due_s = due_s

    @property
    def known_ns(self) -> int:
        """Up to where it was handed out or promised: nothing that comes later is older."""
        return max(self.at_ns, self.promised_ns)


class Books:
    """The books of a feed.

    Args:
        feed: the feed.
        seen: how far the streams of instruments had come in an earlier run.

    Attributes:
        books: by symbol.
        connections: over which they come.
        counts: of snapshots, of updates that came twice or were dropped, of frames that could not be read; and of what broke books.
    """

    def __init__(self, feed: Feed, seen: Seen) -> None:
        self._feed, self._seen, self.venue = feed, seen, BOOK_VENUES[feed.exchange]
        self.books: dict[str, Book] = {}
        self.connections: list[BookConnection] = []
        self.counts: Counter[str] = Counter()
        self._queue: deque[tuple[Item, int]] = deque()
        self._put = self._taken = 0  # rows; each is written by one thread only
        self._seq = 0

    def start(self, tasks: asyncio.TaskGroup, markets: Mapping[str, Market]) -> None:
        """Connect; the instruments of the feed are made, and its clock is set."""
        feed = self._feed
        if BOOKS not in feed.options.beside:
            return
        self._seq = feed.clock.now()  # above those of an earlier run
        for one in feed.instruments.values():
            market = markets[one.symbol]
            state = BookState(self.venue.pushed, self.venue.depth, self.venue.digits(market))
            _, promised_ns = self._seen.get((one.key, BOOKS), (NEVER, NEVER))
            self.books[one.symbol] = Book(one, self.venue_name(market), state, promised_ns=promised_ns)
        for group in self._groups(markets):
            made = BookConnection(self, feed, {symbol: markets[symbol] for symbol in group})
            self.connections.append(made)
            made.start(tasks)
        tasks.create_task(self._ask())

    def _groups(self, markets: Mapping[str, Market]) -> Iterator[list[str]]:
        """The symbols of each connection: of one market type, with one that changes all the time."""
        for kind in sorted({kind_of(symbol) for symbol in self.books}):
            listed = [symbol for symbol in self.books if kind_of(symbol) == kind]
            beacon = self._feed.venue.busy.get(kind) if self.venue.beacon else None
            for at in range(0, len(listed), _TOGETHER):
                group = listed[at : at + _TOGETHER]
                yield group if beacon is None or beacon in group or beacon not in markets else [*group, beacon]

    def venue_name(self, market: Market) -> str:
        """What frames call a market."""
        return str(market["symbol"] if self._feed.exchange == "kraken" else market["id"])

    def seen_now(self) -> dict[tuple[str, str], tuple[int, int]]:
        """How far all books have come."""
        return {(book.one.key, BOOKS): (book.at_ns, book.known_ns) for book in self.books.values()}

    async def close(self) -> None:
        """Close the connections."""
        for connection in self.connections:
            await connection.client.close()

    def take(self, most: int) -> Iterator[Item]:
        """Up to `most` items, which are then handed out."""
        queue = self._queue
        for _ in range(min(most, len(queue))):
            item, rows = queue.popleft()
            self._taken += rows
            yield item

    @property
    def waiting(self) -> int:
        """Rows that wait to be handed out."""
        return self._put - self._taken

    def of(self, stream: str) -> list[Book]:
        """The books; any thread may ask."""
        return list(self.books.values())

    def counters(self, stream: str) -> dict[str, int]:
        """What has happened to books, by kind."""
        return dict(self.counts)

    def failures(self, stream: str) -> Iterator[tuple[int, str]]:
        """Since when, and why, books do not come or are not whole; any thread may ask."""
        for connection in list(self.connections):
            if connection.failure is not None:
                yield connection.failure
        long_ago_ns = self._feed.clock.now() - _PATIENCE_NS
        for book in self.of(stream):
            if not book.state.synced and NEVER < book.lost_ns < long_ago_ns:
                yield (
                    book.lost_ns,
                    f"the book of {book.one.symbol} is {book.state.reason}, and no snapshot has fitted since",
                )

    def lost(self, books: Sequence[Book]) -> None:
        """The connection of these books was made anew, so each needs a snapshot."""
        due_s = asyncio.get_running_loop().time() + (_PUSHED_S if self.venue.pushed else _QUIET_S)
        for book in books:
            book.lose(RECONNECTED, self._feed.clock.now(), due_s)

    def unheard(self, book: Book) -> None:
        """Nothing is pushed of a book, though there should be."""
        self.counts[SILENT] += 1
        book.lose(SILENT, self._feed.clock.now(), asyncio.get_running_loop().time())
        book.unheard = True

    def arrived(self, book: Book, update: Update, now: int) -> None:
        """Take what was pushed of a book."""
        state = book.state
        if not self._room(book, update, now):
            self.counts["dropped"] += 1
            return
        if update.kind == BOOK_SNAPSHOT:
            self._snapshot(book, update, now)
            return
        whole = state.synced
        if not state.delta(update):
            self.counts["repeated"] += 1
            return
        if whole and not state.synced:
            self._broken(book, now)
        if state.synced or not state.pushed:
            self._hand_out(book, update, now)
        elif state.waiting == 1:
            book.due_s = min(book.due_s, asyncio.get_running_loop().time())

    def look(self) -> None:
        """Send heartbeats: of a whole book up to where its connection has pushed."""
        grid_ns = round(self._feed.options.grid_s * SECOND_NS)
        for connection in self.connections:
            connection.look()
            proven = connection.reached_ns
            if proven == NEVER:
                continue
            at = (proven - MARGIN_NS - 1) // grid_ns * grid_ns + 1  # joins at a boundary need one above it
            for book in connection.books.values():
                if book.state.synced and not book.dropped and at > book.known_ns:
                    book.promised_ns = at
                    self._say(book, Other(BOOKS, watermark=at))

    def _room(self, book: Book, update: Update, now: int) -> bool:
        """Whether an update may wait to be handed out. Once some were dropped, a few have to be taken before it goes on."""
        most = self._feed.options.book_rows
        if not book.dropped:
            if self.waiting < most:
                return True
            book.dropped = True
            log.warning("%s: too many updates of its book wait, so some are dropped", book.one.key)
        if self.waiting > most // 2:
            return False
        book.dropped = False
        self._span(book, VOID, update.at_ns)
        book.lose(OVERFLOWN, now, asyncio.get_running_loop().time())
        return True

    def _broken(self, book: Book, now: int) -> None:
        state, book.lost_ns = book.state, now
        self.counts[state.reason] += 1
        log.info("%s: its book is %s at update %d: a new snapshot is asked for", book.one.key, state.reason, state.last)
        book.due_s = asyncio.get_running_loop().time()

    def _snapshot(self, book: Book, update: Update, now: int) -> None:
        """Take a snapshot, and hand it out if the book is whole with it; else another one is asked for later."""
        levels, state, reason = self.venue.levels, book.state, book.state.reason
        broken = not state.synced
        update = update._replace(bids=update.bids[:levels], asks=update.asks[:levels])
        if not state.snapshot(update) or not state.synced:
            self.counts["unfit"] += 1
            book.due_s = asyncio.get_running_loop().time() + book.backoff.next()
            return
        self.counts["snapshots"] += 1
        book.backoff.reset()
        if state.pushed and broken:  # of others whoever takes the rows in sees it in their ids
            log.info("%s: its book is whole again; it was %s", book.one.key, reason)
            update = update._replace(at_ns=max(update.at_ns, book.known_ns + 1))
            why = RECONNECT if reason in (RECONNECTED, OVERFLOWN) else BOOK_SEQUENCE
            self._span(book, HOLE, update.at_ns, why)
        self._hand_out(book, update, now)

    def _span(self, book: Book, kind: int, until: int, why: int = 0) -> None:
        """Say what holds of the book from where it is known until a time: that joins do without it, or that updates are missing."""
        since = book.known_ns
        if NEVER < since < until:
            self._say(book, Other(BOOKS, control=control(kind, since, since, until, why)))

    def _hand_out(self, book: Book, update: Update, now: int) -> None:
        bids, asks = book.state.cut()
        if bids or asks:
            gone = [[(price, 0.0) for price in prices] for prices in (bids, asks)]
            update = update._replace(bids=[*update.bids, *gone[0]], asks=[*update.asks, *gone[1]])
        book.at_ns, book.received_ns = max(update.at_ns, book.known_ns), now
        rows, n = packed(update, book.at_ns, now, self._seq, book.one.read)
        self._seq += n
        self._put += n
        self._queue.append(((book.one.key, Packed(rows)), n))

    def _say(self, book: Book, said: Other) -> None:
        self._queue.append(((book.one.key, said), 0))

    async def _ask(self) -> None:
        """Ask for the snapshots that are needed, one after the other."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_S)
            for connection in self.connections:
                for book in connection.books.values():
                    if book.state.synced or book.dropped or not connection.up or loop.time() < book.due_s:
                        continue
                    if self.venue.pushed or book.unheard:
                        await self._subscribe_again(connection, book)
                    else:
                        await self._fetch(connection, book)

    async def _subscribe_again(self, connection: BookConnection, book: Book) -> None:
        """Subscribe to a book anew: most venues then push its snapshot."""
        wait_s = _PUSHED_S + book.backoff.next() if self.venue.pushed else _QUIET_S
        book.due_s = asyncio.get_running_loop().time() + wait_s
        book.unheard, book.asked_ns = False, self._feed.clock.now()
        self.counts["asked"] += self.venue.pushed
        await connection.send(self.venue.again(book.market))

    async def _fetch(self, connection: BookConnection, book: Book) -> None:
        """Fetch the snapshot of a book over REST. What is older than what was pushed is fetched again later."""
        feed, loop = self._feed, asyncio.get_running_loop()
        began = loop.time()
        self.counts["asked"] += 1
        found = await feed.calls.call(feed.client.fetch_order_book, book.one.symbol, self.venue.levels)
        now = feed.clock.now()
        update = connection.timed(snapshot_of(book.market, found), now)
        if not book.state.synced and not book.dropped:
            self._snapshot(book, update, now)
        await asyncio.sleep((_SHARE - 1) * min(1.0, loop.time() - began))


def snapshot_of(market: str, found: Mapping[str, Any]) -> Update:
    """A book that ccxt fetched over REST.

    >>> found = {"nonce": 7, "timestamp": None, "bids": [[100.0, 2.0]], "asks": [[101.0, 1.0]]}
    >>> snapshot_of("BTCUSDT", found)[4:8]
    (7, -9223372036854775808, [(100.0, 2.0)], [(101.0, 1.0)])
    """
    nonce, at_ms = found["nonce"], found["timestamp"]
    at_ns, last = NEVER if at_ms is None else int(at_ms) * 1_000_000, NEVER if nonce is None else int(nonce)
    bids, asks = ([(float(price), float(qty)) for price, qty in found[side]] for side in ("bids", "asks"))
    return Update(market, BOOK_SNAPSHOT, at_ns, NEVER, last, NEVER, bids, asks)
