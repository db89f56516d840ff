"""`tidewax live` on an exchange of this machine: killed, restarted, stopped; its tape, and a replay of it."""

import asyncio
import itertools
import os
import random
import signal
import time
from collections import Counter
from contextlib import contextmanager, suppress

import polars as pl
import pytest
from commands import called, command, start
from soak_rows import keep
from stand_in import Binance

from connectors.simulator.exchange import Exchange
from connectors.tape import Recording
from events.schema import GAP, PARTIAL
from events.times import MINUTE_NS
from flows.verify import verify

SOAK = bool(os.environ.get("TIDEWAX_SOAK"))
SYMBOLS = ("BTC/USDT", "ETH/USDT")
FIELDS = ["trade_id", "available_at", "price", "qty", "side"]
SETTINGS = """
exchange:
  symbols: {{binance: [{symbols}]}}
  addresses: {{binance: "{address}"}}
  preload: 0
bars: {{time: [1m, 5m]}}
confluence: {{blend: {{1m: 0.6, 5m: 0.4}}}}
signals: {{tf: 1m}}
"""
WITHIN_S = 300.0


def settings(folder, address, symbols=SYMBOLS):
    path = folder / "live.yaml"
    path.write_text(SETTINGS.format(symbols=", ".join(symbols), address=address))
    return path


@contextmanager
def trading(server, most=5, step_ms=2_000, pause_s=0.002):
    """A stand-in that trades all the time in each of its symbols, its clock running ahead so that bars close."""
    ends = False

    async def trade():
        r = random.Random(3)
        while not ends:
            for symbol in server.symbols:
                server._now_ns += r.randrange(step_ms) * 1_000_000
                await server.trade(symbol, r.randrange(1, most + 1))
            await asyncio.sleep(pause_s)

    for symbol in server.symbols:
        server.make(symbol, 20)
    task = asyncio.run_coroutine_threadsafe(trade(), server.loop)
    try:
        yield
    finally:
        ends = True
        task.result(60)


def wait_for(process, reached, what):
    """Wait until something is so; the deadline is only there to end a test that has failed."""
    ends = time.monotonic() + WITHIN_S
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends, what
        time.sleep(0.02)


def grown(process, tape, size):
    """Wait until the tape is so many bytes longer."""
    began = bytes_of(tape)
    wait_for(process, lambda: bytes_of(tape) >= began + size, "the tape does not grow")


def bytes_of(tape):
    return sum(file.stat().st_size for file in tape.glob("*.tape"))


def recorded(tape):
    """(id, ns, price, qty, side) of the trades of each instrument."""
    rows = {name: [] for name in Recording(tape).instruments}
    for _, items in Recording(tape).read(0):
        for instrument, frame in items:
            if frame.name == "trades":
                rows[instrument] += frame.rows[FIELDS].tolist()
    return rows


def compared(tape, traded):
    """How many trades the tape has; fails unless they are all that was traded from the first to the last one, in order.

    Those of the running minute from before the exchange was started are history: their ids are the ones in front.
    """
    for name, rows in tape.items():
        began = traded[name][0][0]
        before = [trade[0] for trade in rows if trade[0] < began]
        assert before == list(range(began - len(before), began))
        rest = rows[len(before) :]
        first = next(n for n, trade in enumerate(traded[name]) if trade[0] == rest[0][0])
        assert first == 0 or not before
        assert rest == traded[name][first : first + len(rest)]
    return sum(map(len, tape.values()))


def measured(name, trades, verdict, seconds):
    row = {"trades": trades, "rows": verdict.rows, "different": len(verdict.differences), "seconds": seconds}
    keep("live", name, 1, row)


@pytest.mark.slow
def test_killed_and_restarted_it_loses_no_trade_and_a_replay_is_equal(tmp_path):
    r, kills, began_s = random.Random(7), 20 if SOAK else 2, time.monotonic()
    run, tape = tmp_path / "run", tmp_path / "run" / "tape"
    with Binance() as server, trading(server):
        config = settings(tmp_path, server.address)
        for _ in range(kills):
            process = start("live", "--config", config, "--out", run, "--workers", r.choice([1, 2]))
            grown(process, tape, r.randrange(100_000, 1_000_000))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        process = start("live", "--config", config, "--out", run)
        grown(process, tape, 500_000)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=WITHIN_S)
        assert (process.returncode, err) == (0, "")
        fields = ("id", "ns", "price", "qty", "side")
        traded = {f"binance:{s}": [tuple(t[f] for f in fields) for t in server.traded[s]] for s in SYMBOLS}
    seconds, trades = time.monotonic() - began_s, compared(recorded(tape), traded)
    assert trades > 10_000
    assert all(name in out for name in traded)
    again = tmp_path / "again"
    assert called("replay", tape, "--config", config, "--out", again).returncode == 0
    verdict = verify(run, again)
    measured(f"killed {kills} times", trades, verdict, seconds)
    assert not verdict.differences
    assert verdict.rows > 100


