"""What `tidewax live` says: states of components, metrics, lines in a log, trades in the table; one exchange of two is blocked."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import time
import urllib.request

import pytest
from commands import called, command, start
from prometheus_client.parser import text_string_to_metric_families

from connectors.segments import read_keys, read_stream
from connectors.simulator.exchange import Exchange
from connectors.tape import Recording
from events.records import ComponentStatus
from events.streams import Records
from flows.rundir import read_run
from flows.verify import verify

INSTRUMENTS = ("binance:BTC/USDT", "kraken:BTC/USD")
WITHIN_S = 300.0
STREAM = Records("components", ComponentStatus)


def settings(folder, exchange, more=""):
    address = exchange.url.removeprefix("http://")
    path = folder / "live.yaml"
    path.write_text(
        f"exchange: {{addresses: {{binance: '{address}', kraken: '{address}'}}}}\n"
        "bars: {time: [1m, 5m]}\nconfluence: {blend: {1m: 0.6, 5m: 0.4}}\nsignals: {tf: 1m}\n" + more
    )
    return path


class Live:
    """`tidewax live` as a process whose output is read as it comes."""

    def __init__(self, config, out, *more):
        self.text = ""
        given = ("--config", config, "--out", out, "--status-every", "0.2", *more)
        self.process = start("live", *INSTRUMENTS, *given)
        self.lines = iter(self.process.stdout.readline, "")

    def until(self, pattern):
        """Read on to a line with this; what matched."""
        ends = time.monotonic() + WITHIN_S
        for line in self.lines:
            self.text += line
            if found := re.search(pattern, line):
                return found
            assert time.monotonic() < ends, self.text
        raise AssertionError(self.text + self.process.stderr.read())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=WITHIN_S)
        assert (self.process.returncode, err) == (0, "")
        self.text += out
        return out


def scraped(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name, *sorted(sample.labels.values())] = sample.value
    return samples


@pytest.mark.slow
def test_one_blocked_exchange_of_two_is_seen_and_the_run_goes_on(tmp_path):
    run = tmp_path / "run"
    with Exchange(INSTRUMENTS, seed=5, speed=30, activity=5, history_days=1) as exchange:
        exchange.fault("geo-block", venue="kraken")
        config = settings(tmp_path, exchange, "metrics: {engine: true}\n")
        live = Live(config, run, "--metrics-port", "0")
        port = int(live.until(r"metrics: http://127\.0\.0\.1:(\d+)/metrics")[1])
        live.until(r"[1-9]\d* bars, \d+ signals, \d+ gaps; binance up; kraken down \(kraken refuses to serve")
        samples = scraped(port)
        while not any(name[0].startswith("bytewax_snapshot_duration_seconds") for name in samples):
            live.until(r"\d+ bars")  # the engine has made no snapshot yet
            samples = scraped(port)
        live.stop()
        again = Live(config, run)  # it goes on, and counts on
        again.until("kraken down")
        out = again.stop()
    assert samples["tidewax_connection_up", "binance", "trades"] == 1
    assert samples["tidewax_connection_up", "kraken", "trades"] == 0
    assert samples["tidewax_ingest_records_total", "binance", "trades"] > 0
    assert samples["tidewax_component_changes_total", "down", "exchange.kraken"] == 1
    assert sum(value for name, value in samples.items() if name[0] == "tidewax_bars_total" and "1m" in name) > 0
    assert samples["tidewax_build_info", *sorted(("0.1.0", "1", read_run(run)["analysis_hash"]))] == 1
    assert ("process_resident_memory_bytes",) in samples

    traded = dict.fromkeys(INSTRUMENTS, 0)
    for _, items in Recording(run / "tape").read(0):
        for name, frame in items:
            traded[name] += len(frame.rows) * (frame.name == "trades")
    assert read_run(run)["trades"] == traded
    assert f"{traded['binance:BTC/USDT']:,}" in out
    assert "exchange.kraken was down 2 times" in out
    assert "exchange.kraken was down 2 times" in called("explain", run).stdout

    assert read_keys(run, STREAM) == ["*"]
    records = read_stream(run, STREAM, "*")
    told = [(record.old, record.new) for record in records if record.component == "exchange.kraken"]
    assert told == [("stopped", "starting"), ("starting", "down"), ("down", "stopped")] * 2
    with sqlite3.connect(run / "tidewax.sqlite") as database:
        rows = database.execute("SELECT id, json FROM components ORDER BY seq").fetchall()
    assert sorted(rows) == sorted((record.record_id, record.canonical()) for record in records)

    replayed = tmp_path / "replayed"
    assert called("replay", run / "tape", "--config", config, "--out", replayed).returncode == 0
    verdict = verify(run, replayed)
    assert not verdict.differences
    assert verdict.rows > 0
    assert read_keys(replayed, STREAM) == []


@pytest.mark.slow
def test_a_port_that_is_taken_is_a_sentence_and_leaves_nothing(tmp_path):
    with socket.socket() as taken, Exchange(INSTRUMENTS, seed=5, history_days=0.01) as exchange:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = settings(tmp_path, exchange, f"metrics: {{port: {port}}}\n")
        done = command("live", *INSTRUMENTS, "--config", config, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert f"metrics cannot be served on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
