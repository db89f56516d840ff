"""`tidewax live` with order books on the local exchange: killed and restarted while updates are skipped; its tape, and a replay."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from commands import called, start
from test_live import WITHIN_S, grown, wait_for

from connectors.simulator.exchange import Exchange
from connectors.tape import Recording
from events.feeds import BOOKS, TRADES
from events.schema import BOOK_SNAPSHOT
from flows.verify import verify

sys.path.append(str(Path(__file__).parent.parent / "connectors"))
from books_bench import Kept, updates_of

INSTRUMENTS = ("binance:BTC/USDT", "binance:BTC/USDT:USDT", "binance:LTC/USDT")
SETTINGS = """
exchange:
  symbols: {{binance: [BTC/USDT, "BTC/USDT:USDT", LTC/USDT]}}
  feeds: [trades, book]
  addresses: {{binance: "{address}"}}
  preload: 0
bars: {{time: [1m, 5m]}}
confluence: {{blend: {{1m: 0.6, 5m: 0.4}}}}
signals: {{tf: 1m}}
"""


def recorded(tape, name):
    """The frames of a stream, by instrument."""
    frames = {instrument: [] for instrument in Recording(tape).instruments}
    for _, items in Recording(tape).read(0):
        for instrument, frame in items:
            if frame.name == name:
                frames[instrument].append(frame)
    return frames


def bars_of(run):
    """Base bars that the tables of a run show."""
    with closing(sqlite3.connect(f"file:{run / 'tidewax.sqlite'}?mode=ro", uri=True)) as tables:
        return tables.execute("SELECT count(*) FROM bars_1m").fetchone()[0]


@pytest.mark.slow
def test_books_are_recorded_killed_restarted_and_replayed_to_the_same(tmp_path):
    run, tape = tmp_path / "run", tmp_path / "run" / "tape"
    config = tmp_path / "live.yaml"
    with Exchange(INSTRUMENTS, speed=10, activity=5, history_days=0.1) as exchange:
        config.write_text(SETTINGS.format(address=exchange.url.removeprefix("http://")))
        for _ in range(2):
            process = start("live", "--config", config, "--out", run)
            grown(process, tape, 2_000_000)
            exchange.fault("skip", 0.05)
            grown(process, tape, 2_000_000)
            exchange.clear("skip")
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        process = start("live", "--config", config, "--out", run)
        grown(process, tape, 4_000_000)
        wait_for(process, lambda: bars_of(run) >= 12, "there are no bars")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=WITHIN_S)
        assert (process.returncode, err) == (0, "")
    again = tmp_path / "again"
    assert called("replay", tape, "--config", config, "--out", again).returncode == 0
    verdict = verify(run, again)
    assert not verdict.differences
    assert verdict.rows > 30
    books, trades = recorded(tape, BOOKS), recorded(tape, TRADES)
    for instrument in INSTRUMENTS:
        rows = np.concatenate([frame.rows for frame in books[instrument]])
        assert (np.diff(rows["available_at"]) >= 0).all()
        assert (np.diff(rows["seq"]) > 0).all()
        kept, healed = Kept(), 0
        for update in updates_of(rows):
            before = kept.state
            kept.take(update)
            healed += (before, kept.state) == ("stale", "whole")
        assert kept.breaks >= 2  # of every kill, and of what was skipped
        assert healed >= max(2, kept.breaks - 1)  # it may be stopped while one is being mended
        assert (rows["kind"] == BOOK_SNAPSHOT).sum() >= 3 * 200
        ids = np.concatenate([frame.rows for frame in trades[instrument]])["trade_id"]
        assert (np.diff(ids) == 1).all()
