"""Microstructure: the vectors of the specification through the core, and what each status means."""

from __future__ import annotations

import numpy as np
import pytest
from lab import ALL, deliver, drive
from micro_bench import T, bars, column, micro, rows, status

from events.feeds import BOOKS, CONTEXT, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, RATES, TICKERS, TOPS
from events.frames import concat, control
from events.rows import BOOK_MINUTE
from events.schema import (
    BOOK_SNAPSHOT,
    COLD,
    FROM_OHLCV,
    HOLE,
    MISSING,
    NEVER,
    RECONNECT,
    SETTLED,
    SILENT,
    SYNCED,
    WARMING,
)
from events.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from operators.microstructure.book import BOOK_MINUTES, BookMinutes, BookSettings
from operators.microstructure.columns import BOOK_COLUMNS
from operators.microstructure.derivatives import contrarian, fear_greed_score, log_odds
from operators.microstructure.histogram import bin_of, quantile
from operators.microstructure.interest import quadrant
from operators.microstructure.liquidation_kernels import imbalance
from operators.microstructure.micro import MICRO_COLUMNS, MICRO_INDEX, Micro, micro_streams, needs_quotes
from operators.microstructure.part import INPUTS, MicroSettings
from operators.microstructure.quotes import QUOTE_MINUTES, QuoteMinutes
from operators.microstructure.scores import MICRO_SCORES
from operators.microstructure.windows import freshness

EXACT = {"rel": 0, "abs": 1e-12}


def one(x):
    return np.array([x], np.float64)


def test_scores_and_their_freshness_are_columns_and_weigh_as_specified():
    for score in MICRO_SCORES:
        assert score.column in MICRO_INDEX
        assert score.freshness is None or score.freshness in MICRO_INDEX
    weights = {}
    for score in MICRO_SCORES:
        weights[score.dimension] = weights.get(score.dimension, 0.0) + score.weight
    assert weights == pytest.approx({"order_flow": 0.35, "liquidity": 0.85, "sentiment": 1.0})
    assert len(set(MICRO_COLUMNS)) == len(MICRO_COLUMNS)


def test_vectors_of_the_kernels():
    assert contrarian(one(1.8), 1.0, 1.0)[0] == pytest.approx(-0.3799489622552249, **EXACT)
    assert contrarian(one(1.25), 0.0, 1.0)[0] == pytest.approx(-0.5545997223493823, **EXACT)
    assert log_odds(one(0.62))[0] == pytest.approx(0.4895482253187058, **EXACT)
    assert fear_greed_score(one(80.0), 1.0)[0] == pytest.approx(-0.2, **EXACT)
    assert quadrant(one(1.5), one(-2.0), one(3.0), one(-0.01), 0.0)[0] == pytest.approx(-0.4837257302995843, **EXACT)
    assert quadrant(one(-1.5), one(-2.0), one(-3.0), one(-0.01), 0.5)[0] == pytest.approx(-0.24186286514979215, **EXACT)
    assert imbalance(one(120_000.0), one(360_000.0), 10_000.0)[0] == 0.5
    assert freshness(np.array([12 * HOUR_NS]), np.array([8 * HOUR_NS]))[0] == 0.7071067811865476


def settled_rates(n, spread=2.0**-14):
    """`n` settlements around 0, `spread` per hour off it, the newest eight hours before T."""
    at = T - 8 * HOUR_NS * np.arange(n, 0, -1)
    return rows(RATES, at, rate=8.0 * spread * np.where(np.arange(n) % 2, 1.0, -1.0), interval_h=8.0)


def test_funding_of_1_8_deviations():
    now = rows(RATES, [T - SECOND_NS], rate=8.0 * 1.8 * 2.0**-14, interval_h=8.0, predicted=1)
    out = micro(bars([100.0]), {RATES: concat([settled_rates(90), now])})
    assert column(out, "funding_z")[0] == pytest.approx(1.8, **EXACT)
    assert column(out, "sentiment.funding")[0] == pytest.approx(-0.3799489622552249, **EXACT)
    assert status(out, "sentiment.funding")[0] == SETTLED
    inverted = micro(bars([100.0]), {RATES: concat([settled_rates(90), now])}, invert=("funding",))
    assert column(inverted, "sentiment.funding")[0] == -column(out, "sentiment.funding")[0]


