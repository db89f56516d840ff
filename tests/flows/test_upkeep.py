"""A live run whose tape is rolled and cut short while it runs: killed, restarted, replayed."""

from __future__ import annotations

import os
import signal
import time

import pytest
from commands import called, command, start
from stand_in import Binance
from test_live import SYMBOLS, WITHIN_S, recorded, settings, trading

from connectors.tape import Recording
from connectors.tape.locks import looking_after
from connectors.tape.rolled import Rolled
from connectors.tape.upkeep import Task
from events.errors import RunError
from events.feeds import TRADES
from flows.verify import verify

SEGMENT_BYTES = 50_000


def configured(folder, address, tape):
    """The settings of a live run with small segments, and these of its tape."""
    path = settings(folder, address)
    path.write_text(path.read_text() + f"tape: {{segment_bytes: {SEGMENT_BYTES}, {tape}}}\n")
    return path


def wait_for(reached, process=None):
    """Wait until something is so; the deadline is only there to end a test that has failed."""
    ends = time.monotonic() + WITHIN_S
    while not reached():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < ends, "not reached"
        time.sleep(0.01)


def first_of(tape):
    """Where what is left of a tape begins, without holding it for reading."""
    files = [*tape.glob("*.tape"), *tape.glob("rolled/*.frames.parquet")]
    return min((int(file.name.split(".")[0]) for file in files), default=0)


def rolled(tape):
    return len(list((tape / "rolled").glob("*.frames.parquet")))


def end(process):
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, err) == (0, "")


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def nobody_looks_after(tape):
    """Whether no process rolls segments: the one beside a live run ends with it."""
    try:
        with looking_after(tape):
            return True
    except RunError:
        return False


@pytest.mark.slow
def test_rolled_while_it_runs_and_killed_over_it_a_replay_is_equal(tmp_path):
    run, tape = tmp_path / "run", tmp_path / "run" / "tape"
    with Binance() as server, trading(server):
        config = configured(tmp_path, server.address, "roll: true")
        for n in (2, 4):
            process = start("live", "--config", config, "--out", run)
            wait_for(lambda n=n: rolled(tape) >= n, process)
            wait_for(lambda: list((tape / "rolled").glob(".*.partial")), process)
            kill(process)
            wait_for(lambda: nobody_looks_after(tape))
        before = rolled(tape)
        process = start("live", "--config", config, "--out", run)
        wait_for(lambda: rolled(tape) >= before + 2, process)
        end(process)
        wait_for(lambda: nobody_looks_after(tape))
        fields = ("id", "ns", "price", "qty", "side")
        traded = {f"binance:{s}": [tuple(t[f] for f in fields) for t in server.traded[s]] for s in SYMBOLS}
    kinds = {type(part) for part in Recording(tape).parts}
    assert len(kinds) == 2
    for name, rows in recorded(tape).items():
        first = next(n for n, trade in enumerate(traded[name]) if trade[0] == rows[0][0])
        assert rows == traded[name][first : first + len(rows)]
    again = tmp_path / "again"
    done = called("replay", tape, "--config", config, "--out", again)
    assert (done.returncode, done.stderr) == (0, "")
    verdict = verify(run, again)
    assert not verdict.differences
    assert verdict.rows > 100


@pytest.mark.slow
def test_old_segments_go_while_it_runs_and_a_restart_and_a_replay_of_the_rest_work(tmp_path):
    run, tape = tmp_path / "run", tmp_path / "elsewhere"
    with Binance() as server, trading(server):
        config = configured(tmp_path, server.address, f"directory: {tape}, keep_bytes: {4 * SEGMENT_BYTES}")
        process = start("live", "--config", config, "--out", run)
        wait_for(lambda: first_of(tape) > 0, process)
        kill(process)
        process = start("live", "--config", config, "--out", run)
        first = first_of(tape)
        wait_for(lambda: first_of(tape) > first, process)
        end(process)
        traded = {f"binance:{s}": [t["id"] for t in server.traded[s]] for s in SYMBOLS}
    Task(tape, keep_bytes=4 * SEGMENT_BYTES, store=run / "recovery").run(time.time_ns())  # what the last end cut short
    recording = Recording(tape)
    assert sum(part.size for part in recording.parts) <= 4 * SEGMENT_BYTES
    assert any(isinstance(part, Rolled) for part in recording.parts)
    for name, ids in traded.items():
        frames = [
            f for _, items in recording.read(recording.first) for key, f in items if (key, f.name) == (name, TRADES)
        ]
        kept = [id_ for frame in frames for id_ in frame.rows["trade_id"].tolist()]
        assert kept == [id_ for id_ in ids if kept[0] <= id_ <= kept[-1]]
    again = tmp_path / "again"
    done = called("replay", tape, "--config", config, "--out", again)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"was removed; it begins at offset {recording.first}" in done.stdout
    done = command("live", "--config", configured(tmp_path, server.address, "roll: false"), "--out", run)
    assert done.returncode == 1
    assert f"has recorded to the tape in {tape}" in done.stderr
    assert not (run / "tape").exists()
