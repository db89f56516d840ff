"""A client of live books of the local exchange: what was handed out, and whether it is the book of REST at the same id."""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import contextmanager

import numpy as np
from books_bench import Kept, updates_of
from simulator_clients import KRAKEN, LINEAR, SPOT, START_NS

from connectors.exchange import ExchangeSource, Options
from connectors.simulator.exchange import Exchange
from events.feeds import BOOKS, TRADES
from events.schema import NEVER
from operators.intake import Intake

QUICK = {"grid_s": 0.5, "settle_s": 0.3, "mute_s": 0.6, "stale_s": 1.0, "keep_alive_s": 1.0, "contact_s": 60.0}
WITHIN_S = 120.0
QUIET = "binance:LTC/USDT"
DEPTHS = {
    SPOT: "/api/v3/depth?symbol=BTCUSDT&limit=1000",
    LINEAR: "/fapi/v1/depth?symbol=BTCUSDT&limit=1000",
    QUIET: "/api/v3/depth?symbol=LTCUSDT&limit=1000",
    KRAKEN: "/0/public/Depth?pair=XXBTZUSD&count=500",
}


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
            self.until(lambda name=instrument, book=book: self._equal(name, book))

    def _equal(self, instrument, book):
        with urllib.request.urlopen(self.exchange.url + DEPTHS[instrument]) as answer:
            told = json.load(answer)
        for _ in range(20):
            self.poll()
        if book.state != "whole":  # only now, since polls may bring what breaks it
            return False
        told = told["result"]["XXBTZUSD"] if instrument == KRAKEN else told
        theirs = [[(float(price), float(qty)) for price, qty, *_ in told[side]] for side in ("bids", "asks")]
        equal = theirs == [book.best(len(side))[n] for n, side in enumerate(theirs)]
        if instrument == KRAKEN:  # it has no ids
            return equal
        assert equal or told["lastUpdateId"] != book.id
        return told["lastUpdateId"] == book.id


@contextmanager
def connected(*instruments, seed=1, **options):
    """The local exchange, and a client whose books are whole."""
    with Exchange(instruments, seed=seed, start_ns=START_NS, speed=0, activity=20, history_days=0.01) as exchange:
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