def test_funding_a_year():
    out = micro(bars([100.0]), {RATES: rows(RATES, [T], rate=0.0001, interval_h=8.0)})
    assert column(out, "funding_annual")[0] == pytest.approx(0.10950000000000001, **EXACT)
    assert column(out, "funding_rate")[0] == 0.0001
    assert status(out, "sentiment.funding")[0] == COLD


@pytest.mark.parametrize(("n", "expected"), [(20, COLD), (21, WARMING), (89, WARMING), (90, SETTLED), (95, SETTLED)])
def test_settlements_fill_the_window_and_predictions_do_not(n, expected):
    """A predicted rate is compared with the settlements, and enters no window; nor does the settlement itself its own."""
    foretold = rows(RATES, T - SECOND_NS * np.arange(50, 0, -1), rate=0.002, interval_h=8.0, predicted=1)
    out = micro(bars([100.0]), {RATES: concat([settled_rates(n), foretold])})
    assert status(out, "funding_z")[0] == expected
    settled = rows(RATES, [T - SECOND_NS], rate=0.002, interval_h=8.0)
    again = micro(bars([100.0]), {RATES: concat([settled_rates(n), settled])})
    assert again["status"].tobytes() == out["status"].tobytes()
    assert again["values"].tobytes() == out["values"].tobytes()


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0, 1.0), (8 * HOUR_NS, 1.0), (12 * HOUR_NS, 0.7071067811865476), (24 * HOUR_NS, 0.25),
        (24 * HOUR_NS + 1, np.nan),
    ],
)  # fmt: skip
def test_freshness_of_funding(age, expected):
    out = micro(bars([100.0]), {RATES: rows(RATES, [T - age], rate=0.0001, interval_h=8.0)})
    assert column(out, "sentiment.funding.freshness")[0] == pytest.approx(expected, nan_ok=True, **EXACT)
    stale = np.isnan(expected)
    assert (status(out, "sentiment.funding.freshness")[0] == MISSING) == stale
    assert np.isnan(column(out, "funding_rate")[0]) == stale
    assert status(out, "sentiment.funding")[0] == (MISSING if stale else COLD)


def test_the_natural_period_of_funding_is_its_interval():
    out = micro(bars([100.0]), {RATES: rows(RATES, [T - 4 * HOUR_NS], rate=0.0001, interval_h=1.0)})
    assert status(out, "funding_rate")[0] == MISSING
    out = micro(bars([100.0]), {RATES: rows(RATES, [T - 2 * HOUR_NS], rate=0.0001, interval_h=1.0)})
    assert column(out, "sentiment.funding.freshness")[0] == 0.5


def test_fear_and_greed():
    given = {CONTEXT: rows(CONTEXT, [T - 36 * HOUR_NS, T - HOUR_NS], value=[80.0, 33.0], name=[0, 2])}
    out = micro(bars([100.0]), given)
    assert column(out, "sentiment.fear_greed")[0] == pytest.approx(-0.2, **EXACT)
    assert column(out, "fear_greed")[0] == 80.0  # the newer row is another figure
    assert column(out, "sentiment.fear_greed.freshness")[0] == pytest.approx(2**-0.5, **EXACT)
    stale = micro(bars([100.0]), {CONTEXT: rows(CONTEXT, [T - 3 * DAY_NS - 1], value=80.0)})
    assert status(stale, "sentiment.fear_greed")[0] == MISSING


def test_basis_of_whichever_row_is_newer():
    ticker = rows(TICKERS, [T - 100 * SECOND_NS], mark=50025.0, index=50000.0)
    assert column(micro(bars([1.0]), {TICKERS: ticker}), "basis")[0] == pytest.approx(0.0005, **EXACT)
    without = rows(TICKERS, [T - 50 * SECOND_NS], mark=np.nan, index=50000.0)
    assert column(micro(bars([1.0]), {TICKERS: concat([ticker, without])}), "basis")[0] == pytest.approx(0.0005)
    rate = rows(RATES, [T - 90 * SECOND_NS], rate=0.0, interval_h=8.0, mark=49975.0, index=50000.0, predicted=1)
    assert column(micro(bars([1.0]), {TICKERS: ticker, RATES: rate}), "basis")[0] == pytest.approx(-0.0005)
    later = bars([1.0], first=T + 2 * MINUTE_NS)
    assert status(micro(later, {TICKERS: ticker}), "basis")[0] == MISSING


