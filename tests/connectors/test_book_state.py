"""What keeps a book whole in the source, and what does not; which frames of books are read; updates stay in one piece."""

from __future__ import annotations

import numpy as np
import pytest

from connectors.exchange.book_frames import NOT_READ, READERS, Update, is_book
from connectors.exchange.book_rows import Packed, packed, unpacked
from connectors.exchange.book_state import BUFFERED, BookState
from connectors.exchange.frames import Other, frames_of
from connectors.exchange.taps import TradeReader
from connectors.tape.source import cut
from events.feeds import BOOKS
from events.frames import Frame, control
from events.schema import BOOK_DELTA, BOOK_SNAPSHOT, NEVER, VOID

PLAIN = TradeReader(lambda trade: 0, lambda trade: 0)


def snapshot(last=NEVER, bids=((100.0, 5.0),), asks=((101.0, 4.0),), at=1, checksum=None):
    return Update("X", BOOK_SNAPSHOT, at, NEVER, last, NEVER, list(bids), list(asks), checksum)


def delta(first=NEVER, last=None, prev=NEVER, bids=(), asks=(), at=1):
    return Update("X", BOOK_DELTA, at, first, first if last is None else last, prev, list(bids), list(asks))


def fetched(*deltas, nonce=10):
    """A book whose snapshot came over REST."""
    state = BookState()
    for one in deltas:
        state.delta(one)
    assert state.snapshot(snapshot(nonce))
    return state


def test_what_was_buffered_goes_on_where_the_snapshot_ends():
    state = fetched(delta(8, 9, bids=[(90.0, 1.0)]), delta(10, 12, bids=[(99.0, 2.0)]))
    assert (state.synced, state.last, state.waiting) == (True, 12, 0)
    assert state.bids.best(5) == [(100.0, 5.0), (99.0, 2.0)]


@pytest.mark.parametrize(("nonce", "fits"), [(6, False), (7, True), (9, True)])
def test_a_snapshot_that_ends_before_what_was_buffered_does_not_fit(nonce, fits):
    state = BookState()
    state.delta(delta(8, 9))
    assert state.needed == 7
    assert state.snapshot(snapshot(nonce)) is fits
    assert state.synced is fits


@pytest.mark.parametrize(
    ("first", "last", "prev", "follows"),
    [(11, 12, NEVER, True), (9, 12, NEVER, True), (12, 13, NEVER, False), (30, 31, 10, True), (30, 31, 12, False)],
)
def test_an_update_has_to_follow(first, last, prev, follows):
    state = fetched()
    assert state.delta(delta(first, last, prev))
    assert (state.synced, state.reason == "skipped") == (follows, not follows)


def test_right_after_a_snapshot_an_update_may_name_one_before_it_and_later_none():
    state = fetched()
    assert state.delta(delta(9, 31, 8))
    assert state.synced
    state.delta(delta(32, 33, 30))
    assert not state.synced
    assert state.needed == 30  # what came after what is missing is kept


def test_a_skip_in_what_waits_begins_the_waiting_anew():
    state = BookState()
    for first in (1, 2, 9, 10):
        state.delta(delta(first))
    assert (state.waiting, state.needed) == (2, 8)


def test_updates_that_were_seen_are_not_new():
    state = fetched()
    assert [state.delta(delta(first)) for first in (10, 11, 11, 9, 12)] == [False, True, False, False, True]
    assert state.synced


def test_what_waits_is_bounded():
    state = BookState()
    for first in range(1, 2 * BUFFERED):
        state.delta(delta(first))
    assert (state.waiting, state.needed) == (BUFFERED, BUFFERED - 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bids": [(101.0, 1.0)]}, "crossed"),
        ({"asks": [(99.0, 1.0)]}, "crossed"),
        ({"bids": [(99.0, float("nan"))]}, "invalid"),
        ({"bids": [(99.0, -1.0)]}, "invalid"),
        ({"asks": [(0.0, 1.0)]}, "invalid"),
        ({"asks": [(float("inf"), 1.0)]}, "invalid"),
    ],
)
def test_a_book_that_cannot_be_is_lost_until_the_next_snapshot(change, reason):
    state = fetched()
    state.delta(delta(11, **change))
    assert (state.synced, state.reason, state.needed) == (False, reason, 11)
    assert state.counts[reason] == 1
    assert not state.snapshot(snapshot(10))
    assert state.snapshot(snapshot(11))
    assert state.synced


def test_a_crossed_snapshot_makes_no_book():
    state = BookState()
    state.snapshot(snapshot(5, bids=[(102.0, 1.0)]))
    assert not state.synced


def test_where_snapshots_are_pushed_nothing_waits_and_any_fits():
    state = BookState(pushed=True)
    state.snapshot(snapshot(50))
    state.lose("reconnected")
    state.delta(delta(51))
    assert (state.waiting, state.synced) == (0, False)
    assert state.snapshot(snapshot(3))  # ids may begin anew
    assert (state.synced, state.last) == (True, 3)


