"""Restarts from the recovery state: nothing lost, nothing twice, whatever was traded meanwhile."""

import pickle
import random

import numpy as np
import pytest
from exchange_bench import SERVERS, Client, connected, exact, start, trading

from connectors.exchange import Position, advanced, sequenced
from connectors.exchange.frames import frames_of
from events.schema import COVERAGE, HOLE


@pytest.mark.slow
@pytest.mark.parametrize("exchange", ["binance", "kraken"])
def test_restarts_at_random_points_lose_nothing_and_repeat_nothing(exchange):
    where = random.Random(5)
    with SERVERS[exchange]() as server:
        for symbol in server.symbols:
            server.make(symbol, 20)
        client = Client(exchange, server)
        client.until(client.covered)
        done = start(server, trading(server, 4_000))
        frames = client.frames

        def reached(client, taken):
            return sum(len(frame.rows) for frame in frames) >= taken or (done() and client.complete())

        for _ in range(5):
            taken = sum(len(frame.rows) for frame in frames) + where.randrange(1, 500)
            client.until(lambda client=client, taken=taken: reached(client, taken))
            state = pickle.loads(pickle.dumps(client.part.snapshot()))
            client.part.close()  # what it had received and not handed out is forgotten
            client = Client(exchange, server, state=state)
            client.frames = frames
        client.until(lambda: done() and client.complete())
        exact(client)
        client.part.close()


@pytest.mark.slow
def test_a_restart_where_ids_do_not_count_overlaps_or_states_a_hole():
    with SERVERS["bybit"]() as server:
        (symbol,) = server.symbols
        server.make(symbol, 20)
        client = Client("bybit", server)
        client.until(client.covered)
        server.do(server.trade(symbol, 30))
        client.until(lambda: len(client.rows(symbol)) >= 30)
        for meanwhile, holes in ((50, 0), (1500, 1)):
            client.part.close()
            server.make(symbol, meanwhile)  # REST serves the last 1,000
            frames, state = client.frames, client.part.snapshot()
            client = Client("bybit", server, state=state)
            client.frames = frames
            newest = client.traded(symbol, "")[-1][1:]
            client.until(lambda newest=newest, c=client: c.rows(symbol)[-1][1:] == newest)
            assert len(client.said(symbol, HOLE)) == holes
        rows = client.rows(symbol)
        client.part.close()
        assert len(rows) == 30 + 50 + 1000 == len({row[0] for row in rows})
        seq = np.concatenate([frame.rows["seq"] for frame in client.frames if len(frame.rows)])
        assert seq.tolist() == list(range(len(rows)))


@pytest.mark.slow
def test_an_absence_too_long_to_refill_begins_anew():
    with connected("binance", symbols=["BTC/USDT"]) as (server, client):
        server.do(server.trade("BTC/USDT", 5))
        client.until(client.complete)
        (symbol,) = client.symbols
        next_id, last_ns, recent = client.part.snapshot()[symbol]
        client.part.close()
        server.make(symbol, 500)
        long_ago = {symbol: (next_id, last_ns - 3600 * 10**9, recent)}
        again = Client("binance", server, client.symbols, long_ago, refill_s=600.0)
        again.until(again.covered)
        server.do(server.trade(symbol, 3))
        again.until(again.complete)
        again.part.close()
        assert len(again.rows(symbol)) == 3
        assert again.part.feed.counts["holes"] == 1
        assert int(again.said(symbol, COVERAGE)[0]["id_from"]) == next_id + 500


def test_a_position_follows_from_the_frames_that_were_handed_out():
    row = (1_000, 5, 7, 7, 1.0, 2.0, 1, 0)
    (_, frame), *_ = frames_of([("binance:A/B", row), ("binance:A/B", (1_500, 5, 8, 8, 1.0, 2.0, 1, 0))])
    assert advanced(None, frame) == Position(9, 1_500)
    (_, frame), *_ = frames_of([("bybit:A/B", (1_000, 5, 41, -77, 1.0, 2.0, 1, 0))])
    assert advanced(Position(41, 900, (-3,)), frame, counts=False) == Position(42, 1_000, (-3, -77))
    assert [sequenced(f"{name}:A/B") for name in ("kraken", "coinbase", "nobody")] == [True, True, False]
