"""Live books of the local exchange while faults happen: what was handed out is, once healed, the book of REST at the same id."""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
from books_bench import Kept, updates_of
from simulator_clients import KRAKEN, LINEAR, SPOT, START_NS, loopback_only  # noqa: F401

from connectors.exchange import ExchangeSource, Options
from connectors.exchange.heartbeats import MARGIN_NS
from connectors.simulator.exchange import Exchange
from events.feeds import BOOKS, TRADES
from events.schema import BOOK_SNAPSHOT, HOLE, NEVER, VOID
from events.times import SECOND_NS
from operators.intake import Intake

pytestmark = pytest.mark.usefixtures("loopback_only")
QUICK = {"grid_s": 0.5, "settle_s": 0.3, "mute_s": 0.6, "stale_s": 1.0, "keep_alive_s": 1.0, "contact_s": 10.0}
WITHIN_S = 30.0
QUIET = "binance:LTC/USDT"
DEPTHS = {
    SPOT: "/api/v3/depth?symbol=BTCUSDT&limit=1000",
    LINEAR: "/fapi/v1/depth?symbol=BTCUSDT&limit=1000",
    QUIET: "/api/v3/depth?symbol=LTCUSDT&limit=1000",
    KRAKEN: "/0/public/Depth?pair=XXBTZUSD&count=500",
}
ALL = pytest.mark.parametrize("instrument", [SPOT, LINEAR, KRAKEN])
BINANCE = pytest.mark.parametrize("instrument", [SPOT, LINEAR])


class Client:
    """A source of trades and books of some instruments, and what became of what it handed out.

    Attributes:
        pace_s: by how much the market goes on each time that nothing has come yet.
    """

    def __init__(self, exchange, *instruments, pace_s=0.02, **options):
        self.exchange, self.instruments, self.pace_s = exchange, instruments, pace_s
        self.options = Options(**{**QUICK, "beside": (BOOKS,), **options})
        self.frames, self.books = {name: [] for name in instruments}, {name: Kept() for name in instruments}
        self.part = None
        self.connect()

    def connect(self):
        """Make a source, which goes on with trades where the one before it ended."""
        state = None if self.part is None else self.part.snapshot()
        venue = self.instruments[0].partition(":")[0]
        symbols = [name.partition(":")[2] for name in self.instruments]
        address = self.exchange.url.removeprefix("http://")
        source = ExchangeSource({venue: symbols}, self.options, {venue: address})
        self.part = source.build_part("in", venue, state)

    @property
    def counts(self):
        return self.part.feed.books.counts

    def poll(self):
        """Take what has come."""
        batch = self.part.next_batch()
        for instrument, frame in batch:
            self.frames[instrument].append(frame)
            if frame.name == BOOKS and len(frame.rows):
                assert frame.rows["last"][-1]  # no frame splits an update
                for update in updates_of(frame.rows):
                    self.books[instrument].take(update)
        if not batch:
            time.sleep(0.002)

    def until(self, reached, polling=True):
        """Poll, if it should, and let the market go on, until something is so; the deadline only ends a test that has failed."""
        ends = time.monotonic() + WITHIN_S
        while not reached():
            assert time.monotonic() < ends, (self.part.feed.counts, self.counts, self.part.feed.error)
            self.exchange.advance(self.pace_s)
            self.poll() if polling else time.sleep(0.002)

    def rows(self, instrument, name=BOOKS):
        """All rows of a stream."""
        found = [frame.rows for frame in self.frames[instrument] if frame.name == name and len(frame.rows)]
        return np.concatenate(found)

    def said(self, instrument, kind):
        """Control rows of the book."""
        rows = [row for frame in self.frames[instrument] if frame.name == BOOKS for row in frame.control]
        return [row for row in rows if row["kind"] == kind]

    def whole(self):
        """Whether every book is."""
        return all(book.state == "whole" for book in self.books.values())

    def right(self):
        """Compare every book with REST, when both stand at one id."""
        for instrument, book in self.books.items():
            self.until(lambda name=instrument, book=book: book.state == "whole" and self._equal(name, book))

    def _equal(self, instrument, book):
        with urllib.request.urlopen(self.exchange.url + DEPTHS[instrument]) as answer:
            told = json.load(answer)
        for _ in range(20):
            self.poll()
        told = told["result"]["XXBTZUSD"] if instrument == KRAKEN else told
        theirs = [[(float(price), float(qty)) for price, qty, *_ in told[side]] for side in ("bids", "asks")]
        equal = theirs == [book.best(len(side))[n] for n, side in enumerate(theirs)]
        if instrument == KRAKEN:  # it has no ids
            return equal
        assert equal or told["lastUpdateId"] != book.id
        return told["lastUpdateId"] == book.id


