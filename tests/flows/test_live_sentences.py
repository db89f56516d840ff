"""What cannot be helped at an exchange, as `tidewax live` says it: a sentence with what to do, exit code 1, nothing left."""

from __future__ import annotations

import socket
from contextlib import contextmanager

import pytest
from commands import command

from connectors.simulator.exchange import Exchange

INSTRUMENTS = ("binance:BTC/USDT", "kraken:BTC/USD")


@contextmanager
def nobody():
    """An address at which connections are refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def silent():
    """An address at which connections are accepted, and nothing is ever said, as behind some firewalls."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        yield f"127.0.0.1:{mute.getsockname()[1]}"


@contextmanager
def simulated(fault=None, value=None):
    """The address of a local exchange with a fault."""
    with Exchange(INSTRUMENTS, history_days=0.01) as exchange:
        if fault:
            exchange.fault(fault, value)
        yield exchange.url.removeprefix("http://")


def said_of(folder, address, instrument, **given):
    """What `tidewax live` says before it gives up."""
    exchange = instrument.partition(":")[0]
    more = "".join(f", {name}: {value}" for name, value in given.items())
    config, out = folder / "live.yaml", folder / "run"
    config.write_text(f'exchange: {{addresses: {{{exchange}: "{address}"}}{more}}}\n')
    done = command("live", instrument, "--config", config, "--out", out)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert not out.exists()
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("tidewax: ")]
    return line


@pytest.mark.slow
@pytest.mark.parametrize("network", [nobody, silent])
@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_without_a_network_it_says_what_it_tried_and_how_to_do_without(tmp_path, network, instrument):
    with network() as address:
        said = said_of(tmp_path, address, instrument)
    assert f"{instrument.partition(':')[0]} did not answer within" in said
    assert (
        f"tried {address}. Last: {'it took too long' if network is silent else 'ClientConnectorError: Cannot connect'}"
        in said
    )
    for way in ("make demo", "tidewax demo", "tidewax simulate", "tidewax doctor"):
        assert f"`{way}`" in said


@pytest.mark.slow
@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_a_geo_block_is_told_as_such(tmp_path, instrument):
    with simulated("geo-block") as address:
        said = said_of(tmp_path, address, instrument)
    assert "refuses to serve this address (403 or 451)" in said
    assert "Use another exchange" in said


@pytest.mark.slow
@pytest.mark.parametrize(("skew_s", "how"), [(3_600.0, "behind"), (-3_600.0, "ahead of")])
@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_a_clock_that_is_far_off_is_told_by_how_much(tmp_path, instrument, skew_s, how):
    with simulated("clock-skew", skew_s) as address:
        said = said_of(tmp_path, address, instrument, clock_s=60)
    assert any(f"the clock of this machine is {n} s {how} that of" in said for n in (3_599, 3_600, 3_601))
    assert "set it" in said


@pytest.mark.slow
def test_a_symbol_that_is_not_there_is_named_with_what_was_meant(tmp_path):
    with simulated() as address:
        said = said_of(tmp_path, address, "binance:BTC/USTD")
        assert "binance has no market BTC/USTD; did you mean BTC/USDT?" in said
        assert "kraken has no market BTC/EUX" in said_of(tmp_path, address, "kraken:BTC/EUX")
