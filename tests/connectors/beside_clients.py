"""What tests of streams beside trades share: those of a feed on a server, without its trades."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager, suppress

import numpy as np

from connectors.exchange.feed import Feed
from connectors.exchange.frames import Other
from connectors.exchange.options import Options
from events.feeds import FEEDS
from events.schema import NEVER

WITHIN_S = 120.0


@asynccontextmanager
async def beside_of(exchange, symbols, streams, url, seen=None, timed=False, **options):
    """A feed of which only the streams beside trades run, on a server that stands for the exchange."""
    feed = Feed(exchange, symbols, {}, Options(beside=streams, **options), url.removeprefix("http://"), seen=seen)

    async def beat():
        while True:
            feed.beside.beat()
            await asyncio.sleep(0.05)

    try:
        if timed:
            await feed._set_clock()
        await feed.client.load_markets()
        markets = {symbol: feed.client.markets[symbol] for symbol in symbols}
        feed.instruments = {symbol: feed._instrument(symbol, market) for symbol, market in markets.items()}
        tasks = asyncio.TaskGroup()
        with suppress(BaseExceptionGroup, asyncio.CancelledError):
            async with tasks:
                feed.beside.start(tasks, markets)
                tasks.create_task(beat())
                yield feed
                for task in list(tasks._tasks):
                    task.cancel()
    finally:
        await feed.beside.close()
        await feed.client.close()


def rows_of(feed):
    """The rows that wait to be handed out, by instrument and stream."""
    found = defaultdict(list)
    for key, item in list(feed.queue):
        if isinstance(item, Other):
            found[key, item.stream] += item.rows
    return {(key, stream): np.array(rows, FEEDS[stream].dtype) for (key, stream), rows in found.items() if rows}


def promised(feed, key, stream):
    """The heartbeats that wait to be handed out."""
    said = [
        item for name, item in list(feed.queue) if name == key and isinstance(item, Other) and item.stream == stream
    ]
    return [item.watermark for item in said if item.watermark != NEVER]


async def until(reached, what):
    """Wait until something is so; the deadline is only there to end a test that has failed."""
    ends = asyncio.get_running_loop().time() + WITHIN_S
    while not reached():
        assert asyncio.get_running_loop().time() < ends, what
        await asyncio.sleep(0.01)
