"""What `tidewax ingest` says where it cannot go on: a sentence with what to do, exit code 1, and nothing left behind."""

from __future__ import annotations

import shutil
import socket
import subprocess

import pytest
from commands import command
from ingest_bench import differing, make_topics, of_files, of_topic

from connectors.files import open_inputs
from connectors.kafka.client import Connection
from connectors.kafka.names import Topics
from connectors.kafka.universe import read_announcements
from connectors.live import universe_of
from connectors.simulator import Market, write_trades
from connectors.simulator.exchange import Exchange
from connectors.tape import Tape
from events.times import DAY_NS
from flows.__main__ import main
from flows.rundir import INGEST, read_run


@pytest.fixture(scope="module")
def trades(tmp_path_factory):
    """Two files of trades of an instrument each."""
    folder, made = tmp_path_factory.mktemp("trades"), []
    for seed, name in enumerate(("synthetic:BTC/USDT", "synthetic:ETH/USDT")):
        made.append(folder / f"{seed}.parquet")
        write_trades(made[-1], (Market(name, 3_000.0, seed=seed + 1),), 19_675 * DAY_NS, 0.02)
    return made


@pytest.fixture
def named(prefix):
    """The prefix of the topics of a test."""
    return prefix.rstrip(".")


@pytest.fixture
def ingest(tmp_path, named, monkeypatch, capsys):
    """Runs the command on a broker; what it says."""

    def run(servers, *arguments, code=1, out="run", **kafka):
        for name, value in {"servers": servers, "prefix": named, "group": named, **kafka}.items():
            monkeypatch.setenv(f"TIDEWAX__KAFKA__{name.upper()}", value)
        given = ["ingest", *map(str, arguments), "--out", str(tmp_path / out)]
        with pytest.raises(SystemExit) as ended:
            main(given)
        assert ended.value.code == code
        said = capsys.readouterr()
        assert "Traceback" not in said.err + said.out
        if not code:
            assert said.err == ""
            return said.out
        (line,) = [line for line in said.err.splitlines() if line.startswith("tidewax: ")]
        return line

    return run


@pytest.mark.slow
def test_brokers_that_are_not_there(ingest, tmp_path, trades):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        servers = f"127.0.0.1:{nobody.getsockname()[1]}"
        said = ingest(servers, trades[0])
    assert f"Kafka at {servers} cannot be reached" in said
    assert not (tmp_path / "run").exists()


def test_no_brokers_named(tmp_path, trades, monkeypatch, capsys):
    monkeypatch.delenv("TIDEWAX__KAFKA__SERVERS", raising=False)
    with pytest.raises(SystemExit):
        main(["ingest", str(trades[0]), "--out", str(tmp_path / "run")])
    assert "kafka.servers" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["market", "universe"])
def test_topics_that_are_not_there(ingest, tmp_path, broker, named, trades, missing):
    if missing == "universe":
        broker.create(Topics(named).market, 2)
    said = ingest(broker.bootstrap, trades[0])
    assert f"has no topic {named}.{missing}" in said
    assert "tidewax topics create" in said
    assert not (tmp_path / "run").exists()


def test_exchanges_and_files_in_one(ingest, trades):
    said = ingest("nobody:9092", trades[0], "binance:BTC/USDT")
    assert "'binance:BTC/USDT' cannot be written beside" in said
    assert "is not exchange:BASE/QUOTE" in ingest("nobody:9092", "trades.csv")


def test_an_instrument_that_another_run_writes(ingest, tmp_path, broker, named, trades):
    make_topics(broker, named)
    ingest(broker.bootstrap, trades[0], code=0)
    said = ingest(broker.bootstrap, trades[0], out="again")
    assert "says that another run" in said
    said = ingest(broker.bootstrap, *trades, out="both", writer="both")
    assert "both write synthetic:BTC/USDT" in said
    assert not (tmp_path / "again").exists()
    assert not (tmp_path / "both").exists()
    (announced,) = read_announcements(Connection(broker.bootstrap), Topics(named).universe)
    assert announced.run == read_run(tmp_path / "run", INGEST)["run"]
    ingest(broker.bootstrap, trades[1], code=0, out="other")
    expected = of_files(open_inputs(trades[:1])) | of_files(open_inputs(trades[1:]))
    assert not differing(expected, of_topic(broker.bootstrap, named))


