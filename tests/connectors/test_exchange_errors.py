"""What cannot be helped by trying again is a sentence."""

import socket
import time
from dataclasses import replace

import pytest
from exchange_bench import QUICK, SERVERS, Client, connected

from connectors.exchange import ExchangeSource, Options
from connectors.exchange.client import make_client
from events.errors import InputError


def ended(client):
    """The error that ended a source."""
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        try:
            client.poll()
        except InputError as error:
            client.part.close()
            return str(error)
        time.sleep(0.002)
    return pytest.fail("it goes on")


class Nobody:
    """An address where nobody listens."""

    symbols = ("BTC/USDT",)

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"


def test_an_exchange_that_cannot_be_reached_is_named_with_what_was_tried():
    nobody = Nobody()
    said = ended(Client("binance", nobody, contact_s=1.0))
    assert said.startswith(f"binance did not answer within 1 s; tried {nobody.address}")
    assert "tidewax simulate" in said


@pytest.mark.parametrize("exchange", ["binance", "kraken", "bybit"])
def test_a_geo_block_is_a_sentence(exchange):
    with SERVERS[exchange]() as server:
        server.status = 451
        assert "refuses to serve this address" in ended(Client(exchange, server))


def test_a_wrong_symbol_is_named_with_what_was_meant():
    with SERVERS["binance"]() as server:
        said = ended(Client("binance", server, ["BTC/USTD", "ETH/USDT"]))
        assert said.startswith("binance has no market BTC/USTD; did you mean BTC/USDT?")
        assert "ETH" not in said


def test_a_clock_that_is_far_off_is_a_sentence():
    with connected("binance", symbols=["BTC/USDT"]) as (_, client):
        feed = client.part.feed
        feed.options = replace(feed.options, clock_s=60.0)  # a server of one's own may live in another time
        time_of_venue = feed.client.fetch_time

        async def ahead():
            return await time_of_venue() + 3_600_000

        feed.client.fetch_time = ahead
        future = client.source.hub.submit(feed._set_clock())
        with pytest.raises(InputError, match=r"the clock of this machine is 3600 s behind that of binance: set it"):
            future.result(60)


@pytest.mark.slow
def test_one_exchange_that_fails_does_not_end_the_others():
    with SERVERS["kraken"]() as server:
        server.make("BTC/USD", 20)
        addresses = {"kraken": server.address, "binance": Nobody().address}
        source = ExchangeSource({"kraken": ["BTC/USD"], "binance": ["BTC/USDT"]}, Options(**QUICK), addresses)
        parts = {"kraken": source.build_part("in", "kraken", None)}
        source.options = replace(source.options, contact_s=1.0)
        parts["binance"] = source.build_part("in", "binance", None)
        ends = time.monotonic() + 120
        while parts["binance"].feed.error is None:
            assert time.monotonic() < ends
            time.sleep(0.002)
        assert parts["binance"].next_batch() == []
        parts["kraken"].next_batch()
        assert source.fatal() is None
        for part in parts.values():
            part.close()


def test_an_exchange_that_there_is_not():
    with pytest.raises(InputError, match=r"no exchange 'krakn', only binance, .*did you mean kraken"):
        make_client("krakn", ["BTC/USD"])
    with pytest.raises(InputError, match="name at least one exchange"):
        ExchangeSource({"kraken": []})