def test_without_tickers_there_is_a_basis_from_when_funding_says_both_prices():
    at = T + MINUTE_NS * np.array([0, 2])
    rate = rows(RATES, at, rate=0.0, interval_h=8.0, mark=[np.nan, 101.0], index=[np.nan, 100.0])
    out = micro(bars(np.ones(7)), {RATES: rate})
    assert status(out, "basis").tolist() == [SILENT] * 2 + [SETTLED] * 4 + [MISSING]
    assert status(out, "sentiment.basis").tolist() == [SILENT] * 2 + [COLD] * 4 + [MISSING]


def test_the_window_of_basis_excludes_the_bar_itself():
    n, r = 1500, np.random.default_rng(1)
    mark = 100.0 + r.normal(0, 0.1, n)
    ticker = rows(TICKERS, T + MINUTE_NS * np.arange(n) - 1, mark=mark, index=100.0)
    out = micro(bars(np.ones(n)), {TICKERS: ticker})
    x = (mark - 100.0) / 100.0
    for t in (360, 700, 1440, 1499):
        window = x[max(t - 1440, 0) : t]
        z = np.clip((x[t] - window.mean()) / window.std(), -4, 4)
        assert column(out, "basis_z")[t] == pytest.approx(z, rel=1e-9)
        u = -np.tanh(np.sign(z) * max(abs(z) - 2, 0) / 2)
        assert column(out, "sentiment.basis")[t] == pytest.approx(u, rel=1e-9, abs=1e-12)
    marks = status(out, "basis_z")
    assert (marks[:360] == COLD).all()
    assert (marks[360:1441] == WARMING).all()
    assert (marks[1441:] == SETTLED).all()


def test_long_short_ratio():
    n, r = 2100, np.random.default_rng(2)
    share = r.uniform(0.3, 0.7, n)
    sample = rows(LONG_SHORT, T - 20 * SECOND_NS * np.arange(n, 0, -1), long_frac=share, period_s=300)
    other = rows(LONG_SHORT, [T - SECOND_NS], long_frac=0.9, period_s=300, basis=1)
    out = micro(bars([1.0]), {LONG_SHORT: concat([sample, other])})
    x = np.log(share / (1 - share))
    z = (x[-1] - x[-2017:-1].mean()) / x[-2017:-1].std()
    assert column(out, "long_frac")[0] == share[-1]  # not that of positions
    assert column(out, "long_short_z")[0] == pytest.approx(z, rel=1e-9)
    assert column(out, "sentiment.long_short")[0] == pytest.approx(-np.tanh(z / 2), rel=1e-9)
    assert status(out, "sentiment.long_short")[0] == SETTLED
    positions = micro(bars([1.0]), {LONG_SHORT: concat([sample, other])}, long_short_basis="positions")
    assert column(positions, "long_frac")[0] == 0.9
    few = micro(bars([1.0]), {LONG_SHORT: sample[-288:]})
    enough = micro(bars([1.0]), {LONG_SHORT: sample[-289:]})
    assert [status(o, "sentiment.long_short")[0] for o in (few, enough)] == [COLD, WARMING]


def test_open_interest_and_the_quadrant():
    n, length, r = 400, 5 * MINUTE_NS, np.random.default_rng(3)
    close, held = 100.0 * np.exp(np.cumsum(r.normal(0, 1e-3, n))), 1e4 + np.cumsum(r.normal(0, 10, n))
    given = bars(close, length)
    sample = rows(OPEN_INTEREST, given["available_at"] - 2 * SECOND_NS, oi_base=held)
    out = micro(given, {OPEN_INTEREST: sample}, ("5m", length), oi_unwind=0.25)
    change, moved = np.diff(held, prepend=np.nan), np.diff(np.log(close), prepend=np.nan)
    assert column(out, "oi_change")[1:] == pytest.approx(change[1:])
    seen = set()
    for t in range(300, n):
        z = [(x[t] - x[t - 256 : t].mean()) / x[t - 256 : t].std() for x in (change, moved)]
        g = np.abs(np.tanh(np.clip(z, -4, 4) / 2)).prod()
        u = np.sign(moved[t]) * g * (1.0 if change[t] > 0 else 0.25)
        assert column(out, "oi_quadrant")[t] == pytest.approx(u, rel=1e-9)
        seen.add((change[t] > 0, moved[t] > 0))
    assert len(seen) == 4
    marks = status(out, "order_flow.oi_quadrant")
    assert marks[48] == COLD
    assert marks[49] == WARMING
    assert marks[-1] == SETTLED
    assert status(micro(given, {OPEN_INTEREST: sample}), "oi_quadrant")[5] == SILENT  # on 1m


