"""`tidewax live` where instruments are compared: killed and restarted, what it says of all of them is what a replay says."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import numpy as np
import pytest
from commands import called, start
from test_live import WITHIN_S, bytes_of
from test_live_universe import lead

from connectors.simulator.exchange import Exchange
from connectors.tape import Recording
from connectors.tape.contents import Rows, contents
from events.schema import FROM_OHLCV, MISSING, NEVER, SILENT
from events.times import MINUTE_NS
from flows.report_runs import FinishedRun
from flows.rundir import RunDirectory
from flows.verify import verify

pytestmark = pytest.mark.slow

SETTINGS = """
exchange:
  addresses: {{binance: '{address}', kraken: '{address}'}}
  preload: 1500
  universe: {{binance: {{top: 2, keep: 2}}}}
bars: {{time: [1m, 30m]}}
confluence: {{blend: {{1m: 1.0}}}}
dimensions: {{weights: {{bitcoin_beta: 0.2}}}}
signals: {{tf: 1m}}
"""
REFERENCE = "binance:BTC/USDT"
INSTRUMENTS = (REFERENCE, *(f"binance:{base}/USDT" for base in ("ETH", "SOL", "XRP")), "kraken:BTC/USD")
JOINS, JOIN_LATER = "binance:BNB/USDT", ("binance:DOGE/USDT", "binance:LTC/USDT")


def test_killed_and_restarted_a_replay_says_the_same_of_the_whole_market(tmp_path):
    """One instrument joins before the kill, and leaves after the restart, when two others join."""
    run, tape, again = tmp_path / "run", tmp_path / "run" / "tape", tmp_path / "again"
    with Exchange((*INSTRUMENTS, JOINS, *JOIN_LATER), seed=5, speed=60, activity=20, history_days=2) as exchange:
        config = tmp_path / "live.yaml"
        config.write_text(SETTINGS.format(address=exchange.url.removeprefix("http://")))
        lead(exchange, JOINS, 1e12)
        for last in (False, True):
            process = start("live", *INSTRUMENTS, "--config", config, "--out", run)
            traded_for(process, tape, JOIN_LATER if last else [JOINS], 25 if last else 12)
            if last:
                process.send_signal(signal.SIGTERM)
                _, err = process.communicate(timeout=WITHIN_S)
                assert (process.returncode, err) == (0, "")
            else:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                for instrument in JOIN_LATER:
                    lead(exchange, instrument, 1e13)
    assert called("replay", tape, "--config", config, "--out", again).returncode == 0
    verdict = verify(run, again)
    assert not verdict.differences
    said = [(change, member) for change, member in changes(tape) if member not in INSTRUMENTS]
    assert list(dict.fromkeys(said)) == [(1, JOINS), (-1, JOINS), *((1, name) for name in JOIN_LATER)]
    done = FinishedRun(again)
    rows = done.rows("global.1m", "GLOBAL")
    counted = rows["n"][rows["n"] >= 5]  # the four of Binance with a day of klines, and those that joined
    assert np.unique(counted).tolist() == [5, 6]
    assert (np.diff(counted) >= 0).all()
    assert (counted == 5).sum() > 5
    assert (counted == 6).sum() > 12
    assert (rows["market_regime"] != NEVER).sum() > 20
    assert np.isfinite(rows["ref_rv"]).any()
    beta = {name: done.rows("beta.1m", name) for name in (*INSTRUMENTS, JOINS, *JOIN_LATER)}
    live = {name: rows[rows["flags"] & FROM_OHLCV == 0] for name, rows in beta.items()}
    assert all(len(rows) > 10 for rows in live.values())
    assert (beta[REFERENCE]["status"] == SILENT).all()
    for name in ("kraken:BTC/USD", "binance:ETH/USDT", JOINS, *JOIN_LATER):
        assert (live[name]["status"] < MISSING).any(), name
    assert RunDirectory(run).read()["state"] == "stopped"


def traded_for(process, tape, joined, minutes):
    """Wait until the tape holds trades of so many minutes since these began, of all; the deadline ends a test that has failed."""
    ends = time.monotonic() + WITHIN_S
    while True:
        found = contents(Recording(tape)) if bytes_of(tape) else {}
        spans = {name: found.get((name, "trades"), Rows(0, 0, 0)) for name in (*INSTRUMENTS, *joined)}
        begun_ns, reached_ns = (
            max(spans[name].first_ns for name in joined),
            min(span.last_ns for span in spans.values()),
        )
        if all(spans[name].n for name in joined) and reached_ns - begun_ns > minutes * MINUTE_NS:
            return
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends, spans
        time.sleep(0.5)


def changes(tape):
    """(change, instrument) of all rows of `members`, in order."""
    frames = [frame for _, items in Recording(tape).read(0) for _, frame in items if frame.name == "members"]
    return [(row["change"].item(), row["member"].item().decode()) for frame in frames for row in frame.rows]
