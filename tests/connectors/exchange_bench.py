"""What tests of the exchange source share: a source on a stand-in, what came out of it, and waiting with a deadline."""

import asyncio
import time
from contextlib import contextmanager

from stand_in import Binance, Bybit, Coinbase, Kraken, Okx

from connectors.exchange import ExchangeSource, Options
from events.schema import COVERAGE, HOLE

SERVERS = {"binance": Binance, "kraken": Kraken, "bybit": Bybit, "coinbase": Coinbase, "okx": Okx}
QUICK = {"grid_s": 1.0, "settle_s": 0.3, "mute_s": 0.4, "stale_s": 3.0, "keep_alive_s": 1.0, "contact_s": 60.0}
WITHIN_S = 120.0


class Client:
    """A partition of the source, and all frames it has handed out."""

    def __init__(self, exchange, server, symbols=None, state=None, **options):
        self.exchange, self.server = exchange, server
        self.symbols = tuple(symbols or server.symbols)
        options = Options(**{**QUICK, **options})
        self.source = ExchangeSource({exchange: self.symbols}, options, {exchange: server.address})
        self.part = self.source.build_part("in", exchange, state)
        self.frames = []

    def poll(self):
        batch = self.part.next_batch()
        self.frames += [frame for _, frame in batch]
        return batch

    def until(self, reached, within_s=WITHIN_S):
        """Poll until something is so; the deadline is only there to end a test that has failed."""
        ends = time.monotonic() + within_s
        while not reached():
            assert time.monotonic() < ends, f"not reached: {self.part.feed.counts}"
            if not self.poll():
                time.sleep(0.002)  # as the engine does

    def rows(self, symbol):
        """(id, ns, price, qty, side) of each row of a symbol."""
        fields = ["trade_id", "available_at", "price", "qty", "side"]
        of = [frame for frame in self.frames if frame.instrument == f"{self.exchange}:{symbol}" and len(frame.rows)]
        return [row for frame in of for row in frame.rows[fields].tolist()]

    def said(self, symbol, kind):
        of = [frame.control for frame in self.frames if frame.instrument == f"{self.exchange}:{symbol}"]
        return [row for control in of for row in control[control["kind"] == kind]]

    def heartbeats(self, symbol):
        of = [frame for frame in self.frames if frame.instrument == f"{self.exchange}:{symbol}"]
        return [frame.watermark for frame in of if frame.watermark > 0]

    def covered(self):
        """Whether every instrument has begun."""
        return all(self.said(symbol, COVERAGE) for symbol in self.symbols)

    def complete(self):
        """Whether the newest trade of every instrument is out."""
        state = self.part.snapshot()
        return all(state[symbol][0] == self.server.traded[symbol][-1]["id"] + 1 for symbol in self.symbols)

    def traded(self, symbol, since_id):
        """What the server traded from an id on."""
        fields = ("id", "ns", "price", "qty", "side")
        return [tuple(t[f] for f in fields) for t in self.server.traded[symbol] if t["id"] >= since_id]


@contextmanager
def connected(exchange, server_class=None, **options):
    """A stand-in that has traded a little, and a source on it that has begun."""
    with (server_class or SERVERS[exchange])() as server:
        for symbol in server.symbols:
            server.make(symbol, 20)
        client = Client(exchange, server, **options)
        try:
            client.until(client.covered)
            yield server, client
        finally:
            client.part.close()


async def trading(server, count, at_times=(), symbols=None):
    """Make trades in all symbols, or in these, a few at a time, and do things in between: (after how many trades, what)."""
    pending, made = list(at_times), 0
    while made < count:
        for symbol in symbols or server.symbols:
            size = server.random.randrange(1, 6)
            await server.trade(symbol, size)
            made += size
        while pending and made >= pending[0][0]:
            done = pending.pop(0)[1]()
            if done is not None:
                await done
        await asyncio.sleep(0.001)


def start(server, coroutine):
    """Run a coroutine in the server; gives a function that says whether it is done."""
    future = asyncio.run_coroutine_threadsafe(coroutine, server.loop)
    return lambda: future.done() and future.result() is None


def exact(client):
    """Everything that was traded since the beginning came out, as it was, in order, none twice, without a hole."""
    for symbol in client.symbols:
        (covered,) = client.said(symbol, COVERAGE)
        assert client.rows(symbol) == client.traded(symbol, int(covered["id_from"]))
        assert not client.said(symbol, HOLE)
