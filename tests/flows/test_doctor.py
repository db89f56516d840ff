"""`tidewax doctor`: each thing that can be wrong is found on a real exchange of this machine, a real disk and a real store."""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager

import pytest
from commands import command
from packaging.requirements import Requirement
from test_live_sentences import INSTRUMENTS, nobody, silent

from config import Settings, resolve
from connectors.live import universe_of
from connectors.simulator.exchange import Exchange
from connectors.tape import Tape
from events.errors import SettingsError
from flows.doctor import examine
from flows.doctor_checks import open_files, ports, versions, versions_of, wanted_ports
from flows.doctor_exchanges import Offset
from flows.doctor_store import store
from flows.live import LiveRun
from flows.rundir import RunDirectory

pytestmark = pytest.mark.slow

SYMBOLS = {"binance": ["BTC/USDT", "BTC/USDT:USDT"], "kraken": ["BTC/USD"]}
LISTED = ("binance:BTC/USDT", "binance:BTC/USDT:USDT", "kraken:BTC/USD")


@pytest.fixture(scope="module")
def exchange():
    with Exchange(LISTED, history_days=0.01) as exchange:
        yield exchange


@pytest.fixture(autouse=True)
def no_faults(exchange):
    yield
    exchange.clear()


def findings(exchange, out, symbols=SYMBOLS, within_s=120.0, **given):
    """(state, what was found) by check."""
    address = exchange if isinstance(exchange, str) else exchange.url.removeprefix("http://")
    section = {"symbols": symbols, "addresses": dict.fromkeys(symbols, address), **given}
    found = examine(resolve(None, {"exchange": section}), out, within_s)
    assert len({finding.check for finding in found}) == len(found)
    return {finding.check: (finding.state, f"{finding.found}: {finding.remedy}") for finding in found}


def test_where_nothing_is_wrong_every_check_is_ok_and_nothing_is_left_behind(exchange, tmp_path):
    found = findings(exchange, tmp_path / "runs" / "live", clock_s=60)
    assert {state for state, _ in found.values()} == {"ok"}, found
    assert list(found) == [
        *("settings", "versions", "history 1m", "history 5m", "history 30m", "history 4h", "disk", "run directory"),
        *("ports", "open files", "binance REST", "binance clock", "binance symbols", "binance websocket, spot"),
        *("binance websocket, swap", "kraken REST", "kraken clock", "kraken symbols", "kraken websocket, spot"),
    ]
    assert "10,081 bars, 7.0 days" in found["history 1m"][1]
    assert "rvol" in found["history 1m"][1]
    assert list(tmp_path.iterdir()) == []
    exchange.wait_connections(0)


def test_the_address_of_fear_and_greed_is_tried(exchange, tmp_path):
    symbols = {"binance": ["BTC/USDT"]}
    state, said = findings(exchange, tmp_path, symbols, context=exchange.context)["fear and greed"]
    assert state == "ok"
    assert 0 <= float(said.split()[0]) <= 100
    state, said = findings(exchange, tmp_path, symbols, context=exchange.url + "/api/v3/time")["fear and greed"]
    assert state == "wrong"
    assert "(exchange.context) serves no figures of fear and greed" in said


@pytest.mark.parametrize(("skew_s", "how"), [(90.0, "90 s behind"), (-90.0, "90 s ahead of")])
def test_a_clock_that_is_far_off_is_wrong(exchange, tmp_path, skew_s, how):
    exchange.fault("clock-skew", skew_s)
    found = findings(exchange, tmp_path, {"binance": ["BTC/USDT"]}, clock_s=60)
    assert found["binance clock"][0] == "wrong"
    assert f"the clock of this machine is {how} that of binance: set it" in found["binance clock"][1]


def test_a_clock_that_is_a_little_off_is_a_warning_and_that_of_a_server_its_own(exchange, tmp_path):
    exchange.fault("clock-skew", 5.0)
    state, said = findings(exchange, tmp_path, {"binance": ["BTC/USDT"]}, clock_s=60)["binance clock"]
    assert state == "warning"
    assert float(said.split()[2]) == pytest.approx(5.0, abs=0.5)
    assert findings(exchange, tmp_path, {"binance": ["BTC/USDT"]})["binance clock"][0] == "ok"


def test_the_clock_of_an_exchange_lies_between_question_and_answer():
    for early in range(0, 101, 10):  # the answer is made anywhere between the two
        made_ns = 10**9 * 5 + early * 10**6
        for ahead_ms in (-70, 0, 3_000):
            theirs_ms = made_ns // 10**6 + ahead_ms
            offset = Offset.of(5 * 10**9, 5 * 10**9 + 10**8, theirs_ms)
            assert abs(offset.ahead_ns - ahead_ms * 10**6) <= offset.within_ns + 10**6
    assert Offset.of(5 * 10**9, 5 * 10**9 + 10**8, 5_000).within_ns == 550_000_000, "in whole seconds"