@contextmanager
def connected(*instruments, **options):
    """The local exchange, and a client whose books are whole."""
    with Exchange(instruments, start_ns=START_NS, speed=0, activity=20, history_days=0.01) as exchange:
        client = Client(exchange, *instruments, **options)
        try:
            client.until(client.whole)
            yield exchange, client
        finally:
            client.part.close()


def in_order(client):
    """Times never go back, promises are kept, numbers count on; nothing is refused but repeats."""
    for instrument, frames in client.frames.items():
        intake, watermark, refused = Intake(), NEVER, []
        for frame in frames:
            if frame.name != BOOKS:
                continue
            if len(frame.rows):
                assert frame.rows["available_at"].min() >= watermark
            watermark = max(watermark, frame.watermark)
            intake.push(frame)
            refused += [made for made in intake.advance() if made.name == "dead_letters"]
        assert not refused
        rows = client.rows(instrument)
        assert (np.diff(rows["available_at"]) >= 0).all()
        assert (np.diff(rows["seq"]) > 0).all()
        trades = client.rows(instrument, TRADES)["trade_id"]
        assert (np.diff(trades) == 1).all()


def test_books_are_those_of_rest():
    with connected(SPOT, LINEAR) as (_, client):
        client.until(lambda: all(len(updates_of(client.rows(name))) > 50 for name in (SPOT, LINEAR)))
        client.right()
        assert client.counts["asked"] == client.counts["snapshots"] == 2
        assert [book.breaks for book in client.books.values()] == [0, 0]
        in_order(client)


@pytest.mark.parametrize(
    ("instrument", "fault", "reason"),
    [
        (SPOT, "sequence-skip", "skipped"),
        (LINEAR, "sequence-skip", "skipped"),
        (SPOT, "crossed-book", "crossed"),
        (LINEAR, "crossed-book", "crossed"),
        (KRAKEN, "crossed-book", "crossed"),
    ],
)
def test_a_fault_of_a_book_is_noticed_and_healed(instrument, fault, reason):
    with connected(instrument) as (exchange, client):
        for made in (1, 2):
            exchange.fault(fault)
            client.until(lambda made=made: client.counts[reason] == made)
            client.until(lambda made=made: client.counts["snapshots"] == made + 1)
            client.right()
        breaks, holes = client.books[instrument].breaks, len(client.said(instrument, HOLE))
        assert (breaks, holes) == ((0, 2) if instrument == KRAKEN else (2, 0))  # where ids tell it is seen in them
        in_order(client)


def test_updates_of_kraken_that_are_left_out_show_in_its_checksum_or_cross_the_book_and_heal():
    with connected(KRAKEN) as (exchange, client):

        def broken():
            return client.counts["unlike its checksum"] + client.counts["crossed"]

        exchange.fault("skip", 0.3)  # a checksum is of the ten best levels, so not every one shows at once
        client.until(lambda: broken() >= 2)
        exchange.clear()
        client.right()
        assert len(client.said(KRAKEN, HOLE)) == broken()
        in_order(client)


@BINANCE
def test_a_snapshot_that_is_older_than_what_was_pushed_is_fetched_again(instrument):
    with connected(instrument) as (exchange, client):
        exchange.advance(6)
        exchange.fault("stale-depth", 2)
        exchange.fault("sequence-skip")
        client.until(lambda: client.counts["unfit"] >= 1)
        client.right()
        assert (client.counts["snapshots"], client.books[instrument].breaks) == (2, 1)
        in_order(client)


@ALL
def test_muted_books_are_silent_while_trades_go_on_and_heal(instrument):
    with connected(instrument) as (exchange, client):
        exchange.fault("muted-depth")
        client.until(lambda: client.counts["silent"] >= 2)
        before = len(client.rows(instrument, TRADES))
        client.until(lambda: len(client.rows(instrument, TRADES)) > before + 20)
        exchange.clear()
        client.right()
        assert client.part.feed.counts["connected"] == 1  # that of trades was never touched
        in_order(client)


@BINANCE
def test_skipped_updates_heal(instrument):
    with connected(instrument) as (exchange, client):
        exchange.fault("skip", 0.3)
        client.until(lambda: client.counts["skipped"] >= 2 and client.books[instrument].breaks >= 2)
        exchange.clear()
        client.right()
        assert client.counts["snapshots"] >= 2
        in_order(client)


