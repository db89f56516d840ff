"""One connection that pushes books: held by ccxt, read past it, ended when it is silent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import ccxt
from aiohttp import WSMsgType

from connectors.exchange.book_frames import NOT_READ, READERS, Update, is_book
from connectors.exchange.book_state import SILENT
from connectors.exchange.client import guard, make_client
from connectors.exchange.faults import words
from connectors.exchange.health import NOT_YET
from connectors.exchange.venues import Market
from connectors.retry import Backoff
from events.schema import NEVER
from events.times import SECOND_NS

if TYPE_CHECKING:
    from connectors.exchange.books import Book, Books
    from connectors.exchange.feed import Feed

log = logging.getLogger(__name__)
_REWATCH_S: Final = 0.5
_UNSUBSCRIBED: Final = '"unsubscribe"'
_HEAD: Final = 200  # characters of a message in which its kind stands


class BookConnection:
    """A connection, with a ccxt client of its own.

    Args:
        owner: takes what is pushed.
        feed: that of the exchange.
        markets: what is subscribed to, by symbol; one that is no instrument of the feed only shows that the connection pushes.

    Attributes:
        client: of ccxt.
        books: those that come over it, by the venue's name of the market.
        heard_ns: when it pushed last, or was made.
        failure: since when and why it does not push, None while it does.
    """

    def __init__(self, owner: Books, feed: Feed, markets: Mapping[str, Market]) -> None:
        self._owner, self._feed, self._markets = owner, feed, markets
        self.client = client = make_client(feed.exchange, list(markets), feed.address, feed.options.keep_alive_s)
        client.set_markets(list(markets.values()))
        client.handle_order_book_subscription = _nothing  # of binance: it would fetch every snapshot once more
        client.authenticate = dict  # of coinbase, which asks for a key where none is needed
        client.on_connected = partial(self._on_connected, client.on_connected)
        guard(client)
        self.books: dict[str, Book] = {
            owner.venue_name(market): owner.books[symbol] for symbol, market in markets.items() if symbol in owner.books
        }
        self.heard_ns = self._made_ns = self._stamp_ns = self._pushed_ns = NEVER
        self.failure: tuple[int, str] | None = (feed.clock.now(), NOT_YET)
        self._connection: Any = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Subscribe."""
        symbols, chunk = list(self._markets), self._owner.venue.chunk
        for at in range(0, len(symbols), chunk):
            tasks.create_task(self._hold(symbols[at : at + chunk]))

    @property
    def up(self) -> bool:
        """Whether it is connected."""
        connection = self._connection
        return connection is not None and connection.isConnected and connection.error is None

    @property
    def reached_ns(self) -> int:
        """Up to when it has pushed, in the venue's own time; NEVER where that is not known."""
        return min(self._pushed_ns, self._stamp_ns)

    async def send(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Send messages; where the connection is gone that shows elsewhere."""
        try:
            for message in messages:
                await self._connection.send(message)
        except Exception as error:
            self.end(f"a message could not be sent: {error!r}")

    def end(self, why: str) -> None:
        """End the connection, so that it is made anew."""
        if self.up:
            log.info("%s: a connection of books is ended: %s", self._feed.exchange, why)
            self._connection.on_error(ccxt.NetworkError(why))

    def look(self) -> None:
        """End it if it has pushed nothing for too long; a book that alone is silent, though it is traded, is subscribed to anew."""
        if not self.up:
            return
        limit_ns = round(self._feed.options.stale_s * SECOND_NS)
        now = self._feed.clock.now()
        if now - self.heard_ns > limit_ns:
            self._owner.counts[SILENT] += 1
            self.end(f"no update of a book for {self._feed.options.stale_s:g} s")
            return
        for book in self.books.values():
            heard_ns = max(book.state.newest_ns, book.asked_ns, self._made_ns)
            if book.one.order.last_ns - heard_ns > limit_ns and not (book.unheard or book.dropped):
                log.info("%s: no update of its book, though it is traded: it is subscribed to anew", book.one.key)
                self._owner.unheard(book)

    def _on_connected(self, after: Any, connection: Any, message: Any = None) -> None:
        self._connection, self._made_ns = connection, self._feed.clock.now()
        self.heard_ns, self._stamp_ns = self._made_ns, NEVER
        connection.handle_message = _Reader(self, self._feed, connection)
        after(connection, message)
        self._owner.counts["connected"] += 1
        self._owner.lost(list(self.books.values()))

    def take(self, updates: list[Update]) -> None:
        """Take what was pushed."""
        now = self._feed.clock.now()
        self.heard_ns = self._pushed_ns = now
        self.failure = None
        for update in updates:
            self._stamp_ns = max(self._stamp_ns, update.at_ns)
            book = self.books.get(update.market)
            if book is not None:
                self._owner.arrived(book, self.timed(update, now), now)

    def timed(self, update: Update, now_ns: int) -> Update:
        """An update with a time: where the venue states none, that of the newest one pushed on this connection, else that of its
        receipt. So what is in it is not known too early.
        """
        if update.at_ns != NEVER:
            return update
        return update._replace(at_ns=now_ns if self._stamp_ns == NEVER else self._stamp_ns)

    def unread(self, text: str) -> None:
        """A frame of a book could not be read, so that none of its books is known."""
        self._owner.counts["unread"] += 1
        log.warning("%s: an update of a book could not be read: %s", self._feed.exchange, text[:300])
        self.end("an update of a book could not be read")

    async def _hold(self, symbols: list[str]) -> None:
        """Hold a subscription until cancelled. Nothing comes of it, since ccxt sees no update."""
        feed, venue, backoff = self._feed, self._owner.venue, Backoff(0.05, 30.0)
        task = asyncio.current_task()
        while True:
            pushed_ns = self._pushed_ns
            try:
                if feed.venue.by_symbol:
                    await self.client.watch_order_book(symbols[0], venue.limit, dict(venue.params))
                else:
                    await self.client.watch_order_book_for_symbols(symbols, venue.limit, dict(venue.params))
                await asyncio.sleep(_REWATCH_S)
                continue
            except (ccxt.BaseError, OSError) as error:
                failure: BaseException = error
            except asyncio.CancelledError as error:
                if task is None or task.cancelling():
                    raise
                failure = error  # ccxt cancels what waits on a connection that it closes
            if self._pushed_ns > pushed_ns:
                backoff.reset()
            self.failure = (feed.clock.now(), f"the connection of its books was lost: {words(failure)}"[:200])
            log.info("%s: a connection of books was lost: %r", feed.exchange, failure)
            await asyncio.sleep(backoff.next())


class _Reader:
    """What a connection does with a message, in place of ccxt's `handle_message`."""

    def __init__(self, owner: BookConnection, feed: Feed, connection: Any) -> None:
        self._owner, self._connection, self._otherwise = owner, connection, connection.handle_message
        self._exchange, self._milliseconds = feed.exchange, feed.client.milliseconds
        self._read = READERS[feed.exchange]

    def __call__(self, message: Any) -> None:
        """Take a message."""
        if message.type is not WSMsgType.TEXT:
            self._otherwise(message)
            return
        try:
            updates = self._read(message.data)
        except NOT_READ:
            if is_book(self._exchange, message.data):
                self._owner.unread(message.data)
            elif _UNSUBSCRIBED not in message.data[:_HEAD]:  # at which ccxt would end its subscription
                self._otherwise(message)
            return
        self._connection.last_message_at = self._milliseconds()
        try:
            self._owner.take(updates)
        except Exception as error:  # as in `client.guard`: else the connection would stay open and silent
            self._connection.on_error(ccxt.NetworkError(f"{self._exchange}: an update could not be taken: {error!r}"))


def _nothing(*given: Any) -> None:
    """In place of a method of ccxt that is not to do anything."""