def test_a_hole_in_the_bars_has_no_change_of_open_interest():
    given = np.delete(bars(np.full(10, 100.0), 5 * MINUTE_NS), 5)
    sample = rows(OPEN_INTEREST, given["available_at"] - SECOND_NS, oi_base=np.arange(9.0))
    out = micro(given, {OPEN_INTEREST: sample}, ("5m", 5 * MINUTE_NS))
    assert np.flatnonzero(np.isnan(column(out, "oi_change"))).tolist() == [0, 5]


def levels(*sides):
    """A snapshot of a book, best levels first."""
    bids, asks = sides
    return [(1, *level) for level in bids] + [(-1, *level) for level in asks]


def snapshots(at, books):
    """Snapshots of a book as an exchange library keeps it."""
    out = []
    for k, (ts, held) in enumerate(zip(at, books)):
        part = np.zeros(len(held), rows(BOOKS, [0]).dtype)
        part["available_at"] = part["ts_recv"] = ts
        part["u_first"] = part["u_prev"] = NEVER
        part["u_last"], part["kind"] = k + 1, BOOK_SNAPSHOT
        part["side"], part["price"], part["qty"] = np.array(held).T
        part["last"][-1] = 1
        out.append(part)
    whole = np.concatenate(out)
    whole["seq"] = np.arange(len(whole))
    return whole


def test_order_flow_of_a_book_in_units_of_its_size():
    """The vectors of the book's core, each state ten times as long: OFI 8 and 14, AD 4.916666666666667 and 7.583333333333333."""
    states = [
        levels([(100, 5), (99, 8)], [(101, 4), (102, 9)]),
        levels([(100, 7), (99, 6)], [(101, 4), (102, 9)]),
        levels([(101, 2), (100, 7)], [(102, 6), (103, 5)]),
    ]
    start = T - MINUTE_NS
    book = snapshots(start + SECOND_NS * np.array([0, 20, 50]), states)
    made = drive(lambda: BookMinutes(BookSettings(cap_mult=None)), [BOOKS], deliver({BOOKS: book}, ALL, end=T + 1))
    out = micro(bars([100.0]), {BOOK_MINUTES: made[BOOK_MINUTES]})
    assert column(out, "ofi_n")[0] == pytest.approx(8 / 4.916666666666667, **EXACT)
    assert column(out, "mlofi_n")[0] == pytest.approx((8 / 4.916666666666667 + 14 / 7.583333333333333) / 2, **EXACT)
    assert column(out, "book_synced")[0] == 1.0
    assert column(out, "book_age_s")[0] == 10.0
    assert column(out, "liquidity.microprice")[0] == column(out, "imb_1")[0]


def minutes(n, **fields):
    """Minutes of a book, SYNCED throughout and of age 1 s, from the one that ends at T on."""
    out = np.zeros(n, BOOK_MINUTE)
    out["available_at"] = T + MINUTE_NS * np.arange(n)
    out["synced_ns"], out["age_ns"], out["updates"], out["state"] = MINUTE_NS, SECOND_NS, 1, SYNCED
    out["values"] = np.random.default_rng(4).uniform(1, 2, (n, len(BOOK_COLUMNS)))
    for field, values in fields.items():
        if field in BOOK_COLUMNS:
            out["values"][:, BOOK_COLUMNS.index(field)] = values
        else:
            out[field] = values
    return out


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, True), ({"synced_ns": MINUTE_NS // 2}, True), ({"synced_ns": MINUTE_NS // 2 - 1}, False),
        ({"age_ns": 30 * SECOND_NS}, True), ({"age_ns": 30 * SECOND_NS + 1}, False), ({"voided": 1}, False),
        ({"age_ns": NEVER}, False),
    ],
)  # fmt: skip
def test_when_a_book_says_nothing(fields, told):
    out = micro(bars([1.0]), {BOOK_MINUTES: minutes(1, **fields)})
    for name in ("ofi_n", "imb_band", "spread_bps", "wmid", "liquidity.book_imbalance"):
        assert np.isfinite(column(out, name)[0]) == told, name
        assert status(out, name)[0] == (SETTLED if told else MISSING)


