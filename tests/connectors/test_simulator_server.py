"""The local exchange as a server: it stops without a trace, runs twice on one machine, is steered over HTTP and by command."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request

import pytest
from commands import ROOT, command, start
from simulator_clients import (
    KRAKEN,
    LINEAR,
    SPOT,
    START_NS,
    by_hand,
    get_json,
    loopback_only,  # noqa: F401
    subscribed,
    trades_heard,
    truth,
    unified,
)

from connectors.simulator.exchange import Exchange
from connectors.simulator.faults import EVENTS, KNOBS
from connectors.simulator.market import Market, write_trades
from events.errors import SettingsError
from flows.__main__ import main
from flows.simulate import PlannedFault

pytestmark = [pytest.mark.usefixtures("loopback_only"), pytest.mark.slow]


def open_sockets():
    """Sockets of this process, where the system can tell."""
    folder = "/proc/self/fd"
    if not os.path.isdir(folder):
        pytest.skip("this system does not list open files")
    found = set()
    for name in os.listdir(folder):
        try:
            target = os.readlink(f"{folder}/{name}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def test_stop_leaves_neither_thread_nor_socket():
    async def run(exchange):
        async with subscribed(exchange, SPOT) as ws, subscribed(exchange, KRAKEN):
            exchange.trade(SPOT, 1.0, 1.0, 1)
            await trades_heard(ws, 1)
            await asyncio.to_thread(exchange.stop)  # with connections open
            assert (await asyncio.wait_for(ws.receive(), 60)).type.name in ("CLOSED", "ERROR", "CLOSE")

    asyncio.run(run(by_hand().start()))  # what is made once for good is made here
    threads, sockets = set(threading.enumerate()), open_sockets()
    for speed in (0, 1):
        exchange = by_hand(speed=speed).start()
        asyncio.run(run(exchange))
        assert set(threading.enumerate()) == threads
        assert open_sockets() == sockets
        assert len(exchange.traded(SPOT)) == 1  # the truth outlives the server
        exchange.stop()
        with pytest.raises(RuntimeError, match=r"not running: call start\(\) first"):
            exchange.wait_connections(0)


def test_two_side_by_side_know_nothing_of_each_other():
    async def run():
        with by_hand(seed=1) as a, by_hand(seed=2) as b:
            assert a.url != b.url
            async with subscribed(a, SPOT) as of_a, subscribed(b, SPOT) as of_b:
                a.fault("clock-skew", 5)
                a.trade(SPOT, 1.0, 1.0, 1)
                b.trade(SPOT, 2.0, 1.0, 1)
                assert await trades_heard(of_a, 1) == truth(a, SPOT)
                assert await trades_heard(of_b, 1) == truth(b, SPOT) != truth(a, SPOT)
                times = [(await get_json(x, "/api/v3/time"))["serverTime"] for x in (a, b)]
                assert times[0] - times[1] == 5_000

    asyncio.run(run())


def test_a_port_that_is_taken_is_a_sentence():
    with by_hand() as exchange:
        port = int(exchange.url.rsplit(":", 1)[1])
        other = by_hand(port=port)
        with pytest.raises(SettingsError, match=f"port {port} cannot be opened .*: choose another one"):
            other.start()
    with by_hand(port=port) as again:
        assert again.url == f"http://127.0.0.1:{port}"


def test_a_slow_client_holds_up_nobody():
    async def run():
        with by_hand(SPOT) as exchange:
            async with subscribed(exchange, SPOT), subscribed(exchange, SPOT) as quick:
                exchange.burst(SPOT, 20_000)  # the first never reads
                assert await trades_heard(quick, 20_000) == truth(exchange, SPOT)

    asyncio.run(run())


def test_waiting_for_what_does_not_come_ends():
    with by_hand() as exchange, pytest.raises(TimeoutError):
        exchange.wait_subscribed(SPOT, timeout_s=0.05)


def test_clients_of_venues_that_are_not_here_are_a_sentence():
    with by_hand(KRAKEN) as exchange:
        assert list(exchange.venues) == ["kraken"]
        for client in ("binance", "okx"):
            with pytest.raises(SettingsError, match=f"no instruments of '{client}' are served; venues here: kraken"):
                exchange.config(client)


def test_the_market_moves_by_itself_as_fast_as_told():
    with Exchange([SPOT], speed=1_000, activity=0, start_ns=START_NS) as exchange:
        reached = (exchange.subscribers(SPOT) == 0 and exchange.now_ns >= START_NS + 60 * 10**9 for _ in range(100_000))
        assert any(reached)
    with by_hand() as exchange:
        assert exchange.now_ns == START_NS


def post(url, **given):
    request = urllib.request.Request(url, json.dumps(given).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_everything_can_be_done_over_http():
    async def run():
        with by_hand() as exchange:
            url = exchange.url + "/_simulator"
            async with subscribed(exchange, SPOT) as ws:
                await asyncio.to_thread(post, url + "/trade", instrument=SPOT, price=5.5, qty=2, side=-1)
                await asyncio.to_thread(post, url + "/advance", seconds=2.5)
                await asyncio.to_thread(post, url + "/fault", name="skip", value=1, venue="binance")
                await asyncio.to_thread(post, url + "/burst", instrument=SPOT, count=10)
                state = await get_json(exchange, "/_simulator")
                assert state["now_ns"] == START_NS + 2_500_000_000
                assert state["next_ids"][SPOT] == 1_011
                assert state["venues"]["binance"]["faults"] == {"skip": "1.0"}
                assert state["venues"]["binance"]["connections"] == [["spot btcusdt@aggTrade"]]
                await asyncio.to_thread(post, url + "/clear")
                await asyncio.to_thread(post, url + "/trade", instrument=SPOT, price=6.5, qty=2, side=1)
                told = await trades_heard(ws, 2)
            columns = await get_json(exchange, "/_simulator/traded", instrument=SPOT)
            rows = list(zip(*(columns[name] for name in ("trade_id", "price", "qty", "side"))))
            assert rows == truth(exchange, SPOT)
            assert told == [rows[0], rows[-1]]
            assert (columns["next_id"], columns["complete"]) == (1_012, True)
            later = await get_json(exchange, "/_simulator/traded", instrument=SPOT, from_id="1005")
            assert later["trade_id"] == list(range(1_005, 1_012))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("action", "given", "said"),
    [
        ("fault", {"name": "slow"}, "there is no fault 'slow'"),
        ("trade", {"instrument": "binance:XYZ/USDT", "price": 1, "qty": 1, "side": 1}, "is not listed"),
        ("advance", {}, "seconds"),
    ],
)
def test_wrong_requests_over_http_are_told(action, given, said):
    with by_hand() as exchange, pytest.raises(urllib.error.HTTPError) as raised:
        post(f"{exchange.url}/_simulator/{action}", **given)
    assert raised.value.code == 400
    assert said in json.load(raised.value)["error"]


def test_faults_of_the_command_line():
    assert PlannedFault.of("reset@30") == PlannedFault("reset", None, 30.0, None)
    assert PlannedFault.of("clock-skew=-5") == PlannedFault("clock-skew", -5.0, 0.0, None)
    for wrong in ("slow", "mute@", "mute=x", "mute+5", ""):
        with pytest.raises(SettingsError, match="write NAME, NAME=VALUE or NAME=VALUE@SECONDS"):
            PlannedFault.of(wrong)


def test_mistakes_in_the_command_are_sentences(capsys):
    for arguments, said in (
        (["--venue", "okx"], "--venue 'okx' is not simulated; there are binance, kraken"),
        (["--instruments", "binance:BTC"], "'binance:BTC' is not listed anywhere"),
        (["--fault", "slow"], "--fault 'slow' is none"),
        (
            ["--venue", "kraken", "--instruments", "binance:BTC/USDT"],
            "--instruments names binance:BTC/USDT, --venue only kraken",
        ),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["simulate", *arguments])
        assert ended.value.code == 1
        assert said in capsys.readouterr().err


def test_the_command_serves_a_recording_and_says_what_traded(tmp_path):
    write_trades(tmp_path / "trades.parquet", (Market(trades_per_minute=6_000.0),), 0, 0.02)
    ended = command("simulate", "--recording", tmp_path / "trades.parquet", "--for", "0.5", "--speed", "20")
    assert ended.returncode == 0, ended.stderr
    assert "its market is a recording, moved in time" in ended.stdout
    assert "Listed: binance:BTC/USDT\n" in ended.stdout
    count = int(ended.stdout.rsplit("binance:BTC/USDT: traded ", 1)[1].split()[0].replace(",", ""))
    assert count > 100


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ccxt_talks_to_the_command_with_the_config_it_prints(how):
    process = start(
        "simulate", "--venue", "kraken", "--activity", "20", "--fault", "geo-block@3600", PYTHONUNBUFFERED="1"
    )
    try:
        line = ""
        while not line.startswith("ccxt.pro.kraken("):
            line = process.stdout.readline()
            assert line, process.stderr.read()
        config = json.loads(line.strip().removeprefix("ccxt.pro.kraken(").removesuffix(")"))

        class Printed:
            def config(self, client):
                return config

        async def run():
            async with unified(Printed(), "kraken") as c:
                return await asyncio.wait_for(c.watch_trades("BTC/USD"), 60)

        assert len(asyncio.run(run())) > 0
        process.send_signal(how)
        said, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert "stopped" in said
        assert "kraken:BTC/USD: " in said
    finally:
        process.kill()
        process.wait()
    port = int(config["urls"]["api"]["public"].rsplit(":", 1)[1])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_linear_and_spot_of_one_pair_are_two_instruments():
    with by_hand() as exchange:
        exchange.trade(SPOT, 1.0, 1.0, 1)
        exchange.trade("binanceusdm:BTC/USDT:USDT", 2.0, 1.0, -1)
        assert truth(exchange, SPOT) == [(1000, 1.0, 1.0, 1)]
        assert truth(exchange, LINEAR) == [(1000, 2.0, 1.0, -1)]


def test_the_page_about_it_names_every_fault():
    page = (ROOT / "docs" / "how-to" / "simulate.md").read_text("utf-8")
    assert {name for name in (*KNOBS, *EVENTS) if f"`{name}" not in page} == set()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has more than one address of the machine itself")
def test_another_address_is_served_instead():
    with Exchange([SPOT], speed=0, host="127.0.0.2") as exchange:
        port = int(exchange.url.rpartition(":")[2])
        with urllib.request.urlopen(f"http://127.0.0.2:{port}/api/v3/time") as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v3/time")