def test_updates_that_come_twice_are_handed_out_once():
    with connected(SPOT) as (exchange, client):
        exchange.fault("duplicates", 0.5)
        client.until(lambda: client.counts["repeated"] >= 10)
        exchange.clear()
        client.right()
        assert client.books[SPOT].breaks == 0
        deltas = [update["u_last"][0] for update in updates_of(client.rows(SPOT)) if update["kind"][0] != BOOK_SNAPSHOT]
        assert len(deltas) == len(set(deltas))
        in_order(client)


@BINANCE
def test_a_silent_connection_is_made_anew(instrument):
    with connected(instrument) as (exchange, client):
        made = client.counts["connected"]
        exchange.fault("mute")
        client.until(lambda: client.counts["silent"] >= 1)
        exchange.clear()
        client.until(lambda: client.counts["connected"] > made and client.counts["snapshots"] >= 2)
        client.right()
        in_order(client)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_lost_connection_is_made_anew(how):
    with connected(SPOT, LINEAR) as (exchange, client):
        exchange.fault(how)
        client.until(lambda: client.counts["snapshots"] >= 4)
        client.right()
        in_order(client)


def test_rest_that_does_not_answer_is_asked_again():
    with Exchange([SPOT], start_ns=START_NS, speed=0, activity=20, history_days=0.01) as exchange:
        client = Client(exchange, SPOT)
        try:
            client.until(lambda: client.counts["connected"])
            exchange.fault("rest-429", 3)
            client.until(client.whole)
            client.right()
            in_order(client)
        finally:
            client.part.close()


def test_what_nobody_takes_is_dropped_stated_and_healed_and_no_trade_is_lost():
    with connected(SPOT, book_rows=2_000) as (_, client):
        feed = client.part.feed
        before = client.rows(SPOT)["available_at"].max()
        client.until(lambda: client.counts["dropped"] > 20, polling=False)
        assert feed.books.waiting < 2_000 + 1_000
        client.until(lambda: client.counts["overflown"] + client.counts["snapshots"] >= 2)
        client.right()
        (void,) = client.said(SPOT, VOID)
        assert before < void["since"] < void["until"]
        rows = client.rows(SPOT)["available_at"]
        assert not ((rows > void["since"]) & (rows < void["until"])).any()
        in_order(client)


def test_a_source_that_begins_again_states_a_whole_book_anew():
    with connected(SPOT) as (_, client):
        client.until(lambda: len(updates_of(client.rows(SPOT))) > 20)
        client.part.close()
        client.exchange.advance(3)
        client.connect()
        client.until(lambda: client.counts["snapshots"])
        client.right()
        assert client.books[SPOT].breaks == 1
        in_order(client)


def test_a_quiet_book_is_promised_up_to_where_its_connection_has_pushed():
    with connected(SPOT, QUIET, pace_s=0.003) as (_, client):
        feed = client.part.feed
        (book,) = [one for one in feed.books.books.values() if one.one.key == QUIET]
        taken, arrived = [], feed.books.arrived
        feed.books.arrived = lambda one, *given: taken.append(one) if one is book else arrived(one, *given)
        client.until(lambda: len(taken) > 5)
        at_ns = book.at_ns
        said = lambda: max(frame.watermark for frame in client.frames[QUIET] if frame.name == BOOKS)  # noqa: E731
        client.until(lambda: said() > at_ns)
        promised = book.promised_ns
        assert promised % (SECOND_NS // 2) == 1
        assert promised < client.rows(SPOT)["available_at"].max() - MARGIN_NS
        feed.books.arrived = arrived
        client.until(lambda: book.at_ns >= promised)
        client.right()
        in_order(client)


def test_a_book_that_alone_is_silent_is_subscribed_to_anew():
    with connected(SPOT, QUIET) as (exchange, client):
        books = client.part.feed.books
        (book,) = [one for one in books.books.values() if one.one.key == QUIET]
        (session,) = [
            one for one in exchange.venues["binance"].sessions if any("depth" in name for name in one.streams)
        ]
        exchange._call(lambda: session.streams.pop("spot ltcusdt@depth@100ms"))
        at_ns = book.at_ns
        client.until(lambda: client.counts["silent"] and client.books[QUIET].breaks == 1)
        client.right()
        assert (client.counts["connected"], client.counts["snapshots"], client.books[SPOT].breaks) == (1, 3, 0)
        assert book.at_ns > at_ns
        in_order(client)


def test_an_update_that_cannot_be_read_ends_the_connection(caplog):
    with connected(SPOT) as (_, client):
        connection = client.part.feed.books.connections[0]
        connection.unread('{"e":"depthUpdate","U":"?"}')
        client.until(lambda: client.counts["snapshots"] >= 2)
        client.right()
        assert "could not be read" in caplog.text
        assert not client.said(SPOT, HOLE)  # ids tell
