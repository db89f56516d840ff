"""What is promised of a quiet instrument: no more than is proven; and connections that are dead or mute."""

import time

import pytest
from aiohttp import ClientConnectionResetError
from ccxt.async_support.base.ws.client import Client as Connection
from exchange_bench import Client, connected, start, trading
from stand_in import Bybit

from events.schema import BEACON

QUIET = "DOGE/USDT"


def traded_for_long(server):
    """Everything but one symbol trades, until the server ends."""
    start(server, trading(server, 10**9, symbols=[symbol for symbol in server.symbols if symbol != QUIET]))


@pytest.mark.slow
def test_a_quiet_instrument_gets_heartbeats_when_the_connection_pushes_and_rest_has_nothing():
    with connected("binance") as (server, client):
        newest = server.traded[QUIET][-1]["ns"]
        traded_for_long(server)
        client.until(lambda: len(client.heartbeats(QUIET)) >= 3)
        beats = client.heartbeats(QUIET)
        assert beats == sorted(set(beats))
        assert all(beat % 10**9 == 0 and newest < beat < time.time_ns() - 10**9 for beat in beats)
        busy = server.symbols[0]
        assert all(not len(frame.control) for frame in client.frames if frame.watermark > 0)
        assert not client.heartbeats(busy) or max(client.heartbeats(busy)) <= client.rows(busy)[-1][1]


@pytest.mark.slow
def test_a_trade_that_was_not_pushed_is_found_before_anything_is_promised_past_it():
    with connected("binance") as (server, client):
        traded_for_long(server)
        client.until(lambda: client.heartbeats(QUIET))
        server.make(QUIET, 1)  # never pushed
        client.until(lambda: len(client.rows(QUIET)) == 1)
        before = [frame.watermark for frame in client.frames if frame.instrument.endswith(QUIET)][:-1]
        assert max(before) <= client.rows(QUIET)[0][1]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["mute", "gone"])
def test_a_connection_that_does_not_push_proves_nothing(how):
    with connected("binance") as (server, client):
        traded_for_long(server)
        client.until(lambda: client.heartbeats(QUIET))
        if how == "mute":
            server.mute = True  # pings are answered, REST too
        else:
            server.status, server.refuse = 503, 10**9
            server.do(server.cut(hard=True))
        silent = time.time_ns()
        ends = time.monotonic() + 4
        client.until(lambda: time.monotonic() > ends)
        assert max(client.heartbeats(QUIET)) <= silent
        if how == "mute":  # REST shows that it is mute, so it is ended, and begun again
            client.until(lambda: client.part.feed.counts["mute"] > 0)
        server.mute, server.status, server.refuse = False, None, 0
        client.until(lambda: max(client.heartbeats(QUIET)) > silent + 10**9)


@pytest.mark.slow
def test_a_dead_connection_is_ended():
    """Nothing is pushed and no ping is answered, but the connection stays: a firewall that forgot it."""
    with connected("kraken", stale_s=1.5, keep_alive_s=20.0) as (_, client):
        client.until(lambda: client.part.feed.counts["stale"] > 0)
        client.until(lambda: client.part.feed.counts["connected"] > 1)


@pytest.mark.slow
def test_a_connection_that_is_gone_as_it_subscribes_is_made_anew(monkeypatch):
    send, gone = Connection.send, []

    async def gone_at_first(connection, message):
        if not gone:
            gone.append(message)
            raise ClientConnectionResetError(
                "Cannot write to closing transport"
            )  # aiohttp's own, which ccxt does not turn
        await send(connection, message)

    monkeypatch.setattr(Connection, "send", gone_at_first)
    with connected("kraken") as (server, client):
        server.do(server.trade(server.symbols[0], 20))
        client.until(client.complete)
        assert gone
        assert client.part.feed.error is None


class TwoContracts(Bybit):
    symbols = ("BTC/USDT:USDT", "ETH/USDT:USDT")


@pytest.mark.slow
def test_where_ids_do_not_count_heartbeats_say_what_they_are():
    with connected("bybit", TwoContracts) as (server, client):
        busy, quiet = server.symbols
        start(server, trading(server, 10**9, symbols=[busy]))
        client.until(lambda: len(client.heartbeats(quiet)) >= 2)
        said = client.said(quiet, BEACON)
        assert [int(row["until"]) for row in said] == client.heartbeats(quiet)
        assert all(row["since"] < row["until"] for row in said)


def test_clients_of_tests_ask_no_other_host():
    with connected("binance", symbols=["BTC/USDT"]) as (server, client):
        urls = client.part.feed.client.urls["api"]
        assert {urls["public"], urls["ws"]["spot"]} == {
            f"http://{server.address}/api/v3",
            f"ws://{server.address}/stream/ws",
        }
        assert isinstance(client, Client)