@pytest.mark.parametrize("name", SYMBOLS)
def test_a_geo_block_is_told_as_such(exchange, tmp_path, name):
    exchange.fault("geo-block")
    found = findings(exchange, tmp_path, {name: SYMBOLS[name]})
    assert found[f"{name} REST"][0] == "wrong"
    assert "refuses to serve this address (403 or 451)" in found[f"{name} REST"][1]
    assert f"{name} clock" not in found


@pytest.mark.parametrize("network", [nobody, silent])
def test_an_exchange_that_does_not_answer_is_named_with_the_reason(tmp_path, network):
    with network() as address:
        found = findings(address, tmp_path, within_s=1.5)
    for name in SYMBOLS:
        state, said = found[f"{name} REST"]
        assert state == "wrong"
        assert said.startswith("no answer")
        assert f"tried {address}" in said
        assert network is silent or "Cannot connect" in said


def test_a_websocket_that_is_refused_is_found_though_rest_answers(exchange, tmp_path):
    exchange.fault("refuse")
    found = findings(exchange, tmp_path, {"kraken": ["BTC/USD"]})
    assert found["kraken REST"][0] == found["kraken symbols"][0] == "ok"
    assert found["kraken websocket"][0] == "wrong"
    assert "503" in found["kraken websocket"][1]


def test_a_wrong_symbol_is_named_with_what_was_meant(exchange, tmp_path):
    found = findings(exchange, tmp_path, {"binance": ["BTC/USTD"]})
    assert found["binance symbols"][0] == "wrong"
    assert "binance has no market BTC/USTD; did you mean BTC/USDT?" in found["binance symbols"][1]


def test_a_stream_that_no_symbol_has_is_wrong(tmp_path):
    settings = resolve(
        None, {"exchange": {"symbols": {"kraken": ["BTC/USD"]}, "feeds": ["trades", "funding"]}}
    ).settings
    (found,) = store(settings, tmp_path / "run")
    assert (found.check, found.state) == ("streams", "wrong")
    assert found.found.startswith("exchange.feeds names funding, and none of kraken:BTC/USD has that here")


def test_a_directory_that_cannot_be_written_is_wrong(exchange, tmp_path):
    (tmp_path / "file").write_text("")
    found = findings(exchange, tmp_path / "file" / "run", {"kraken": ["BTC/USD"]})
    assert found["disk"][0] == "wrong"
    assert "there is a file" in found["disk"][1] or "is a file, not a directory" in found["disk"][1]
    if os.geteuid():
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        found = findings(exchange, locked, {"kraken": ["BTC/USD"]})
        assert found["disk"][0] == "wrong"
        assert "permission denied" in found["disk"][1]


def test_a_run_directory_in_use_is_a_warning(exchange, tmp_path):
    with RunDirectory(tmp_path):
        state, said = findings(exchange, tmp_path)["run directory"]
    assert (state, "another process runs in" in said) == ("warning", True)
    assert findings(exchange, tmp_path)["run directory"][0] == "ok"


@contextmanager
def live_run(exchange, out, **more):
    """The settings of a live run that has begun in a directory."""
    section = {"symbols": SYMBOLS, "addresses": dict.fromkeys(SYMBOLS, exchange.url.removeprefix("http://"))}
    with RunDirectory(out) as directory:
        run = LiveRun(resolve(None, {"exchange": section, **more}).settings, directory, store=directory.recovery)
        run.begin()
        run.inputs.tape.close()
    yield


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_store_is_seen_as_the_live_command_would(exchange, tmp_path):
    with live_run(exchange, tmp_path):
        before = contents(tmp_path)
        state, said = findings(exchange, tmp_path)["run directory"]
        assert (state, "holds a run that goes on from its tape" in said) == ("ok", True)
        assert contents(tmp_path) == before
        state, said = findings(exchange, tmp_path, {"binance": ["BTC/USDT"]})["run directory"]
        assert (state, "holds a tape of binance:BTC/USDT, binance:BTC/USDT:USDT, kraken" in said) == ("wrong", True)