@pytest.mark.slow
def test_it_goes_on_after_a_stop_and_starts_over_from_its_tape(tmp_path):
    run, tape = tmp_path / "run", tmp_path / "run" / "tape"
    with Binance() as server, trading(server):
        config = settings(tmp_path, server.address)
        for more in ((), (), ("--again",)):
            process = start("live", "--config", config, "--out", run, *more)
            grown(process, tape, 200_000)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=WITHIN_S)
            assert (process.returncode, err) == (0, "")
    again = tmp_path / "again"
    assert called("replay", tape, "--config", config, "--out", again).returncode == 0
    assert not verify(run, again).differences


ALWAYS = {"skip": 0.02, "duplicates": 0.05, "reorder": 0.05}
AT_TIMES = {
    "reset": None,
    "close": None,
    "refuse": 3,
    "rest-429": 2,
    "rest-html": 2,
    "burst": 500,
    "mute": None,
    "no-pong": None,
}


@pytest.mark.slow
def test_spot_futures_and_kraken_through_faults_come_out_as_they_were_traded(tmp_path):
    instruments, began_s = ("binance:BTC/USDT", "binance:BTC/USDT:USDT", "kraken:BTC/USD"), time.monotonic()
    run, tape = tmp_path / "run", tmp_path / "run" / "tape"
    with Exchange(instruments, seed=5, speed=30, activity=20, history_days=1) as exchange:
        config, address = tmp_path / "live.yaml", exchange.url.removeprefix("http://")
        config.write_text(f"exchange: {{addresses: {{binance: '{address}', kraken: '{address}'}}}}\n")
        for name, value in ALWAYS.items():
            exchange.fault(name, value)
        process = start("live", *instruments, "--config", config, "--out", run)
        grown(process, tape, 800_000)  # the preloads are most of it
        r, ends = random.Random(5), time.monotonic() + 600 * SOAK
        for done in itertools.count():
            name = ("reset", "close")[done] if done < 2 else r.choice(list(AT_TIMES))
            wait_for(process, lambda: all(venue.sessions for venue in exchange.venues.values()), "not connected")
            exchange.fault(name, AT_TIMES[name])
            if name in ("mute", "no-pong"):
                time.sleep(r.uniform(1, 20))  # how long it lasts, and nothing waits for it
                exchange.clear(name)
            grown(process, tape, 400_000)
            if done and time.monotonic() > ends:
                break
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=WITHIN_S)
        assert (process.returncode, err) == (0, "")
        traded = {name: exchange.traded(name)[FIELDS].tolist() for name in instruments}
        happened = sum((venue.faults.happened for venue in exchange.venues.values()), Counter())
    preloads = [(key, frame) for _, items in Recording(tape).read(0) for key, frame in items if frame.name == "preload"]
    assert sorted(key for key, _ in preloads) == sorted(instruments)
    for name, frame in preloads:
        minutes = frame.rows[frame.rows["available_at"] - frame.rows["ts_open"] == MINUTE_NS]
        assert len(minutes) > 1_400 if name.startswith("binance") else 700 < len(minutes) <= 720
        assert minutes["available_at"][-1] == frame.control["until"][0]
        assert (minutes["ts_open"][1:] == minutes["available_at"][:-1]).all()
        bars = pl.read_parquet(run / "bars.1m.parquet").filter(pl.col("key") == name)
        assert not bars["flags"].is_in([PARTIAL, GAP, PARTIAL | GAP]).any(), "trades go on where klines end"
        assert (bars["ts_open"][1:] == bars["ts_close"][:-1]).all()
    seconds, trades = time.monotonic() - began_s, compared(recorded(tape), traded)
    assert trades > 5_000
    assert {*ALWAYS, "reset", "close"} <= happened.keys()
    again = tmp_path / "again"
    assert called("replay", tape, "--config", config, "--out", again).returncode == 0
    verdict = verify(run, again)
    measured(f"{done + 1} faults in a row, three all the time", trades, verdict, seconds)
    assert not verdict.differences


@pytest.mark.slow
def test_what_is_wrong_is_a_sentence_and_leaves_nothing(tmp_path):
    with Binance() as server:
        server.make("BTC/USDT", 20)
        done = command("live", "--config", settings(tmp_path, server.address, ["NO/SUCH"]), "--out", tmp_path / "run")
        assert done.returncode == 1
        assert "NO/SUCH" in done.stderr
        assert not (tmp_path / "run").exists()
    for arguments, said in (
        ((), "name what to run live"),
        (("binance",), "'binance' is not exchange:BASE/QUOTE"),
        (("nowhere:BTC/USDT",), "there is no exchange 'nowhere'"),
    ):
        done = command("live", *arguments, "--out", tmp_path / "run")
        assert done.returncode == 1
        assert said in done.stderr
    done = command("live", "--config", settings(tmp_path, "127.0.0.1:1"), "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "binance" in done.stderr
    assert not (tmp_path / "run").exists()