def test_what_leaves_the_depth_is_named():
    state = BookState(pushed=True, depth=2)
    state.snapshot(snapshot(bids=[(100.0, 1.0), (99.0, 1.0)], asks=[(101.0, 1.0), (102.0, 1.0)]))
    state.delta(delta(bids=[(100.5, 1.0)], asks=[(100.7, 1.0), (100.8, 1.0)]))
    assert state.cut() == ([99.0], [102.0, 101.0])
    assert state.cut() == ([], [])
    assert state.bids.best(9) == [(100.5, 1.0), (100.0, 1.0)]


OTHERS = {
    "binance": [
        ('{"e":"depthUpdate","E":1,"s":"X","U":1,"u":"two","b":[],"a":[]}', True),
        ('{"e":"depthUpdate","E":1,"s":"X","U":1,"u":2,"b":[["1","x"]],"a":[]}', True),
        ('{"e":"depthUpdate","E":1,"s":"X","U":1,"u":2,"b":[["1"]],"a":[]}', True),
        ('{"e":"bookTicker","u":1,"s":"X","b":"1","B":"1","a":"2","A":"1"}', False),
        ('{"result":null,"id":1}', False),
    ],
    "kraken": [
        ('{"channel":"book","type":"update","data":[]}', True),
        ('{"channel":"book","type":"update","data":[{"symbol":"X","bids":[{"price":1}],"asks":[]}]}', True),
        ('{"method":"subscribe","result":{"channel":"book","symbol":"X"},"success":true}', False),
        ('{"channel":"heartbeat"}', False),
    ],
    "okx": [
        ('{"arg":{"channel":"books","instId":"X"},"action":"update","data":[{"bids":[],"asks":[],"ts":"x"}]}', True),
        ('{"event":"subscribe","arg":{"channel":"books","instId":"X"}}', False),
        ('{"arg":{"channel":"trades","instId":"X"},"data":[{}]}', False),
        ("pong", False),
    ],
    "coinbase": [
        ('{"type":"l2update","product_id":"X","changes":[["up","1","1"]],"time":"2023-09-25T07:49:37Z"}', True),
        ('{"type":"l2update","product_id":"X","changes":[["buy","1","1"]],"time":"today"}', True),
        ('{"type":"subscriptions","channels":[]}', False),
    ],
    "bybit": [
        ('{"topic":"orderbook.50.X","type":"delta","ts":1,"data":{"s":"X","b":[],"a":[]}}', True),
        ('{"topic":"publicTrade.X","type":"snapshot","ts":1,"data":[]}', False),
        ('{"op":"pong","args":["5"]}', False),
    ],
}


@pytest.mark.parametrize(
    ("exchange", "text", "book"), [(name, *given) for name, texts in OTHERS.items() for given in texts]
)
def test_what_is_not_as_it_should_be_is_not_read_and_known_for_what_it_is(exchange, text, book):
    with pytest.raises(NOT_READ):
        READERS[exchange](text)
    assert is_book(exchange, text) is book


def test_a_service_of_bybit_that_begins_anew_says_so_with_its_first_id():
    told = '{"topic":"orderbook.50.X","type":"delta","ts":5,"data":{"s":"X","b":[["1","2"]],"a":[],"u":1,"seq":9}}'
    assert READERS["bybit"](told) == [Update("X", BOOK_SNAPSHOT, 5_000_000, NEVER, 1, NEVER, [(1.0, 2.0)], [])]


def rows_of(*updates):
    seq, parts = 0, []
    for update in updates:
        data, n = packed(update, update.at_ns, 7, seq, PLAIN)
        seq, parts = seq + n, [*parts, data]
    return unpacked(parts)


def test_an_update_without_changes_is_a_row_that_says_so():
    rows = rows_of(delta(5, 6, at=3))
    names = ["available_at", "ts_recv", "u_first", "u_last", "u_prev", "price", "qty", "side", "kind", "last", "flags"]
    assert rows[names].tolist() == [(3, 7, 5, 6, NEVER, 0.0, 0.0, 0, BOOK_DELTA, 1, 0)]


def test_updates_share_a_frame_and_what_is_said_stands_between_them():
    first, second = (packed(delta(k, bids=[(1.0, 2.0)]), 1, 1, k, PLAIN)[0] for k in (5, 6))
    void = Other(BOOKS, control=control(VOID, 1, 1, 2))
    items = [("x", Packed(first)), ("y", Packed(first)), ("x", Packed(second)), ("x", void), ("x", Packed(first))]
    frames = [(key, frame.name, frame.rows["u_last"].tolist(), len(frame.control)) for key, frame in frames_of(items)]
    assert frames == [("x", BOOKS, [5, 6], 0), ("x", BOOKS, [], 1), ("y", BOOKS, [5], 0), ("x", BOOKS, [5], 0)]


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 7, 100])
def test_a_tape_cuts_no_update(chunk):
    levels = [[(100.0 - k, 1.0) for k in range(n)] for n in (1, 3, 2, 5, 1, 1)]
    rows = rows_of(*(delta(k, bids=bids) for k, bids in enumerate(levels)))
    parts = list(cut(Frame("x:A/B", BOOKS, rows, 9), chunk))
    assert np.concatenate([part.rows for part in parts]).tobytes() == rows.tobytes()
    assert all(part.rows["last"][-1] for part in parts)
    assert [part.watermark for part in parts] == [NEVER] * (len(parts) - 1) + [9]
    assert len(parts) > 1 or chunk > 7