def test_a_book_without_a_row_for_the_minute_says_nothing():
    out = micro(bars(np.ones(3)), {BOOK_MINUTES: minutes(3)[[0, 2]]})
    assert status(out, "imb_1").tolist() == [SETTLED, MISSING, SETTLED]
    assert status(out, "book_synced").tolist() == [SETTLED, MISSING, SETTLED]


def test_longer_timeframes_add_flow_and_average_size_by_the_time_the_book_was_synced():
    synced = MINUTE_NS * np.array([1.0, 0.25, 0.5, 1.0, 0.0])
    given = minutes(5, synced_ns=synced.astype(np.int64))
    given["values"][4, :10] = np.nan  # a minute in which the book was not SYNCED
    given["available_at"] -= 4 * MINUTE_NS
    out = micro(bars([1.0], 5 * MINUTE_NS), {BOOK_MINUTES: given}, ("5m", 5 * MINUTE_NS))
    ofi, ad = given["values"][:4, :5], given["values"][:4, 5:10]
    expected = ofi.sum(0) / np.average(ad, axis=0, weights=synced[:4])
    assert column(out, "ofi_n")[0] == pytest.approx(expected[0])
    assert column(out, "mlofi_n")[0] == pytest.approx(expected.mean())
    assert status(out, "imb_1")[0] == SILENT
    given["synced_ns"] = MINUTE_NS // 2 - 1
    assert (
        status(micro(bars([1.0], 5 * MINUTE_NS), {BOOK_MINUTES: given}, ("5m", 5 * MINUTE_NS)), "ofi_n")[0] == MISSING
    )


def test_z_and_ranks_of_a_book():
    n = 1500
    spread = np.random.default_rng(5).uniform(1, 2, n).round(1)
    given = minutes(n, spread_bps=spread)
    out = micro(bars(np.ones(n)), {BOOK_MINUTES: given})
    x = column(out, "ofi_n")
    for t in (33, 200, 1400):
        window = x[max(t - 256, 0) : t]
        z = np.clip((x[t] - window.mean()) / window.std(), -4, 4)
        assert column(out, "order_flow.ofi")[t] == pytest.approx(np.tanh(z / 2), rel=1e-9)
        assert column(out, "ofi_u")[t] == column(out, "order_flow.ofi")[t]
    for t in (360, 1000, 1499):
        window = spread[max(t - 1440, 0) : t]
        rank = ((window < spread[t]).sum() + (window == spread[t]).sum() / 2) / len(window)
        assert column(out, "spread_pctl")[t] == pytest.approx(rank)
    assert [status(out, "ofi_u")[t] for t in (31, 32, 256, 257)] == [COLD, WARMING, WARMING, SETTLED]
    assert [status(out, "spread_pctl")[t] for t in (359, 360, 1440, 1441)] == [COLD, WARMING, WARMING, SETTLED]


def quotes(at, **fields):
    return rows(TOPS, at, **{"bid": 99.0, "bid_qty": 3.0, "ask": 101.0, "ask_qty": 1.0, **fields})


def reduced(top, until):
    return drive(lambda: QuoteMinutes(MINUTE_NS), [TOPS], deliver({TOPS: top}, ALL, end=until)).get(QUOTE_MINUTES)


