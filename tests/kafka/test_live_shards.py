"""`tidewax live` on a real broker: shards in several processes, killed, moved and stopped, are the backtest of the same trades."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time
import urllib.request
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from broker import free_port
from commands import command, start, start_held, start_killed, start_runner
from confluent_kafka import Producer
from ingest_bench import KILLED as KILLED_INGEST
from shards_bench import KEYS, SHARDS, WITHIN_S, check_results, ingested, make_topics, settings, told, write_market

from connectors.kafka.names import shard_of
from connectors.kafka.wire import MARKET, encode
from connectors.recovery import make_store
from events.frames import Frame
from events.rows import TRADE
from events.schema import NEVER
from events.streams import is_digested
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


def visible(made: Path, run: Path) -> bool:
    """Whether the tables of a run, or of its shards, have all the rows that the backtest has."""
    wanted = {name: sum(rows.values()) for name, rows in told(made / "run")["rows"].items() if is_digested(name)}
    found = Counter()
    for file in [*run.glob("tidewax.sqlite"), *run.glob("shard-*/tidewax.sqlite")]:
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            found.update(
                {name: db.execute(f"select count(*) from {name.replace('.', '_')}").fetchone()[0] for name in wanted}
            )
    return all(found[name] >= n for name, n in wanted.items())


def wait(made: Path, run: Path, *processes) -> None:
    """Wait until all rows are there."""
    ends = time.monotonic() + WITHIN_S
    while not visible(made, run):
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends, "rows are missing"
        time.sleep(0.2)


def stopped(made: Path, run: Path, *processes) -> list[str]:
    """What processes have printed that were stopped by SIGTERM once all rows were there."""
    wait(made, run, *processes)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    return [ended(process)[0] for process in processes]


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


def test_it_waits_for_more_until_it_is_stopped_and_says_how_far_it_is(made, deployed, broker, tmp_path):
    topics, config = deployed
    more = {"TIDEWAX__RUN__STATUS_S": "0.2", "TIDEWAX__METRICS__ENGINE": "true"}
    live = start("live", "--config", config, "--out", tmp_path / "live", "--metrics-port", 0, "--signals", **more)
    address = ""
    while not address:
        address = live.stdout.readline().partition("metrics: ")[2].strip()
    wait(made, tmp_path / "live", live)
    with urllib.request.urlopen(address) as answer:
        served = answer.read().decode()
    behind = [line.split() for line in served.splitlines() if line.startswith("tidewax_kafka_lag{")]
    assert [name for name, _ in behind] == [
        f'tidewax_kafka_lag{{partition="{number}",topic="{topics.market}"}}' for number in range(SHARDS)
    ]
    assert {value for _, value in behind} == {"0.0"}
    assert (
        f'tidewax_ingest_records_total{{kind="trades",venue="synthetic"}} {sum(told(made / "run")["trades"].values()):.1f}'
        in served
    )
    assert "bytewax_item_inp_count_total" in served
    (said,) = stopped(made, tmp_path / "live", live)
    assert ", 0 gaps; shards 0, 1, 2, 3: 0 messages behind" in said
    assert "LONG" not in said.partition("paper results")[0], "they were in the topic when it was started"
    for number in range(SHARDS):
        assert told(shard_directory(tmp_path / "live", number))["state"] == "stopped"
    same(made, tmp_path / "live")
    lag = broker.tool("kafka-consumer-groups", "--describe", "--group", topics.prefix)
    assert topics.market in lag


def test_a_shard_that_fails_stops_the_others_in_order(made, deployed, broker, tmp_path):
    topics, config = deployed
    (key,) = (key for key in KEYS if shard_of(key, SHARDS) == 0)
    producer = Producer(broker.client())
    frame = Frame(key, "trades", np.zeros(1, TRADE), NEVER)
    for message in encode(frame, MARKET["trades"], 1_000_000, "arrow", 1_000_000):
        producer.produce(topics.market, message.value, message.key, partition=0, headers=message.headers)
    assert producer.flush(WITHIN_S) == 0
    done = command("live", "--config", config, "--out", tmp_path / "live")
    assert done.returncode == 1
    assert done.stderr.startswith(f"tidewax: shard 0: {topics.market}, partition 0, offset ")
    assert "Traceback" not in done.stderr
    states = [told(shard_directory(tmp_path / "live", number))["state"] for number in range(SHARDS)]
    assert states == ["unfinished", "stopped", "stopped", "stopped"]
    ended(start("live", "--config", config, "--out", tmp_path / "live", "--shard", "1,2,3", "--until-end"))


def test_workers_and_processes_of_one_flow_come_and_go_between_kills(made, deployed, broker, tmp_path):
    topics, config = deployed
    run, r = tmp_path / "live", random.Random("workers")
    config.write_text(f"{config.read_text()}output: {{directory: {run}}}\n")
    run.mkdir()
    make_store(run / "recovery")
    flow = ("flows.live", "-r", run / "recovery", "-s", 0, "-b", 0)
    rows = rows_of(made / "run", *range(SHARDS)) // 4
    addresses = "127.0.0.1:{};127.0.0.1:{}".format(*(free_port() for _ in range(2)))
    pair = [("-i", 0, "-a", addresses), ("-i", 1, "-a", addresses)]
    for shape in ([()], [("-w", 2)], pair):
        at = r.randint(1, rows)
        begun = [
            start_killed(signal.SIGKILL, at, "bytewax.run", *flow, *more, TIDEWAX_CONFIG=str(config)) for more in shape
        ]
        codes = {process.wait(WITHIN_S) for process in begun}
        assert -signal.SIGKILL in codes
        assert 0 not in codes, "one that is killed ends the other"
    processes = [start_runner(*flow, *more, TIDEWAX_CONFIG=str(config)) for more in pair]
    stopped(made, run, *processes)
    assert told(run)["state"] == "stopped"
    same(made, run)
    check_results(broker, topics, run)


def test_the_runner_runs_a_shard_where_the_command_does(made, deployed, tmp_path):
    _, config = deployed
    live, number = tmp_path / "live", shard_of(KEYS[0], SHARDS)
    config.write_text(f"{config.read_text()}output: {{directory: {live}}}\n")
    shard = shard_directory(live, number)
    at = rows_of(made / "run", number) // 3
    killed = start_killed(signal.SIGKILL, at, "live", "--config", config, "--out", live, "--shard", number)
    ended(killed, -signal.SIGKILL)
    store = ("flows.live", "-r", shard / "recovery", "-s", 0, "-b", 0)
    more = {"TIDEWAX_CONFIG": str(config), "TIDEWAX_SHARD": str(number)}
    ended(start_killed(signal.SIGKILL, at, "bytewax.run", *store, **more), -signal.SIGKILL)
    ended(start("live", "--config", config, "--out", live, "--until-end"))
    same(made, live)


def test_brokers_that_are_killed_and_paused_are_waited_for(made, own_broker, prefix, tmp_path):
    topics = make_topics(own_broker, prefix.rstrip("."))
    config = settings(tmp_path, own_broker.bootstrap, topics.prefix, "json")
    file, sent = made / "trades.parquet", sum(told(made / "run")["trades"].values()) // 2
    more = ("ingest", file, "--config", config, "--out", tmp_path / "ingest")
    ingest = start_held(KILLED_INGEST, "sent", sent, *more)  # midway, until the broker is dead
    live = start("live", "--config", config, "--out", tmp_path / "live")
    ends = time.monotonic() + WITHIN_S
    while not [*(tmp_path / "live").glob("shard-*/segments/confluence.arrows")]:  # the engine may fill one shard first
        assert live.poll() is None, live.communicate()
        assert time.monotonic() < ends, "no rows come"
        time.sleep(0.05)
    own_broker.kill()  # amid the work of shards, and amid that of ingest
    ingest.send_signal(signal.SIGCONT)
    assert ingest.poll() is None, "there is more to come"
    own_broker.start()
    own_broker.pause()
    time.sleep(2)  # an outage, not a wait for something
    own_broker.resume()
    ended(ingest)
    stopped(made, tmp_path / "live", live)
    same(made, tmp_path / "live")
    check_results(own_broker, topics, tmp_path / "live")