def test_a_writer_that_will_never_come_back_is_taken_out(ingest, broker, named, trades, kcat):
    make_topics(broker, named)
    ingest(broker.bootstrap, trades[0], code=0)
    universe, connection = Topics(named).universe, Connection(broker.bootstrap)
    (announced,) = read_announcements(connection, universe)
    line = [kcat, "-P", "-b", broker.bootstrap, "-t", universe, "-K", ":", "-Z"]
    subprocess.run(line, input=f"{announced.writer}:\n", text=True, check=True, timeout=60)
    assert not read_announcements(connection, universe)


def test_a_directory_of_something_else(ingest, tmp_path, broker, named, trades, capsys):
    make_topics(broker, named)
    ingest(broker.bootstrap, trades[0], code=0)
    assert "is of other files" in ingest(broker.bootstrap, trades[1])
    assert "writes arrow, and the settings say json" in ingest(broker.bootstrap, trades[0], wire="json")
    assert f"writes to {named}.market" in ingest(broker.bootstrap, trades[0], prefix="elsewhere")
    for other in (["backtest", str(trades[0]), "--out"], ["explain"], ["verify", str(tmp_path / "run")]):
        with pytest.raises(SystemExit):
            main([*other, str(tmp_path / "run")])
        assert "holds an ingest, not an analysis" in capsys.readouterr().err
    main_run = tmp_path / "analysis"
    with pytest.raises(SystemExit):
        main(["backtest", str(trades[0]), "--out", str(main_run)])
    capsys.readouterr()
    assert "holds an analysis, not an ingest" in ingest(broker.bootstrap, trades[0], out="analysis")


def test_without_its_recovery_store_nothing_comes_twice(ingest, tmp_path, broker, named, trades):
    make_topics(broker, named)
    ingest(broker.bootstrap, *trades, code=0)
    told = read_run(tmp_path / "run", INGEST)
    shutil.rmtree(tmp_path / "run" / "recovery", ignore_errors=True)
    text = (tmp_path / "run" / "run.json").read_text()
    (tmp_path / "run" / "run.json").write_text(text.replace('"state": "finished"', '"state": "stopped"'))
    assert "finished" in ingest(broker.bootstrap, *trades, code=0)
    assert read_run(tmp_path / "run", INGEST)["rows"] == told["rows"]
    assert not differing(of_files(open_inputs(trades)), of_topic(broker.bootstrap, named))


def test_other_symbols_than_before(ingest, tmp_path):
    with Tape(tmp_path / "run" / "tape", universe_of({"binance": ("BTC/USDT",)}, True, ("check.1m",))):
        pass
    said = ingest("nobody:9092", "binance:ETH/USDT")
    assert "a tape is of one universe" in said
    assert "binance:BTC/USDT" in said


@pytest.mark.slow
def test_an_exchange_that_cannot_be_used_leaves_nothing_behind(tmp_path, broker, named):
    given = {"servers": broker.bootstrap, "prefix": named, "group": named}
    make_topics(broker, named)
    config = tmp_path / "settings.yaml"
    with Exchange(["binance:BTC/USDT"], history_days=0.01) as exchange:
        config.write_text(f"exchange: {{addresses: {{binance: '{exchange.url.removeprefix('http://')}'}}}}\n")
        for _ in range(2):
            done = command(
                *("ingest", "binance:BTC/USTD", "--config", config, "--out", tmp_path / "run"),
                **{f"TIDEWAX__KAFKA__{name.upper()}": value for name, value in given.items()},
            )
            assert done.returncode == 1
            assert done.stderr.startswith("tidewax: binance has no market BTC/USTD")
            assert "Traceback" not in done.stderr + done.stdout
            assert not (tmp_path / "run").exists()
            assert not read_announcements(Connection(broker.bootstrap), Topics(named).universe)
