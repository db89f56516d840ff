"""Live books of the local exchange while faults happen: what was handed out is, once healed, the book of REST at the same id."""

from __future__ import annotations

import pytest
from books_bench import updates_of
from live_books import QUIET, Client, connected, in_order
from simulator_clients import KRAKEN, LINEAR, SPOT, START_NS, loopback_only  # noqa: F401

from connectors.exchange.heartbeats import MARGIN_NS
from connectors.simulator.exchange import Exchange
from events.feeds import BOOKS, TRADES
from events.schema import BOOK_SNAPSHOT, HOLE, VOID
from events.times import SECOND_NS

pytestmark = [pytest.mark.usefixtures("loopback_only"), pytest.mark.slow]
ALL = pytest.mark.parametrize("instrument", [SPOT, LINEAR, KRAKEN])
BINANCE = pytest.mark.parametrize("instrument", [SPOT, LINEAR])


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
