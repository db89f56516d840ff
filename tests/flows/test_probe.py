"""`tidewax probe` against every venue as it should be, and against exchanges that do not do what is relied on."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from functools import partial

import pytest
from commands import command, start
from exchange_bench import SERVERS
from stand_in import Coinbase, Kraken, Okx
from test_live import trading as trading_at
from test_live_sentences import nobody, silent

from connectors.exchange.sequencer import Arrival
from connectors.exchange.venues import VENUES
from connectors.simulator.exchange import Exchange
from events.errors import InputError
from events.times import SECOND_NS
from flows.probe import Probe
from flows.probe_checks import Heard, judged, missing_ids

pytestmark = pytest.mark.slow

SECONDS = 16.0  # connections are pinged every 2 s
WITHIN_S = 120.0
BASIC = {"stream", "one trade", "pings", "subscription"}
COUNTING = BASIC | {"ids", "completeness"}
CHECKS = {
    "binance": COUNTING,
    "kraken": COUNTING | {"snapshot", "history"},
    "okx": COUNTING - {"one trade"} | {"sums"},
    "coinbase": COUNTING,
    "bybit": BASIC,
}


trading = partial(trading_at, most=3, step_ms=1, pause_s=0.02)  # as slowly as the clock of this machine goes


def heard(probe):
    """Whether it has heard enough trades of every symbol."""
    return all(len(one.pushed) > 10 for one in probe.heard.values())


def pinged(probe):
    return probe._pongs().verdict != "not seen in time"


def probed(exchange, address, *symbols, seconds=SECONDS, until=heard):
    """(verdict, what was seen) by check, the symbol left out; as for so many seconds, ended when something was seen."""

    async def run():
        probe = Probe(exchange, symbols, address, seconds)
        probe.seconds = WITHIN_S

        async def watch():
            while not (probe.heard and until(probe)):
                await asyncio.sleep(0.01)
            probe._stop.set()

        watching = asyncio.create_task(watch())
        found = await probe.run()
        watching.cancel()
        return found

    found = asyncio.run(run())
    return {checked.check.split(": ")[-1]: (checked.verdict, checked.seen) for checked in found}


def verdicts(found):
    return {check: verdict for check, (verdict, _) in found.items()}


@pytest.mark.parametrize("exchange", SERVERS)
def test_an_exchange_that_does_what_is_relied_on_is_confirmed(exchange):
    with SERVERS[exchange]() as server, trading(server):
        found = probed(exchange, server.address, server.symbols[0], until=lambda probe: heard(probe) and pinged(probe))
    young = {"binance": "weight", "kraken": "history"}  # the first does not count requests, the second has just begun
    unseen = {young[exchange]: "not seen in time"} if exchange in young else {}
    assert verdicts(found) == dict.fromkeys(CHECKS[exchange], "confirmed") | unseen, found
    assert int(found["stream"][1].split()[0]) > 10


class Unlike(Coinbase):
    """It tells the other side over REST."""

    def answer(self, name, request):
        answer = super().answer(name, request)
        if name != "trades":
            return answer
        turned = answer.text.replace("buy", "?").replace("sell", "buy").replace("?", "sell")
        return type(answer)(text=turned, content_type="application/json")


class Jumping(Kraken):
    """It leaves out ids."""

    def next_ids(self, symbol):
        return super().next_ids(symbol) + 1


class Forgetful(Okx):
    """Its sums count one trade more than they are of."""

    def frames(self, symbol, trades):
        for frame in super().frames(symbol, trades):
            message = json.loads(frame)
            message["data"][0]["count"] = str(int(message["data"][0]["count"]) + 1)
            yield json.dumps(message)


@pytest.mark.parametrize(
    ("exchange", "server_class", "differs"),
    [("coinbase", Unlike, {"one trade"}), ("kraken", Jumping, {"ids"}), ("okx", Forgetful, {"sums"})],
)
def test_what_differs_is_found(exchange, server_class, differs):
    with server_class() as server, trading(server):
        found = probed(exchange, server.address, server.symbols[0])
    assert {check for check, verdict in verdicts(found).items() if verdict == "differs"} == differs, found


@pytest.fixture(scope="module")
def exchange():
    listed = ("binance:BTC/USDT", "binance:ETH/USDT", "binance:BTC/USDT:USDT", "kraken:BTC/USD")
    with Exchange(listed, history_days=0.5, activity=20) as exchange:
        yield exchange


@pytest.fixture
def address(exchange):
    yield exchange.url.removeprefix("http://")
    exchange.clear()


def test_trades_that_the_stream_leaves_out_are_counted(exchange, address):
    exchange.fault("skip", 0.3)
    found = probed("binance", address, "BTC/USDT", until=lambda probe: missing_ids(probe.heard["BTC/USDT"].pushed))
    assert found["completeness"][0] == "differs"
    assert found["ids"][0] == "confirmed", "REST has them all"


def test_a_connection_that_leaves_pings_unanswered_differs(exchange, address):
    exchange.fault("no-pong")
    assert verdicts(probed("binance", address, "BTC/USDT", seconds=3, until=pinged))["pings"] == "differs"


def test_what_was_not_seen_is_not_confirmed(exchange, address):
    exchange.fault("mute")
    found = verdicts(probed("kraken", address, until=pinged))
    assert found["stream"] == found["completeness"] == found["one trade"] == found["subscription"] == "not seen in time"
    assert found["ids"] == found["history"] == found["pings"] == "confirmed", "REST and the connection work"
    assert "differs" not in found.values()


def test_what_cannot_be_probed_is_a_sentence(exchange, address):
    with pytest.raises(InputError, match="did you mean BTC/USDT"):
        probed("binance", address, "BTC/USTD")
    with pytest.raises(InputError, match="no exchange 'krakn', only"):
        probed("krakn", None)
    for network, said in ((nobody, "no answer; tried"), (silent, "did not answer within 5 s; tried")):
        with network() as nowhere, pytest.raises(InputError, match=f"{said} {nowhere}"):
            probed("kraken", nowhere)
    exchange.fault("geo-block")
    with pytest.raises(InputError, match="refuses to serve"):
        probed("kraken", address)


def arrival(first, last, ns=0, price=1.0, qty=1.0):
    return Arrival(first, last, (ns, 0, last, last, price, qty, 1, 0))


def test_an_old_trade_that_is_not_served_differs():
    for older, verdict in (([arrival(7, 7)], "confirmed"), ([arrival(9, 9)], "differs"), ([], "differs")):
        heard = Heard("A/B", [arrival(9, 9)], [arrival(9, 9)], older, asked_id=7)
        (history,) = [check for check in judged(VENUES["binance"], heard) if check.check.endswith("history")]
        assert history.verdict == verdict
    for late_s, verdict in ((60, "confirmed"), (5 * 3600, "not seen in time")):
        heard = Heard("A/B", [], [arrival(9, 9)], [arrival(1, 1, late_s * SECOND_NS)], asked_ns=0)
        assert judged(VENUES["kraken"], heard)[-1].verdict == verdict


def test_ids_that_overlap_or_swap_are_not_missing():
    assert missing_ids([]) == 0
    assert missing_ids([arrival(5, 9), arrival(1, 4), arrival(8, 8)]) == 0
    assert missing_ids([arrival(1, 2), arrival(6, 6)]) == 3


def test_the_command_ends_with_1_if_something_differs_and_ctrl_c_judges_what_was_seen(exchange, address, tmp_path):
    config = tmp_path / "live.yaml"
    config.write_text(f'exchange: {{addresses: {{binance: "{address}"}}}}\n')
    line = ("probe", "binance", "BTC/USDT", "--config", config, "--seconds")
    done = command(*line, 2)
    assert done.stderr == ""
    assert ("0 differ" in done.stdout) == (done.returncode == 0)
    skipped = exchange.venues["binance"].faults.happened
    for differ in (1, 0):
        process, before = start(*line, 3600), skipped["skip"]
        exchange.wait_subscribed("binance:BTC/USDT", timeout_s=WITHIN_S)
        if differ:
            exchange.fault("skip", 0.5)
            ends = time.monotonic() + WITHIN_S
            while skipped["skip"] < before + 20:
                assert time.monotonic() < ends
                time.sleep(0.01)
            exchange.clear()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WITHIN_S)
        assert (process.returncode, err) == (differ, "")
        assert f"{differ} differ" in out
        exchange.wait_connections(0)
