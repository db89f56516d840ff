"""Books of venues that push their snapshots: kept whole through updates left out, crossed books and lost connections."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from book_stand_in import BybitBooks, CoinbaseBooks, KrakenBooks, OkxBooks
from books_bench import Kept, updates_of
from simulator_clients import loopback_only  # noqa: F401

from connectors.exchange import ExchangeSource, Options, book_venues, books
from events.feeds import BOOKS
from events.schema import BOOK_SNAPSHOT, HOLE, NEVER
from operators.intake import Intake

pytestmark = [pytest.mark.usefixtures("loopback_only"), pytest.mark.slow]
SERVERS = {"kraken": KrakenBooks, "okx": OkxBooks, "bybit": BybitBooks, "coinbase": CoinbaseBooks}
VENUES = pytest.mark.parametrize("exchange", SERVERS)
WITHIN_S = 120.0
QUICK = {"settle_s": 0.3, "mute_s": 0.6, "stale_s": 2.0, "keep_alive_s": 1.0, "contact_s": 60.0}


class Client:
    """A source of the books of a stand-in, and what became of them."""

    def __init__(self, exchange, server):
        self.exchange, self.server = exchange, server
        options = Options(**QUICK, beside=(BOOKS,))
        source = ExchangeSource({exchange: server.symbols}, options, {exchange: server.address})
        self.part = source.build_part("in", exchange, None)
        self.books, self.frames = {symbol: Kept() for symbol in server.symbols}, []

    @property
    def counts(self):
        return self.part.feed.books.counts

    def poll(self):
        batch = self.part.next_batch()
        for instrument, frame in batch:
            if frame.name == BOOKS:
                self.frames.append(frame)
                for update in updates_of(frame.rows) if len(frame.rows) else ():
                    self.books[instrument.partition(":")[2]].take(update)
        if not batch:
            time.sleep(0.002)

    def until(self, reached):
        """Poll while books change, until something is so; the deadline only ends a test that has failed."""
        ends = time.monotonic() + WITHIN_S
        while not reached():
            assert time.monotonic() < ends, (self.counts, self.part.feed.counts, self.part.feed.error)
            for symbol in self.server.symbols:
                self.server.do(self.server.change(symbol))
            self.poll()

    def right(self):
        """Whether every book is that of the venue, once all that was told is taken."""
        ends = time.monotonic() + WITHIN_S
        while any(list(book.best()) != list(self.server.shown(symbol)) for symbol, book in self.books.items()):
            if time.monotonic() > ends:
                return False
            self.poll()
        return all(book.state == "whole" for book in self.books.values())

    def rows(self, symbol):
        name = f"{self.exchange}:{symbol}"
        return np.concatenate([f.rows for f in self.frames if f.instrument == name and len(f.rows)])

    def holes(self, symbol):
        """(since, until) of each."""
        of = [frame.control for frame in self.frames if frame.instrument == f"{self.exchange}:{symbol}"]
        return [(int(row["since"]), int(row["until"])) for said in of for row in said if row["kind"] == HOLE]


@contextmanager
def connected(exchange, monkeypatch):
    if exchange == "kraken":  # a depth that books of tests leave
        shallow = replace(book_venues.BOOK_VENUES["kraken"], depth=KrakenBooks.depth)
        monkeypatch.setattr(books, "BOOK_VENUES", {**book_venues.BOOK_VENUES, "kraken": shallow})
    with SERVERS[exchange]() as server:
        for symbol in server.symbols:
            server.make(symbol, 20)
        client = Client(exchange, server)
        try:
            client.until(lambda: all(book.state == "whole" for book in client.books.values()))
            yield server, client
        finally:
            client.part.close()
    for symbol in server.symbols:
        rows = client.rows(symbol)
        assert (np.diff(rows["available_at"]) >= 0).all()
        assert (np.diff(rows["seq"]) > 0).all()
        intake = Intake()
        for frame in client.frames:
            if frame.instrument == f"{exchange}:{symbol}":
                intake.push(frame)
                assert not [made for made in intake.advance() if made.name == "dead_letters"]
        for since, until in client.holes(symbol):  # in which nothing came
            assert not ((rows["available_at"] > since) & (rows["available_at"] < until)).any()


@VENUES
def test_books_are_those_of_the_venue(exchange, monkeypatch):
    with connected(exchange, monkeypatch) as (server, client):
        client.until(lambda: all(len(updates_of(client.rows(symbol))) > 100 for symbol in server.symbols))
        assert client.right()
        assert client.counts["snapshots"] == len(server.symbols) == server.subscribed
        assert not any(client.holes(symbol) for symbol in server.symbols)


@pytest.mark.parametrize(
    ("exchange", "reason"), [("okx", "skipped"), ("bybit", "skipped"), ("kraken", "unlike its checksum")]
)
def test_an_update_that_was_not_pushed_is_noticed_stated_and_healed(exchange, reason, monkeypatch):
    with connected(exchange, monkeypatch) as (server, client):
        for _ in range(3):
            lost = client.counts[reason]
            server.silent = 1
            client.until(lambda lost=lost: client.counts[reason] > lost)
            client.until(lambda: client.counts["snapshots"] == client.counts["asked"] + len(server.symbols))
            assert client.right()
        assert sum(len(client.holes(symbol)) for symbol in server.symbols) == client.counts[reason] == 3
        snapshots = [
            update
            for symbol in server.symbols
            for update in updates_of(client.rows(symbol))
            if update["kind"][0] == BOOK_SNAPSHOT
        ]
        assert len(snapshots) == len(server.symbols) + 3
        assert client.counts["connected"] == len(client.part.feed.books.connections)


@VENUES
def test_a_crossed_book_is_stated_and_healed(exchange, monkeypatch):
    with connected(exchange, monkeypatch) as (server, client):
        server.wrong = True
        client.until(lambda: client.counts["crossed"] == 1)
        client.until(lambda: client.counts["snapshots"] == len(server.symbols) + 1)
        assert client.right()
        assert not any(book.breaks for book in client.books.values())  # what crossed it was not handed out
        assert sum(len(client.holes(symbol)) for symbol in server.symbols) == 1


@VENUES
@pytest.mark.parametrize("hard", [False, True])
def test_a_lost_connection_is_stated_and_healed(exchange, hard, monkeypatch):
    with connected(exchange, monkeypatch) as (server, client):
        client.until(lambda: all(len(updates_of(client.rows(symbol))) > 10 for symbol in server.symbols))
        server.do(server.cut(hard))
        client.until(lambda: client.counts["snapshots"] == 2 * len(server.symbols))
        assert client.right()
        assert [len(client.holes(symbol)) for symbol in server.symbols] == [1] * len(server.symbols)


def test_levels_that_leave_the_depth_of_kraken_are_deleted(monkeypatch):
    with connected("kraken", monkeypatch) as (_, client):
        client.until(lambda: len(updates_of(client.rows("BTC/USD"))) > 200)
        assert client.right()
        bids, asks = client.books["BTC/USD"].best()
        assert (len(bids), len(asks)) == (KrakenBooks.depth, KrakenBooks.depth)
        assert client.counts["unlike its checksum"] == 0
        assert (client.rows("BTC/USD")["u_last"] == NEVER).all()