def test_best_quotes_stand_until_the_next_and_at_most_30_s():
    start = T - MINUTE_NS
    top = quotes(start + SECOND_NS * np.array([10, 20, 20, 90]), bid_qty=[3.0, 9.0, 1.0, 3.0])
    out = reduced(top, T + 3 * MINUTE_NS)
    assert out["available_at"].tolist() == [T, T + MINUTE_NS]
    # 10 s of an imbalance of 1/2, 30 s of 0; the quote of the same time that came first stood for no time
    assert out["known_ns"].tolist() == [40 * SECOND_NS, 30 * SECOND_NS]
    assert out["imb_1"].tolist() == pytest.approx([0.125, 0.5])
    assert out["age_ns"].tolist() == [40 * SECOND_NS, 30 * SECOND_NS]
    assert out["spread_bps"].tolist() == pytest.approx([200.0, 200.0])
    assert out["wmid"].tolist() == pytest.approx([100.0, (101 * 3 + 99) / 4])
    found = micro(bars([1.0, 1.0]), {QUOTE_MINUTES: out})
    assert status(found, "spread_bps").tolist() == [
        MISSING,
        SETTLED,
    ]  # the first is older than 30 s, the second just 30
    assert column(found, "liquidity.microprice")[1] == 0.5
    assert status(found, "imb_5").tolist() == [SILENT, SILENT]


def test_best_quotes_count_only_for_instruments_without_a_book():
    lacking = (("a:X/Y", (BOOKS,)), ("a:Z/Y", (BOOKS, TOPS)))
    both = MicroSettings((BOOKS, TOPS))
    assert [needs_quotes(both._replace(lacking=lacking[k:])) for k in (0, 1)] == [True, False]
    assert not needs_quotes(both)
    assert needs_quotes(MicroSettings((TOPS,)))
    assert micro_streams("1m", MINUTE_NS, both) == ("bars.1m", BOOK_MINUTES)
    assert micro_streams("5m", 5 * MINUTE_NS, MicroSettings(INPUTS)) == ("bars.5m", BOOK_MINUTES, OPEN_INTEREST)


def liquidated(*events):
    """Liquidations as (seconds after T, position, quote value)."""
    at, pos, value = zip(*events)
    return rows(
        LIQUIDATIONS, T + (np.array(at) * SECOND_NS).astype(np.int64), pos=pos, price=100.0,
        qty=np.array(value) / 100.0, complete=1,
    )  # fmt: skip


def test_liquidations_of_30_minutes_and_4_hours():
    given = liquidated((-60, 1, 60_000), (-60, 1, 60_000), (-30, -1, 360_000), (0, 1, 1e9))
    out = micro(bars(np.ones(242)), {LIQUIDATIONS: given[:3]})
    assert column(out, "liq_imb_30m")[0] == 0.5
    assert column(out, "liq_imb_4h")[0] == 0.5
    assert np.isfinite(column(out, "liq_imb_30m")[:30]).all()
    assert (status(out, "liq_imb_30m")[30:] == SILENT).all()
    assert np.isfinite(column(out, "liq_imb_4h")[:240]).all()
    assert (status(out, "liq_imb_4h")[240:] == SILENT).all()
    assert status(out, "liq_imb_30m")[[28, 29]].tolist() == [WARMING, SETTLED]
    later = micro(bars(np.ones(2)), {LIQUIDATIONS: given})
    assert column(later, "liq_imb_30m")[0] == 0.5  # that of T itself is of the next bar, as a trade would be
    assert column(later, "liq_imb_30m")[1] < -0.99
    high = micro(bars(np.ones(1)), {LIQUIDATIONS: given[:3]}, liq_floor_usd=480_001.0)
    assert status(high, "liq_imb_30m")[0] == SILENT


def test_a_venue_that_does_not_push_all_liquidations_is_said_to():
    given = liquidated((-1, 1, 1e5), (100, 1, 1e5))
    given["complete"] = [1, 0]
    out = micro(bars(np.ones(300)), {LIQUIDATIONS: given})
    assert column(out, "liq_complete").tolist() == [1.0] * 2 + [0.0] * 240 + [1.0] * 58