@pytest.mark.parametrize("broken", ["analysis", "schema", "store", "tape"])
def test_a_store_that_a_live_run_would_refuse_is_wrong(exchange, tmp_path, broken):
    more = {"bars": {"max_fill": 7}} if broken == "analysis" else {}
    with live_run(exchange, tmp_path, **more):
        if broken == "schema":
            run = json.loads((tmp_path / "run.json").read_text())
            (tmp_path / "run.json").write_text(json.dumps(run | {"schema_v": 0}))
        if broken == "store":
            (tmp_path / "recovery" / "part-0.sqlite3").write_bytes(b"no database" * 100)
        if broken == "tape":
            for file in (tmp_path / "tape").glob("*.tape"):
                file.unlink()
            Tape(
                tmp_path / "tape",
                universe_of({name: tuple(listed) for name, listed in SYMBOLS.items()}, True, ("check.1m",)),
            ).close()
        state, said = findings(exchange, tmp_path)["run directory"]
    assert state == "wrong"
    told = {"analysis": "bars.max_fill is", "schema": "schema 0", "store": "cannot be read", "tape": "another tape"}
    assert told[broken] in said


def test_a_port_that_is_taken_is_wrong():
    settings = Settings()
    assert ports(wanted_ports(settings, {})) == [("ports", "ok", "a run opens none", "")]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environ = {"BYTEWAX_DATAFLOW_API_ENABLED": "0", "BYTEWAX_DATAFLOW_API_PORT": str(port)}
        metrics = Settings(metrics={"port": port})
        for finding in (*ports(wanted_ports(settings, environ)), *ports(wanted_ports(metrics, {}))):
            assert (finding.state, f"port {port} " in finding.found) == ("wrong", True)
    assert ports(wanted_ports(settings, environ))[0].state == "ok"
    assert ports(wanted_ports(settings, environ | {"BYTEWAX_DATAFLOW_API_PORT": "http"}))[0].state == "wrong"


def test_what_is_out_of_range_is_named_with_what_to_install():
    assert [finding.state for finding in versions()] == ["ok"]
    wanted = [Requirement("numpy<1"), Requirement("nosuchlibrary>=1.2"), Requirement("typer>=0.1")]
    python, missing, numpy = versions_of("<3.9", reversed(wanted))
    assert (python.state, missing.state, numpy.state) == ("wrong",) * 3
    assert "it has to be <3.9" in python.found
    assert (missing.found, missing.remedy) == (
        "nosuchlibrary is not installed, it has to be >=1.2",
        "pip install 'nosuchlibrary>=1.2'",
    )
    assert numpy.remedy == "pip install 'numpy<1'"


def test_open_files_are_counted_against_the_instruments(monkeypatch):
    import resource

    symbols = {"binance": [f"A{n}/USDT" for n in range(500)]}
    settings = resolve(None, {"exchange": {"symbols": symbols}}).settings
    monkeypatch.setattr(resource, "getrlimit", lambda _: (90, 90))
    (finding,) = open_files(settings, 20)
    assert finding.state == "wrong"
    assert "10 connections" in finding.found
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert open_files(settings, 20)[0].state == "ok"


def test_all_settings_that_are_wrong_are_rows_and_the_rest_is_looked_at(exchange, tmp_path):
    address = exchange.url.removeprefix("http://")
    given = {"exchange": {"symbols": {"kraken": ["BTC/USD"]}, "addresses": {"kraken": address}}}
    resolved = resolve(None, given | {"bars": {"tiem": 1}, "run": {"workers": 0}})
    with pytest.raises(SettingsError):
        _ = resolved.settings
    found = examine(resolved, tmp_path)
    assert [finding.state for finding in found if finding.check == "settings"] == ["wrong", "wrong"]
    assert next(finding for finding in found if finding.check == "kraken symbols").state == "ok"


def test_the_command_prints_a_table_and_ends_with_1_if_something_is_wrong(exchange, tmp_path):
    config = tmp_path / "live.yaml"
    address = exchange.url.removeprefix("http://")
    config.write_text(f'exchange: {{addresses: {{binance: "{address}", kraken: "{address}"}}}}\n')
    arguments = ("doctor", *INSTRUMENTS, "--config", config, "--out", tmp_path / "run")
    done = command(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing is wrong" in done.stdout
    exchange.fault("geo-block", venue="kraken")
    done = command(*arguments)
    assert done.returncode == 1
    assert "kraken refuses to serve this address (403 or 451)" in done.stdout
    assert "binance clock" in done.stdout
    assert "1 wrong" in done.stdout


def test_without_a_network_the_command_says_how_to_do_without(tmp_path):
    config = tmp_path / "live.yaml"
    with nobody() as address:
        every = ("binance", "kraken", "okx", "coinbase", "bybit")
        config.write_text(f"exchange: {{addresses: {json.dumps(dict.fromkeys(every, address))}}}\n")
        done = command("doctor", "--config", config, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert done.stdout.count("no answer") == 5
    assert "Without a network: `make demo` or `tidewax demo`" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
