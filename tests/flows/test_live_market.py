"""`tidewax live` where instruments are compared: killed and restarted, what it says of all of them is what a replay says."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import numpy as np
import pytest
from commands import called, start
from test_live import WITHIN_S, grown
from test_live_beside import rows_of, wait

from connectors.simulator.exchange import Exchange
from events.feeds import TRADES
from events.schema import FROM_OHLCV, MISSING, NEVER, SILENT
from events.times import MINUTE_NS
from flows.report_runs import FinishedRun
from flows.rundir import RunDirectory
from flows.verify import verify

pytestmark = pytest.mark.slow

SETTINGS = """
exchange: {{addresses: {{binance: '{address}', kraken: '{address}'}}, preload: 1500}}
bars: {{time: [1m, 30m]}}
confluence: {{blend: {{1m: 1.0}}}}
dimensions: {{weights: {{bitcoin_beta: 0.2}}}}
signals: {{tf: 1m}}
"""
REFERENCE = "binance:BTC/USDT"
INSTRUMENTS = (REFERENCE, *(f"binance:{base}/USDT" for base in ("ETH", "SOL", "XRP", "BNB")), "kraken:BTC/USD")


def newest_ns(tape):
    """Of the newest trades of all instruments, the oldest one's time."""
    rows = rows_of(tape)
    return min(int(rows[name, TRADES]["available_at"][-1]) if (name, TRADES) in rows else NEVER for name in INSTRUMENTS)


def test_killed_and_restarted_a_replay_says_the_same_of_the_whole_market(tmp_path):
    run, tape, again = tmp_path / "run", tmp_path / "run" / "tape", tmp_path / "again"
    with Exchange(INSTRUMENTS, seed=5, speed=60, activity=20, history_days=2) as exchange:
        config = tmp_path / "live.yaml"
        config.write_text(SETTINGS.format(address=exchange.url.removeprefix("http://")))
        for last in (False, True):
            process = start("live", *INSTRUMENTS, "--config", config, "--out", run)
            if last:
                ends_ns = exchange.now_ns + 20 * MINUTE_NS
                grown(process, tape, 400_000)
                wait(process, lambda at=ends_ns: newest_ns(tape) > at, "too few trades")
                process.send_signal(signal.SIGTERM)
                _, err = process.communicate(timeout=WITHIN_S)
                assert (process.returncode, err) == (0, "")
            else:
                grown(process, tape, 1_800_000)  # most of it are preloads
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
    assert called("replay", tape, "--config", config, "--out", again).returncode == 0
    verdict = verify(run, again)
    assert not verdict.differences
    done = FinishedRun(again)
    rows = done.rows("global.1m", "GLOBAL")
    assert (rows["n"] >= 5).sum() > 20
    assert (rows["market_regime"] != NEVER).sum() > 20
    assert np.isfinite(rows["ref_rv"]).any()
    beta = {name: done.rows("beta.1m", name) for name in INSTRUMENTS}
    live = {name: rows[rows["flags"] & FROM_OHLCV == 0] for name, rows in beta.items()}
    assert all(len(rows) > 10 for rows in live.values())
    assert (beta[REFERENCE]["status"] == SILENT).all()
    assert (live["kraken:BTC/USD"]["status"] != MISSING).any()
    assert (live["binance:ETH/USDT"]["status"] < MISSING).any()
    assert RunDirectory(run).read()["state"] == "stopped"
