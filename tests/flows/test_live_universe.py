"""A live run that follows the largest markets: who joins and leaves, what is recorded of it, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from live_bench import FIELDS, MINUTE, Bench

from connectors.exchange.universe import Largest
from connectors.simulator.exchange import Exchange
from connectors.simulator.listings import Listing
from connectors.tape import Recording
from events.frames import concat
from events.schema import LEAVE, NEVER
from events.times import MINUTE_NS

BTC, ETH, SOL, LTC = (f"binance:{base}/USDT" for base in ("BTC", "ETH", "SOL", "LTC"))
RULE = {"binance": Largest(top=2, keep=2, refresh_s=0.3)}


def recorded(tape, stream):
    """(instrument, frame) of a stream, in order."""
    return [item for _, items in Recording(tape).read(0) for item in items if item[1].name == stream]


def changes(tape):
    return [(key, *frame.rows["change"].tolist()) for key, frame in recorded(tape, "universe") if len(frame.rows)]


def trades_of(tape, instrument):
    parts = [frame.rows for key, frame in recorded(tape, "trades") if key == instrument and len(frame.rows)]
    return concat(parts) if parts else ()


def lead(exchange, instrument, notional):
    """Make a market the one with so much more turnover."""
    price = Listing.of(instrument).asset.price
    exchange.trade(instrument, price, round(notional / price, 3), 1)


@pytest.mark.slow
def test_who_joins_and_leaves_is_recorded_and_those_that_stay_miss_nothing(tmp_path):
    beside = ("book", "top")
    with Exchange((BTC, ETH, SOL, LTC), seed=3, start_ns=MINUTE, speed=20, activity=10, history_days=0.1) as exchange:
        lead(exchange, SOL, 1e12)
        lead(exchange, LTC, 1e11)
        bench = Bench(tmp_path, exchange, [BTC], RULE, beside=beside)

        def script(run):
            run.until(lambda: {SOL, LTC} <= run.source.standings.keys(), "the largest join")
            run.until(lambda: run.source.standings[LTC].rows, "it trades")
            exchange.burst(LTC, 300)  # else it does so seldom
            run.until(lambda: min(run.source.standings[key].rows for key in (BTC, SOL, LTC)) > 300, "they trade")
            lead(exchange, ETH, 1e13)
            run.until(lambda: ETH in run.source.standings, "another one joins")
            run.until(lambda: LTC not in run.source.standings, "the smallest leaves")
            run.until(lambda: min(run.source.standings[key].rows for key in (BTC, SOL, ETH)) > 900, "they trade on")
            run.until(lambda: min(len(run.rows(key, "bars.1m")) for key in (BTC, SOL)) > 3, "bars close")

        bench.run(script)
        traded = {key: exchange.traded(key) for key in (BTC, SOL)}
    assert changes(bench.tape) == [(SOL, 1), (LTC, 1), (LTC, -1), (ETH, 1)]
    promised = NEVER
    for key, frame in recorded(bench.tape, "members"):
        assert (key, *frame.rows["available_at"][frame.rows["available_at"] < promised]) == ("binance:*",)
        promised = max(promised, frame.watermark)
    assert promised > bench.rows(BTC, "bars.1m")["available_at"][-1] - 2 * MINUTE_NS
    assert {letter.reason for letter in bench.dead_letters()} <= {
        "BOOK_SEQ"
    }  # the books begin anew with the connection
    for key, all_of in traded.items():
        ours = trades_of(bench.tape, key)
        theirs = all_of[np.isin(all_of["trade_id"], ours["trade_id"])]
        assert len(ours) > 900
        assert (np.diff(ours["trade_id"]) == 1).all(), "none is missing, none comes twice"
        assert ours[FIELDS].tolist() == theirs[FIELDS].tolist()
        bars = bench.rows(key, "bars.1m")
        assert len(bars) > 3
        assert (np.diff(bars["g"]) == 1).all()
    last = [frame for _, items in Recording(bench.tape).read(0) for key, frame in items if key == LTC][-4:]
    assert [frame.name for frame in last] == ["trades", "book", "top", "universe"]
    assert all(LEAVE in frame.control["kind"] for frame in last)
    assert {count.name for count in bench.rows(LTC, "counts")} == {"trades", "book", "top", "universe"}

    replayed, compared = bench.replayed(), 0
    for key in (BTC, ETH, SOL, LTC):
        for name in ("bars.1m", "bars.5m", "book.1m"):
            live, again = bench.rows(key, name), replayed.rows(key, name)
            assert len(live) == len(again)
            assert not len(live) or live.tobytes() == again.tobytes(), (key, name)
            compared += len(live)
    assert compared > 20


@pytest.mark.slow
def test_a_restart_goes_on_with_those_that_were_followed(tmp_path):
    with Exchange((BTC, ETH, SOL), seed=4, start_ns=MINUTE, speed=5, activity=20, history_days=0.1) as exchange:
        lead(exchange, SOL, 1e12)
        lead(exchange, ETH, 1e11)
        seen = []
        for _ in range(2):
            bench = Bench(tmp_path, exchange, [], RULE)

            def script(run):
                run.until(lambda: {ETH, SOL} <= run.source.standings.keys(), "the largest join")
                more = {key: run.source.standings[key].rows + 200 for key in (ETH, SOL)}
                run.until(lambda: all(run.source.standings[key].rows > n for key, n in more.items()), "they trade")

            bench.run(script)
            seen.append(len(trades_of(bench.tape, SOL)))
        assert seen[1] > seen[0] > 200
    assert changes(bench.tape) == [(SOL, 1), (ETH, 1)], "those who were followed do not join again"
    for key in (ETH, SOL):
        assert (np.diff(trades_of(bench.tape, key)["trade_id"]) == 1).all()
    assert {frame.rows["turnover"][0] > 1e10 for _, frame in recorded(bench.tape, "universe")} == {True}
