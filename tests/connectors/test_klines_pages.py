"""Klines over REST by ccxt as it is: whole, in order, none twice and none that is forming, from every venue."""

import asyncio

import numpy as np
import pytest
from history_stand_in import HISTORY, MINUTE_NS
from simulator_clients import KRAKEN, LINEAR, SPOT, by_hand, loopback_only  # noqa: F401

from connectors.exchange.calls import once
from connectors.exchange.client import make_client
from connectors.exchange.klines import klines, timeframes
from connectors.exchange.venues import VENUES
from events.errors import InputError
from events.rows import OHLCV
from events.times import timeframe_ns

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("loopback_only")]
LISTED_NS = 1_700_000_040 * 10**9
NOW_NS = LISTED_NS + 2_000 * MINUTE_NS  # of the machine that asks
COLUMNS = ["ts_open", "open", "high", "low", "close", "volume"]


def ask(exchange, address, symbol, timeframe, since_ns, until_ns, call=once):
    """The klines that a client of that exchange gets at an address."""

    async def run():
        client = make_client(exchange, [symbol], address)
        client.enableRateLimit = False
        try:
            await client.load_markets()
            return await klines(client, symbol, timeframe, since_ns, until_ns, call, lambda: NOW_NS)
        finally:
            await client.close()

    return asyncio.run(run())


def counted(calls):
    async def call(function, *given):
        calls.append(given)
        return await function(*given)

    return call


def whole(rows, length_ns):
    """That every column is what its description says."""
    assert rows.dtype == OHLCV
    assert (np.diff(rows["ts_open"]) > 0).all()
    assert (rows["available_at"] == rows["ts_open"] + length_ns).all()
    assert (rows["seq"] == np.arange(len(rows))).all()
    assert set(rows["ts_recv"].tolist()) <= {NOW_NS}
    assert set(rows["closed"].tolist()) <= {1}
    assert not rows["flags"].any()


@pytest.fixture(scope="module")
def market():
    """An exchange with two days of history that has traded for ninety seconds."""
    with by_hand(activity=1, history_days=2) as exchange:
        exchange.advance(90)
        yield exchange


def address_of(market):
    return market.url.removeprefix("http://")


