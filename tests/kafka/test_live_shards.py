"""`tidewax live` on a real broker: shards in several processes, killed, moved and stopped, are the backtest of the same trades."""

from __future__ import annotations

import os
import random
import shutil
import signal
from pathlib import Path

import pytest
from commands import command, start, start_killed
from shards_bench import KEYS, SHARDS, WITHIN_S, check_results, ingested, make_topics, settings, told, write_market

from connectors.kafka.names import shard_of
from flows.rundir import RunDirectory, shard_directory
from flows.verify import verify

SOAK = bool(os.environ.get("TIDEWAX_SOAK"))
pytestmark = [pytest.mark.slow, pytest.mark.kafka]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A file of trades and its backtest."""
    folder = tmp_path_factory.mktemp("made")
    file = write_market(folder)
    done = command("backtest", file, "--out", folder / "run", "--config", settings(folder, "nowhere:1", "none"))
    assert done.returncode == 0, done.stderr
    assert told(folder / "run")["signals"] > 0
    assert {shard_of(key, SHARDS) for key in KEYS} == {0, 1, 2}, "one has several, one has none"
    return folder


@pytest.fixture
def deployed(made, broker, prefix, tmp_path):
    """The trades in a market topic: its topics and a settings file."""
    topics = make_topics(broker, prefix.rstrip("."))
    config = settings(tmp_path, broker.bootstrap, topics.prefix)
    ingested(made / "trades.parquet", tmp_path / "ingest", config)
    return topics, config


def ended(process, code=0):
    """What a process has printed, once it has ended as it should."""
    out, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == code, out + err
    return out, err


def rows_of(run: Path, *shards: int) -> int:
    """How many rows of all streams the instruments of some shards have in a run."""
    counts = told(run)["rows"].values()
    return sum(n for rows in counts for key, n in rows.items() if shard_of(key, SHARDS) in shards)


def same(made: Path, run: Path) -> None:
    verdict = verify(run, made / "run")
    assert verdict.differences == []
    assert verdict.rows > 1_000
    assert verdict.digests > 30


def test_four_shards_in_two_processes_are_the_backtest(made, deployed, broker, tmp_path):
    topics, config = deployed
    live = ("live", "--config", config, "--out", tmp_path / "live", "--until-end")
    processes = [start(*live, "--shard", shards) for shards in ("0,3", "1,2")]
    for process in processes:
        _, err = ended(process)
        assert err == ""
    same(made, tmp_path / "live")
    check_results(broker, topics, tmp_path / "live")
    for number in range(SHARDS):
        run = told(shard_directory(tmp_path / "live", number))
        mine = [key for key in KEYS if shard_of(key, SHARDS) == number]
        assert run["state"] == "stopped"
        assert sorted(run["results"]) == sorted(mine)
        assert run["trades"] == {key: told(made / "run")["trades"][key] for key in sorted(mine)}
        assert run["inputs"][0]["partitions"] == [number]
    shard = shard_directory(tmp_path / "live", shard_of(KEYS[0], SHARDS))
    assert KEYS[0] in command("explain", shard).stdout
    assert command("outcomes", shard).returncode == 0
    assert "equal: " in command("verify", tmp_path / "live", made / "run").stdout


def test_a_shard_that_runs_in_another_process_is_refused(deployed, tmp_path):
    _, config = deployed
    with RunDirectory(shard_directory(tmp_path / "live", 2)):
        done = command("live", "--config", config, "--out", tmp_path / "live", "--shard", "1,2")
    assert done.returncode == 1
    assert "another process runs in" in done.stderr
    assert "shard-02" in done.stderr


@pytest.mark.parametrize("wire", ["json", "arrow"])
def test_shards_that_are_killed_and_moved_between_processes_lose_and_repeat_nothing(
    made, broker, prefix, tmp_path, wire
):
    topics = make_topics(broker, prefix.rstrip("."))
    config = settings(tmp_path, broker.bootstrap, topics.prefix, wire)
    ingested(made / "trades.parquet", tmp_path / "ingest", config)
    r, kills = random.Random(f"shards {wire}"), 20 if SOAK else 3
    for turn in range(kills):
        numbers = list(range(SHARDS))
        r.shuffle(numbers)
        cut = r.randrange(1, SHARDS)
        killed = []
        for shards in (numbers[:cut], numbers[cut:]):
            most = rows_of(made / "run", *shards) // kills
            if most < 10:
                continue
            at = r.randrange(1, most)
            arguments = ("live", "--config", config, "--out", tmp_path / "live", "--shard", ",".join(map(str, shards)))
            killed.append(start_killed(signal.SIGKILL, at, *arguments, soon=r.randint(1, at), delay_s=0.3 * r.random()))
        for process in killed:
            ended(process, -signal.SIGKILL)
        if turn == 0:  # on another host
            shutil.move(tmp_path / "live" / "shard-01", tmp_path / "carried")
            shutil.move(tmp_path / "carried", tmp_path / "live" / "shard-01")
    ended(start("live", "--config", config, "--out", tmp_path / "live", "--until-end"))
    same(made, tmp_path / "live")
    check_results(broker, topics, tmp_path / "live")
