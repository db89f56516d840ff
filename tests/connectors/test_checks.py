"""The exchange's own klines, asked for now and then: only closed ones, each once, known when they were received."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from beside_clients import beside_of, promised, rows_of, until
from simulator_clients import loopback_only  # noqa: F401
from test_beside import SPOT, SWAP, T, accepted, market, symbol

from connectors.exchange.klines import klines
from events.feeds import CHECKS
from events.rows import OHLCV
from events.times import MINUTE_NS, SECOND_NS

pytestmark = [pytest.mark.usefixtures("loopback_only"), pytest.mark.slow]


async def _at_once(function, *given):
    return await function(*given)


@pytest.mark.parametrize(
    ("exchange_name", "instruments"),
    [("binance", [SPOT, SWAP]), ("kraken", ["kraken:BTC/USD"])],
    ids=["binance", "kraken"],
)
def test_klines_that_closed_come_once_and_are_known_when_they_were_received(exchange_name, instruments):
    symbols = [symbol(name) for name in instruments]

    async def run(exchange):
        async with beside_of(
            exchange_name, symbols, (CHECKS,), exchange.url, timed=True, reconcile_s=0.2, grid_s=1.0
        ) as feed:
            began = feed.clock.now()
            await until(lambda: len(rows_of(feed)) == len(instruments), lambda: list(feed.queue))
            told = await klines(feed.client, symbols[0], "1m", T, T + MINUTE_NS, _at_once, feed.clock.now)
            beats = promised(feed, instruments[0], CHECKS)
            await until(lambda: len(promised(feed, instruments[0], CHECKS)) > len(beats) + 1, lambda: list(feed.queue))
            return began, feed.clock.now(), rows_of(feed), told

    with market(before_s=2.0, instruments=tuple(instruments)) as exchange:
        began, ended, rows, told = asyncio.run(run(exchange))
    for name in instruments:
        found = rows[name, CHECKS]
        assert found["ts_open"].tolist() == [T]
        assert found["closed"].tolist() == [1]
        assert (found["available_at"] == found["ts_recv"]).all()
        assert max(began, T + MINUTE_NS) <= found["available_at"][0] < ended
        assert accepted(name, CHECKS, found) == (1, [])
    ours = rows[instruments[0], CHECKS]
    for field in ("open", "high", "low", "close", "volume", "quote_volume"):
        assert ours[field].tolist() == told[field].tolist()


def test_after_a_restart_the_klines_of_the_time_between_are_asked_for():
    seen = {(SPOT, CHECKS): (T - 3 * MINUTE_NS + 5 * SECOND_NS, T - 3 * MINUTE_NS + 6 * SECOND_NS)}

    async def run(exchange):
        async with beside_of(
            "binance", [symbol(SPOT)], (CHECKS,), exchange.url, seen=seen, timed=True, reconcile_s=60.0, grid_s=1.0
        ) as feed:
            await until(lambda: rows_of(feed), lambda: list(feed.queue))
            return rows_of(feed)[SPOT, CHECKS]

    with market(before_s=30.0) as exchange:
        found = asyncio.run(run(exchange))
    assert found["ts_open"].tolist() == [T - 3 * MINUTE_NS, T - 2 * MINUTE_NS, T - MINUTE_NS]
    assert len(set(found["seq"].tolist())) == 3
    assert len(set(found["available_at"].tolist())) == 1
    assert found.dtype == OHLCV
    assert np.isfinite(found["quote_volume"]).all()
