"""The contenders of the benchmarks make the same bars; nothing is timed here."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from rich.console import Console

from benchmarks import (
    bars,
    books,
    carrying,
    files,
    indicators,
    live,
    live_runs,
    nautilus,
    pushing,
    state,
    tape,
    whole,
    year,
)
from benchmarks.agreement import Disagreement, same_bars
from benchmarks.kernels import bare
from benchmarks.material import KEY, START, default_plan, frames, trades
from benchmarks.timing import Contender, Took, measure
from connectors.simulator import Market, write_trades
from events.feeds import BOOKS, TRADES
from events.times import DAY_NS
from operators.indicators import BUILTIN

pytestmark = pytest.mark.slow

PER_MINUTE = 6.0  # some minutes have no trade


def test_all_ways_to_bars_agree():
    found = bars.contenders(trades(0.3, PER_MINUTE), START + DAY_NS * 3 // 10, few=600)
    assert len(found) == 15
    assert all(contender.rows for contender in found)


def test_a_file_gives_the_bars_of_memory(tmp_path):
    path = tmp_path / "trades.parquet"
    rows = write_trades(path, (Market(KEY, trades_per_minute=PER_MINUTE),), START, 0.1)
    assert [contender.rows for contender in files.contenders(path, rows)] == [rows] * 4


def test_a_tape_gives_all_rows_whatever_the_frames(tmp_path):
    rows = trades(0.1, PER_MINUTE)
    found = tape.contenders(rows, 50, tmp_path)
    assert [contender.rows for contender in found] == [len(rows)] * 6 + [50] * 3
    assert [found[k].run() for k in (2, 5, 8)] == [len(rows), len(rows), 50]


def test_the_whole_graph_gives_the_same_at_any_cut():
    whole.same_at_any_cut(trades(0.1, PER_MINUTE), START + DAY_NS // 10)


def test_all_ways_to_a_book_agree():
    market = books.made(2_500)
    found = books.contenders(market, few=1_300)
    assert market.updates == 2_400
    assert [contender.rows for contender in found] == [*[2_400] * 4, 1_200, *[2_400] * 2, 1_200]


def test_another_book_is_found_out(monkeypatch):
    market = books.made(1_300)
    kernel_book = books.kernel_book

    def other(rows):
        bids, asks = kernel_book(rows)
        return [(bids[0][0], bids[0][1] + 1e-9), *bids[1:]], asks

    monkeypatch.setattr(books, "kernel_book", other)
    with pytest.raises(Disagreement, match="plain book"):
        books.same_books(market)
    monkeypatch.setattr(books, "python_book", lambda updates: other(market.book))
    with pytest.raises(Disagreement, match="best levels of the graph"):
        books.same_books(market)


def test_a_graph_that_refuses_an_update_is_not_timed():
    market = books.made(1_300)
    lost = market._replace(book=np.delete(market.book, slice(500, 700)))
    with pytest.raises(Disagreement, match="the book waits for a snapshot"):
        books.same_books(lost)


@pytest.mark.data
def test_a_recorded_book_is_that_of_the_kernels(market_data):
    books.same_books(books.first(books.captured(market_data, "hist_usdm_btcusdt", "USD-M BTC"), 6_000))


def test_spans_are_known_to_five_percent():
    spans = carrying.Spans()
    spans.add(9.0)  # nothing is measured yet
    for spans.third, span_s in ((0, 0.01), (0, 0.02), (0, 5.0), (2, 0.0)):
        spans.add(span_s)
    assert 0.02 <= spans.percentile(0, 50) <= 0.021
    assert 5.0 <= spans.percentile(0, 99) <= 5.25
    assert np.isnan(spans.percentile(1, 50))
    assert spans.percentile(2, 50) < 0.001


def test_what_is_carried_is_what_is_pushed():
    thirds = carrying.carried(3, 6.0, pace=30.0)
    assert len(thirds) == 3
    assert all(third.processor > 0 and third.rss_mb > 50 for third in thirds)
    assert 15 < sum(third.updates for third in thirds) / 3 < 60  # of thirty a second
    assert not any(third.dropped for third in thirds)


def test_between_two_boundaries_only_the_step_of_the_bars_is_written():
    found = state.written(default_plan(), days=0.1, hours=1)
    assert {w.step for w in found if w.between} == {"bars"}
    assert all(w.closing for w in found)


def test_other_bars_are_found_out():
    want = bare(trades(0.1, PER_MINUTE), START + DAY_NS // 10, default_plan())["bars.1m"]
    other = want.copy()
    other["volume"][3] *= 1 + 1e-6
    with pytest.raises(Disagreement, match="volume of bar 3"):
        same_bars("another", other[other["n_trades"] > 0], want)


def test_time_taken_elsewhere_is_what_counts():
    measured = measure([Contender("elsewhere", 10, lambda: Took(5.0))], 2)
    assert (measured[0].best, measured[0].worst, measured[0].rate) == (5.0, 5.0, 2.0)


@pytest.mark.skipif(
    not nautilus.installed(), reason="nautilus_trader has an environment of its own, `make bench` makes it"
)
def test_nautilus_trader_makes_our_bars(tmp_path):
    rows, end_ns = bars.cut(trades(0.3, 60.0), 20_000)  # it has other longer bars where minutes are empty
    found = nautilus.contenders(rows, end_ns, tmp_path, nautilus.installed(), tuple(nautilus.WAYS))
    assert [contender.rows for contender in found] == [len(rows)] * 4
    assert isinstance(found[-1].run(), Took)


def test_without_nautilus_trader_its_rows_are_left_out(tmp_path):
    rows, end_ns = bars.cut(trades(0.3, PER_MINUTE), 2_000)
    assert len(nautilus.contenders(rows, end_ns, tmp_path, "", tuple(nautilus.WAYS))) == 2


def test_other_bars_of_nautilus_trader_are_found_out():
    want = bare(trades(0.5, PER_MINUTE), START + DAY_NS // 2, default_plan())
    names = {"1": "1m", "5": "5m", "30": "30m", "240": "4h"}
    found = {
        minutes: np.array([[float(bar[column]) for column in nautilus.COLUMNS] for bar in want[f"bars.{name}"]])
        for minutes, name in names.items()
    }
    nautilus.same_as_ours("the same", found, want)
    found["30"][2, 4] += 0.01
    with pytest.raises(Disagreement, match=r"close of bars\.30m"):
        nautilus.same_as_ours("another", found, want)
    found["30"][2, 4] -= 0.01
    found["240"] = found["240"][:1]
    with pytest.raises(Disagreement, match=r"1 bars\.4h, not 3"):
        nautilus.same_as_ours("fewer", found, want)


def test_a_year_has_the_digests_of_any_cut():
    rows, end_ns = bars.cut(trades(0.3, PER_MINUTE), 2_000)
    assert all(contender.rows for contender in year.contenders(rows, end_ns))
    plan = year.all_on()
    whole_, single = (year.digested(frames(rows, chunk, end_ns), plan) for chunk in (len(rows), 50))
    assert whole_.by_day() == single.by_day()
    assert {"bars.1m", "features.5m", "confluence"} <= whole_.by_day().keys()
    assert "dead_letters" not in whole_.rows


def test_every_indicator_has_a_cost():
    everyone = indicators.everyone(quick=False)
    assert len(everyone) == 201 + len(BUILTIN)
    few = {name: everyone[name] for name in ("SMA", "CDLDOJI", "adl_z", "bos")}
    found = indicators.costs(few, many=128, few=16, rounds=1)
    assert [cost.name for cost in found] == list(few)
    assert [i.columns[0] for i in indicators.needed(everyone["adl_z"])] == ["atr_14", "sma_20", "adl_20"]


def test_the_table_of_indicators_is_printed(capsys, monkeypatch):
    few = {name: found for name, found in indicators.everyone(quick=True).items() if name in ("MOM", "adl_z")}
    monkeypatch.setattr(indicators, "everyone", lambda quick: few)
    monkeypatch.setattr(indicators, "QUICK", (128, 16))
    assert indicators.bench(Console(width=120), quick=True, full=True) == []
    said = capsys.readouterr().out
    assert "adl_z" in said
    assert f"the default indicators ({len(default_plan().analysis.indicators)})" in said


@pytest.mark.parametrize(("together", "uneven", "trading"), [(1, False, 0), (2, False, 0), (1, True, 0), (2, True, 2)])
def test_pushed_trades_are_those_that_rest_serves(together, uneven, trading):
    plan = pushing.Plan(
        "kraken", ("BTC/USD", "ETH/USD", "XYZ/USD"), 60_000, 0.0, 1_000_000, together, trading, START, uneven=uneven
    )
    made, ids, last_ns = pushing.Made(plan), {}, START - plan.step_ns
    for symbol, text in made.texts(0, plan.count):
        for trade in json.loads(text)["data"]:
            assert trade["symbol"] == symbol
            at, *_, trade_id, price, qty, side, _ = made.row(symbol, trade["trade_id"])
            assert (trade_id, price, qty) == (trade["trade_id"], trade["price"], trade["qty"])
            assert (trade["side"] == "buy") == (side > 0)
            assert at == last_ns + plan.step_ns
            ids.setdefault(symbol, []).append(trade_id)
            last_ns = at
    assert {symbol: made.ids(symbol, plan.count) for symbol in ids} == {
        symbol: len(found) for symbol, found in ids.items()
    }
    assert all(found == list(range(pushing.FIRST_ID, pushing.FIRST_ID + len(found))) for found in ids.values())
    assert made.ids("XYZ/USD", 0) == 1
    assert len(ids) == (trading or 3)


@pytest.mark.parametrize("venue", live.QUOTES)
def test_what_is_pushed_comes_through_the_exchange_source(venue):
    plan, found = live.pushed(venue, 3_000), []
    with pushing.pushing(plan) as address:
        assert isinstance(live.bare(plan, address), Took)
        assert isinstance(live.through(plan, address, found), Took)
    live.same_trades(plan, found)
    with pytest.raises(Disagreement, match="BTC"):
        live.same_trades(plan, [frame for frame in found if len(frame.rows)][1:])


@pytest.mark.parametrize("feeds", [(TRADES,), (TRADES, BOOKS)])
def test_latencies_are_of_the_rows_that_leave_the_graph(tmp_path, feeds):
    symbols, step_ns, quotes = ("BTC/USDT", "ETH/USDT"), 300_000_000, 10.0 if BOOKS in feeds else 0.0
    plan = pushing.Plan("binance", symbols, 1 << 40, 200.0, step_ns, begin_ns=START, at_once=6_000, quotes=quotes)
    with pushing.pushing(plan) as address:
        exchange = {"feeds": feeds, "stale_s": 1_200.0}
        settings = live_runs.settings_of(address, symbols, tmp_path / "markets", **live.SIGNALLING, exchange=exchange)
        found = live_runs.apart(live_runs.watch, settings, tmp_path, 12.0, step_ns, 200.0, 6_000)
    of = found["confluence"]
    assert len(of.record) >= 4
    assert (of.needed > 0).all()
    assert (of.record >= of.needed).all()
    assert (of.record > of.needed).any() == (
        BOOKS in feeds
    )  # updates of books come ten times a second, trades a hundred times
    assert np.median(of.close) > np.median(of.record)  # when a bar ended is known to some milliseconds
    assert (of.visible > of.record).all()
    assert (of.visible < 60).all()


def test_a_killed_run_is_restarted_with_the_state_of_days(tmp_path):
    symbols = ("BTC/USDT", "ETH/USDT", "XYZ/USDT")
    plan = pushing.Plan("binance", symbols, 1 << 40, 100.0, 10_000_000, begin_ns=START + 2 * DAY_NS, at_once=12_500)
    with pushing.pushing(plan) as address:
        settings = live_runs.settings_of(address, symbols, tmp_path / "markets")
        live_runs.killed(settings, tmp_path, 12_600)
        assert live_runs.apart(live_runs.warmed, tmp_path, 0.5, [f"binance:{s}" for s in symbols]) > 100_000
        found = live_runs.apart(live_runs.restart, settings, tmp_path, time.time())
    assert 0 < found.imported < found.read < found.first
