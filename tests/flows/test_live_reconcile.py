"""A live run whose exchange states another volume of a minute than was traded in it: it is reported, live and in the replay."""

from __future__ import annotations

import pytest
from live_bench import MINUTE, PATIENT, Bench
from simulator_clients import loopback_only  # noqa: F401

from connectors.simulator.exchange import Exchange
from connectors.simulator.ledger import Ledger
from events.feeds import CHECKS
from events.times import MINUTE_NS, SECOND_NS
from flows.graph import build_live

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("loopback_only")]
SPOT, KRAKEN = "binance:BTC/USDT", "kraken:BTC/USD"


def test_a_kline_that_differs_is_reported_live_and_in_the_replay(tmp_path, monkeypatch):
    told = Ledger.klines

    def spoiled(self, *given):
        rows = told(self, *given).copy()
        if self.listing.instrument == SPOT:
            rows["volume"][rows["ts_open"] == MINUTE] *= 1.5
        return rows

    monkeypatch.setattr(Ledger, "klines", spoiled)
    given = {"seed": 5, "start_ns": MINUTE - 4 * SECOND_NS, "speed": 1, "activity": 20}

    def script(bench):
        wanted = [(name, CHECKS) for name in (SPOT, KRAKEN)]
        bench.until(
            lambda: all(len(bench.source.beside[at].state) and bench.source.beside[at].rows for at in wanted), "klines"
        )
        bench.until(lambda: bench.rows(SPOT, "reconcile"), "a difference")

    with Exchange((SPOT, KRAKEN), **given) as exchange:
        bench = Bench(tmp_path, exchange, [SPOT, KRAKEN], beside=(CHECKS,), reconcile_s=2.0, **PATIENT)
        bench.run(script, build_live)
    (found,) = bench.rows(SPOT, "reconcile")
    assert (found.field, found.ts_open, found.venue) == ("volume", MINUTE, pytest.approx(1.5 * found.ours))
    assert found.ts > MINUTE + MINUTE_NS
    assert bench.rows(KRAKEN, "reconcile") == ()
    assert not bench.dead_letters()
    replayed = bench.replayed(build_live)
    assert replayed.rows(SPOT, "reconcile") == (found,)
    assert replayed.rows(KRAKEN, "reconcile") == ()