def test_what_was_lost_between_two_connections_is_not_complete():
    given = {"bars.1m": bars(np.ones(300)), LIQUIDATIONS: liquidated((-1, 1, 1e5))}
    since, until = T + 100 * SECOND_NS, T + 110 * SECOND_NS
    said = {LIQUIDATIONS: control(HOLE, since, since, until, RECONNECT)}
    core = MicroSettings((LIQUIDATIONS,))
    (out,) = drive(lambda: Micro("1m", MINUTE_NS, core), given, deliver(given, ALL, control=said)).values()
    assert column(out, "liq_complete").tolist() == [1.0] * 2 + [0.0] * 240 + [1.0] * 58
    assert status(out, "liq_imb_30m")[2] == WARMING  # it is known, as a lower bound


def test_decayed_liquidations():
    """100 at 0 and 50 after 30 minutes, both longs, are 100 then and 50 after an hour; shorts keep to themselves."""
    start = (T + 128 * HOUR_NS) // (128 * HOUR_NS) * (128 * HOUR_NS)
    off = (start - T) / SECOND_NS
    given = liquidated((off - 0.5, -1, 1e-9), (off, 1, 100_000), (off + 1800, 1, 50_000), (off + 1800, -1, 20_000))
    out = micro(bars(np.ones(61), first=start + MINUTE_NS), {LIQUIDATIONS: given}, liq_floor_usd=0.0)
    decayed = column(out, "liq_decay_30m")
    # at the end of bar 30, one minute after the second
    f = 2.0 ** (-1 / 30)
    longs, shorts = 100_000.0 * f, 20_000 * f
    assert decayed[30] == pytest.approx((shorts - longs) / (shorts + longs))
    assert decayed[59] == pytest.approx((shorts - longs) / (shorts + longs))  # both halve alike
    assert column(out, "liq_decay_4h")[0] == pytest.approx(-1.0)


def flush(kind, closes_after, values=None):
    """40 quiet minutes, a burst in five, then closes; the burst is the newest bar with z > 2."""
    r = np.random.default_rng(6)
    quiet = [(60.0 * k - 30, int(r.choice([-1, 1])), float(r.uniform(500, 1500))) for k in range(40)]
    burst = [(60.0 * 40 - 30, kind, 900_000.0), (60.0 * 40 - 20, -kind, 100_000.0)] if values is None else values
    closes = [100.0] * 41 + closes_after
    return micro(bars(closes), {LIQUIDATIONS: liquidated(*quiet, *burst)})


@pytest.mark.parametrize("kind", [1, -1])
def test_a_flush_is_faded_once_it_is_over(kind):
    after = [100.0 - 0.5 * kind] * 40
    out = flush(kind, after)
    u = column(out, "liq_exhaustion")
    assert column(out, "liq_intensity_z")[40] > 2.0
    hot = int(np.flatnonzero(column(out, "liq_intensity_z") > 2.0)[-1])
    share = 900_000.0 / 1_000_000.0
    for age in range(3, 31):
        assert u[hot + age] == pytest.approx(kind * share * 2.0 ** (-age / 10), rel=5e-3), age
    assert np.isnan(u[[hot, hot + 1, hot + 2, hot + 31]]).all()
    assert status(out, "sentiment.liquidations")[hot] == SILENT
    assert u.tobytes() == column(out, "sentiment.liquidations").tobytes()


def test_a_flush_that_goes_on_is_not_faded():
    whole = flush(1, [100.0] * 40)
    broken = flush(1, [100.0] * 8 + [98.9] + [100.0] * 31)  # below the lowest low of the burst, 99
    hot = int(np.flatnonzero(column(whole, "liq_intensity_z") > 2.0)[-1])
    at = 41 + 8
    assert hot + 3 < at < hot + 30
    u, cut = column(whole, "liq_exhaustion"), column(broken, "liq_exhaustion")
    assert u[:at].tobytes() == cut[:at].tobytes()
    assert np.isfinite(u[at : hot + 31]).all()
    assert np.isnan(cut[at:]).all()


def test_the_vector_of_the_histogram():
    counts = np.zeros(512, np.int64)
    for x in (3.0, 5.0, 8.0, 8.0, 13.0, 21.0, 34.0, 55.0, 89.0, 144.0):
        counts[bin_of(x)] += 1
    assert [bin_of(x) for x in (3.0, 8.0, 89.0)] == [12, 24, 51]
    assert quantile(counts, 0.9) == pytest.approx(90.50966799187809, **EXACT)