def truth(market, instrument, length_ns, since_ns, until_ns):
    """What the ledger makes of its trades, as the venue writes it."""
    ledger = market._world.ledger(instrument)
    since_ns = -(-since_ns // length_ns) * length_ns
    rows = ledger.klines(length_ns, since_ns, until_ns // length_ns * length_ns, ledger.next_id)
    written = [
        [float(ledger.listing.price_text(row[name])) for name in ("open", "high", "low", "close")] for row in rows
    ]
    volumes = [float(ledger.listing.qty_text(row["volume"])) for row in rows]
    quote = [row["quote_volume"] for row in rows]
    return [(int(row["ts_open"]), *prices, v) for row, prices, v in zip(rows, written, volumes)], quote


@pytest.mark.parametrize("instrument", [SPOT, LINEAR, KRAKEN])
@pytest.mark.parametrize("timeframe", ["1m", "5m", "30m", "4h", "1d"])
def test_the_local_exchange_gives_what_its_ledger_holds_up_to_the_last_closed_one(market, instrument, timeframe):
    exchange, _, symbol = instrument.partition(":")
    length = timeframe_ns(timeframe)
    since, until = market.now_ns - (700 * length if exchange == "kraken" else 3 * 86_400 * 10**9), market.now_ns
    rows = ask(exchange, address_of(market), symbol, timeframe, since, until)
    whole(rows, length)
    expected, quote = truth(market, instrument, length, since, until)
    assert len(rows) >= 1
    assert rows[COLUMNS].tolist() == expected
    # Kraken gives it by an average price that is rounded to the step of prices
    assert rows["quote_volume"] == pytest.approx(quote, rel=1e-6)
    assert rows["available_at"][-1] == market.now_ns // length * length


@pytest.mark.parametrize("instrument", [SPOT, LINEAR, KRAKEN])
@pytest.mark.parametrize("skew_s", [-300, 300])
def test_the_forming_one_is_not_given_whatever_the_clock_of_the_venue_says(market, instrument, skew_s):
    exchange, _, symbol = instrument.partition(":")
    market.fault("clock-skew", skew_s)
    try:
        rows = ask(exchange, address_of(market), symbol, "1m", market.now_ns - 10**12, market.now_ns + 10**12)
    finally:
        market.clear()
    assert rows["available_at"][-1] == market.now_ns // MINUTE_NS * MINUTE_NS


@pytest.mark.parametrize("minutes", [1, 2, 998, 999, 1_000, 1_001, 1_999, 2_000])
def test_spans_around_the_edges_of_pages_are_whole(market, minutes):
    until = market.now_ns // MINUTE_NS * MINUTE_NS
    calls = []
    rows = ask("binance", address_of(market), "BTC/USDT", "1m", until - minutes * MINUTE_NS, until, counted(calls))
    assert rows["ts_open"].tolist() == list(range(until - minutes * MINUTE_NS, until, MINUTE_NS))
    assert len(calls) == -(-minutes // 999)  # a page begins with the last one of the page before


def test_a_kline_of_history_needs_no_later_one_in_the_span(market):
    until = market.now_ns // MINUTE_NS * MINUTE_NS - 500 * MINUTE_NS
    rows = ask("binance", address_of(market), "BTC/USDT", "1m", until - 3 * MINUTE_NS, until + 59 * 10**9)
    assert rows["available_at"][-1] == until


def test_kraken_serves_the_newest_alone(market):
    rows = ask("kraken", address_of(market), "BTC/USD", "1m", market.now_ns - 1_000 * MINUTE_NS, market.now_ns)
    assert len(rows) == 719
    assert len(ask("kraken", address_of(market), "BTC/USD", "1m", 0, market.now_ns - 900 * MINUTE_NS)) == 0


def served(exchange, **given):
    return HISTORY[exchange](**given)


def compare(server, exchange, timeframe, since_ns, until_ns, call=once):
    rows = ask(exchange, server.address, server.symbols[0], timeframe, since_ns, until_ns, call)
    length = timeframe_ns(timeframe)
    whole(rows, length)
    expected = server.truth(length, since_ns, until_ns)
    assert rows[COLUMNS].tolist() == [row[:6] for row in expected]
    if exchange == "coinbase":
        assert np.isnan(rows["quote_volume"]).all()
    else:
        assert rows["quote_volume"].tolist() == [row[6] for row in expected]
    return rows


@pytest.mark.parametrize("exchange", HISTORY)
@pytest.mark.parametrize(
    ("back", "count"), [(0, 1), (0, 299), (0, 300), (1, 300), (1, 301), (0, 601), (7, 999), (7, 1)]
)
def test_spans_of_venues_whose_pages_go_backwards(exchange, back, count):
    with served(exchange, minutes=1_200) as server:
        until = server.now_ns // MINUTE_NS * MINUTE_NS - back * MINUTE_NS
        rows = compare(server, exchange, "1m", until - count * MINUTE_NS, until)
        assert len(rows) == count


@pytest.mark.parametrize("exchange", HISTORY)
@pytest.mark.parametrize("timeframe", ["5m", "1d"])
def test_longer_klines_begin_where_the_day_does_in_utc(exchange, timeframe):
    with served(exchange, minutes=6_000) as server:
        rows = compare(server, exchange, timeframe, server.listed_ns, server.now_ns)
        assert len(rows) >= 4


@pytest.mark.parametrize("exchange", HISTORY)
def test_what_lies_before_the_listing_is_skipped_in_few_calls(exchange):
    with served(exchange, minutes=1_000) as server:
        calls = []
        since = server.listed_ns - 400 * 86_400 * 10**9
        rows = compare(server, exchange, "1m", since, server.now_ns + 10**12, counted(calls))
        assert len(rows) == 1_000
        assert len(calls) < 20  # not the 1,900 of all its minutes


@pytest.mark.parametrize("exchange", HISTORY)
def test_minutes_that_the_venue_leaves_out_are_missing_and_nothing_else(exchange):
    quiet = {LISTED_NS + minute * MINUTE_NS for minute in (3, 4, *range(100, 1_500), 1_998)}
    with served(exchange, minutes=2_000, left_out=quiet) as server:
        rows = compare(server, exchange, "1m", server.listed_ns, server.now_ns)
        assert len(rows) == 2_000 - len(quiet)


@pytest.mark.parametrize("exchange", HISTORY)
def test_a_span_without_any_is_empty(exchange):
    with served(exchange) as server:
        for since, until in ((0, 10**15), (server.now_ns + 10**12, server.now_ns + 10**13), (5, 5)):
            rows = ask(exchange, server.address, server.symbols[0], "1m", since, until)
            assert (len(rows), rows.dtype) == (0, OHLCV)


def test_a_venue_that_gives_shorter_pages_than_it_is_asked_for_loses_nothing():
    with served("okx", minutes=1_800) as server:
        server.most = 100
        compare(server, "okx", "1m", server.listed_ns, server.now_ns)


def test_the_volume_of_contracts_is_in_base_units():
    with served("okx", minutes=50) as server:
        rows = ask("okx", server.address, server.contract, "1m", server.listed_ns, server.now_ns)
        expected = server.truth(MINUTE_NS, server.listed_ns, server.now_ns)
        assert rows[["volume", "quote_volume"]].tolist() == [row[5:] for row in expected]


@pytest.mark.parametrize("exchange", ["okx", "bybit"])
def test_the_forming_one_is_not_given_by_venues_that_go_backwards(exchange):
    with served(exchange, minutes=50) as server:
        rows = ask(exchange, server.address, server.symbols[0], "1m", server.listed_ns, server.now_ns + 10**12)
        assert rows["available_at"][-1] == server.now_ns // MINUTE_NS * MINUTE_NS


def test_the_clock_of_coinbase_closes_a_kline_that_none_follows():
    with served("coinbase", minutes=50, left_out={LISTED_NS + 50 * MINUTE_NS}) as server:
        rows = ask("coinbase", server.address, "BTC/USD", "1m", server.listed_ns, server.now_ns + 10**12)
        assert rows["available_at"][-1] == LISTED_NS + 50 * MINUTE_NS
        server.clock_ahead_ns = -25 * 10**9  # it is not yet that late there
        rows = ask("coinbase", server.address, "BTC/USD", "1m", server.listed_ns, server.now_ns + 10**12)
        assert rows["available_at"][-1] == LISTED_NS + 49 * MINUTE_NS


@pytest.mark.parametrize("exchange", VENUES)
def test_a_timeframe_that_a_venue_lacks_is_told_with_those_that_it_has(exchange):
    client = make_client(exchange, ["BTC/USDT"])
    assert {"1m", "5m", "1d"} <= set(timeframes(client))
    for wrong in ("7m", "1w", "1s", "soon"):
        with pytest.raises(InputError, match=rf"has no klines of {wrong}, only of 1m, .*5m.*, 1d"):
            asyncio.run(klines(client, "BTC/USDT", wrong, 0, 10**18, once))