def cascading(side=1, other=0.0, held=None):
    """Flags of two days, with a burst at noon of the second; T is midnight."""
    n, r, noon = 2 * 1440, np.random.default_rng(7), 1440 + 720
    usual = [(60.0 * k - 30, int(r.choice([-1, 1])), float(r.uniform(500, 1500))) for k in range(n)]
    burst = [(60.0 * noon - 20, side, 1e6), (60.0 * noon - 10, -side, 1e6 * other)][: 1 + (other > 0)]
    streams = {LIQUIDATIONS: liquidated(*sorted(usual + burst))}
    if held is not None:
        streams[OPEN_INTEREST] = rows(OPEN_INTEREST, T + MINUTE_NS * np.arange(n) - SECOND_NS, oi_base=held)
    out = micro(bars(np.ones(n)), streams)
    return noon, column(out, "liq_cascade"), status(out, "liq_cascade")


@pytest.mark.parametrize("side", [1, -1])
def test_a_cascade_lasts_as_long_as_its_burst(side):
    noon, flag, marks = cascading(side)
    assert np.flatnonzero(flag[1440:] == 1.0).tolist() == [noon - 1440 + k for k in range(5)]
    assert (marks[:1000] == COLD).all()
    assert (marks[1001:] == WARMING).all()


def test_a_cascade_is_one_sided_and_closes_positions_where_open_interest_is_known():
    n = 2 * 1440
    calm = 1e6 + np.random.default_rng(8).normal(0, 10, n)
    fell = calm - 1000.0 * (np.arange(n) >= 1440 + 720)
    found = [
        np.nansum(cascading(other=other, held=held)[1][1440:])
        for other, held in ((0.2, None), (0.3, None), (0.0, calm), (0.0, fell))
    ]
    assert found == [5.0, 0.0, 0.0, 5.0]


def test_what_votes_of_liquidations_is_a_setting():
    given = {LIQUIDATIONS: liquidated((-60, 1, 120_000), (-30, -1, 360_000))}
    out = micro(bars(np.ones(1)), given, liq_mode="momentum", invert=("liquidations",))
    assert column(out, "sentiment.liquidations")[0] == -0.5


def test_a_quiet_feed_is_no_fault():
    out = micro(bars(np.ones(300)), {LIQUIDATIONS: liquidated((-1, 1, 1e5))[:0]})
    assert (status(out, "liq_imb_30m") == SILENT).all()
    assert (status(out, "liq_exhaustion")[:32] == COLD).all()
    assert (status(out, "liq_exhaustion")[32:] == SILENT).all()
    assert (column(out, "liq_complete") == 1.0).all()


def test_before_the_run_nobody_listened_to_liquidations():
    """Preloaded bars are missing, and a run that begins with them is otherwise the one that begins without."""
    n, ahead = 600, 300
    given, r = bars(np.ones(n)), np.random.default_rng(9)
    given["flags"][:ahead] = FROM_OHLCV
    heard = {LIQUIDATIONS: liquidated(*sorted(
        (float(at), int(r.choice([-1, 1])), float(r.uniform(1e3, 1e5))) for at in r.uniform((ahead - 1) * 60, n * 60, 900)
    ))}  # fmt: skip
    out = micro(given, heard, preloaded=True)
    alone = micro(given[ahead:], heard, preloaded=True)
    assert (status(out, "liq_imb_30m")[:ahead] == MISSING).all()
    assert (status(out, "sentiment.liquidations")[:ahead] == MISSING).all()
    for name in ("liq_imb_30m", "liq_imb_4h", "liq_decay_4h", "liq_intensity_z", "liq_exhaustion", "liq_cascade"):
        assert status(out, name)[ahead:].tolist() == status(alone, name).tolist(), name
        assert column(out, name)[ahead:].tobytes() == column(alone, name).tobytes(), name
    assert not column(out, "liq_complete")[ahead : ahead + 239].any()
    of_klines = micro(given, heard)  # where bars are made of klines, they are heard beside
    assert (status(of_klines, "liq_imb_30m")[:ahead] == SILENT).all()


def test_streams_that_nobody_has_are_not_applicable():
    out = micro(bars(np.ones(3)), {})
    assert (out["status"] == SILENT).all()
    assert np.isnan(out["values"]).all()
