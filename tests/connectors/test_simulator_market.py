"""The market that the local exchange trades: deterministic, the same however it is asked for, and like a market."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from connectors.simulator.exchange import Exchange
from connectors.simulator.ledger import Ledger
from connectors.simulator.listings import Asset, Listing
from connectors.simulator.market import Market, write_trades
from connectors.simulator.model import ModelTape, Path, Volatility
from connectors.simulator.recording import RecordedTape, read_recording
from connectors.simulator.world import World, model_tapes
from events.errors import InputError, SettingsError
from events.rows import TRADE
from events.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

NOW = 19_675 * DAY_NS + 13 * HOUR_NS + 17 * SECOND_NS + 5
SPOT, OTHER, KRAKEN, QUIET = "binance:BTC/USDT", "binance:ETH/USDT", "kraken:BTC/USD", "binance:LTC/USDT"


def world(seed=1, history_days=2, activity=1.0):
    tapes = model_tapes((SPOT, OTHER, KRAKEN, QUIET), seed, NOW - history_days * DAY_NS, activity)
    return World.of(tapes, seed, NOW, history_days * DAY_NS, 480 * MINUTE_NS)


def history(world, instrument):
    ledger = world.ledger(instrument)
    return ledger.rows(0, ledger.next_id)


def test_same_seed_same_market_and_another_seed_another():
    a, b, other = (history(world(seed), SPOT) for seed in (1, 1, 2))
    assert len(a) > 50_000
    assert a.tobytes() == b.tobytes()
    assert a.tobytes() != other.tobytes()


@pytest.mark.parametrize("instrument", [SPOT, KRAKEN, QUIET])
def test_the_market_does_not_depend_on_how_it_is_advanced(instrument):
    once, often = world(), world()
    once.advance(NOW + 300 * SECOND_NS)
    for step in np.random.default_rng(1).integers(1, 2 * SECOND_NS, 400).cumsum():
        often.advance(min(NOW + int(step), NOW + 300 * SECOND_NS))
    a, b = once.ledger(instrument).traded(), often.ledger(instrument).traded()
    assert a.tobytes() == b.tobytes()
    assert (np.diff(a["available_at"]) >= 0).all()
    assert (a["available_at"] >= NOW).all()
    assert (a["available_at"] < NOW + 300 * SECOND_NS).all()


def test_ids_are_contiguous_from_history_into_what_trades_now():
    w = world()
    w.advance(NOW + 60 * SECOND_NS)
    w.trade(SPOT, 50_000.0, 1.0, 1)
    w.burst(SPOT, 100)
    w.advance(NOW + 120 * SECOND_NS)
    rows = history(w, SPOT)
    assert (np.diff(rows["trade_id"]) == 1).all()
    assert (np.diff(rows["available_at"]) >= 0).all()
    assert rows["trade_id"][0] == 1_000


def test_any_page_of_history_is_part_of_the_whole():
    w = world()
    w.advance(NOW + 60 * SECOND_NS)
    ledger, whole = w.ledger(SPOT), history(w, SPOT)
    r = np.random.default_rng(3)
    for first in [0, 999, 1_000, ledger.first_live_id - 5, *r.integers(1_000, ledger.next_id, 20).tolist()]:
        page = ledger.rows(first, first + 1_000)
        inside = (whole["trade_id"] >= first) & (whole["trade_id"] < first + 1_000)
        assert page.tobytes() == whole[inside].tobytes()
    for time_ns in [NOW, NOW + 1, *r.integers(NOW - DAY_NS, NOW + 60 * SECOND_NS, 20).tolist()]:
        assert ledger.id_at(time_ns) == 1_000 + np.searchsorted(whole["available_at"], time_ns)


def test_it_looks_like_a_market():
    w = world(history_days=8)
    rows, quiet, other, kraken = (history(w, name) for name in (SPOT, QUIET, OTHER, KRAKEN))
    assert 0 < len(quiet) < len(rows) / 20
    same_time = np.diff(rows["available_at"]) == 0
    assert 0.1 < same_time.mean() < 0.6
    assert (np.diff(rows["side"]) == 0).mean() > 0.6  # takers come in runs
    assert (rows["available_at"] % 1_000_000 == 0).all()
    assert (kraken["available_at"] % 1_000_000 != 0).any()
    for column, text in (("price", "{:.2f}"), ("qty", "{:.5f}")):
        assert all(float(text.format(value)) == value for value in rows[column][:2_000].tolist())

    def returns(rows):
        minutes = (rows["available_at"] - (NOW - 8 * DAY_NS)) // (5 * MINUTE_NS)
        last = np.searchsorted(minutes, np.arange(1, 8 * 288))
        return np.diff(np.log(rows["price"][np.maximum(last - 1, 0)]))

    a, b, c = returns(rows), returns(other), returns(kraken)
    assert np.corrcoef(a, b)[0, 1] > 0.3
    assert np.corrcoef(a, c)[0, 1] > 0.9
    size = np.abs(a).reshape(-1)[: len(a) // 12 * 12].reshape(-1, 12).mean(axis=1)
    assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.3  # volatility comes in clusters


def folded_by_hand(rows, interval_ns, since, until):
    """Klines as a loop makes them."""
    made, price = {}, None
    for row in rows.tolist():
        at, price_now, qty, side = row[0], row[4], row[5], row[6]
        opened = at // interval_ns * interval_ns
        if opened not in made:
            made[opened] = [price_now, price_now, price_now, price_now, 0.0, 0.0, 0]
        bar = made[opened]
        bar[1], bar[2], bar[3] = max(bar[1], price_now), min(bar[2], price_now), price_now
        bar[4] += qty
        bar[5] += qty * (side > 0)
        bar[6] += 1
    out = []
    for opened in range(since, until, interval_ns):
        if opened in made:
            price = made[opened][3]
            out.append((opened, *made[opened]))
        elif price is not None:
            out.append((opened, price, price, price, price, 0.0, 0.0, 0))
    return out


@pytest.mark.parametrize("minutes", [1, 5, 30, 240])
@pytest.mark.parametrize("instrument", [SPOT, QUIET])
def test_klines_are_those_of_the_trades(instrument, minutes):
    w = world(history_days=1)
    ledger, interval = w.ledger(instrument), minutes * MINUTE_NS
    columns = ["ts_open", "open", "high", "low", "close", "volume", "buy_volume", "trades"]
    first = -(-ledger.origin_ns // interval) * interval
    for ahead in (0, 130, 600):
        w.advance(NOW + ahead * SECOND_NS)
        made = ledger.klines(interval, 0, w.now_ns + 1, ledger.next_id)
        expected = folded_by_hand(history(w, instrument), interval, first, w.now_ns + 1)
        assert len(made) == len(range(first, w.now_ns + 1, interval))
        np.testing.assert_allclose(
            np.array(made[columns].tolist())[-len(expected) :], np.array(expected), rtol=1e-12, atol=1e-12
        )


def test_klines_of_history_that_lags_end_where_it_ends():
    w = world()
    w.advance(NOW + 90 * SECOND_NS)
    ledger = w.ledger(SPOT)
    for end in range(ledger.first_live_id - 3, ledger.next_id, 3):
        made = ledger.klines(MINUTE_NS, NOW - 10 * MINUTE_NS, w.now_ns, end)
        assert made["last_id"].max() == end - 1
        assert made["trades"].sum() == (end - made["first_id"][made["first_id"] > 0][0])


def test_a_recording_is_served_with_its_first_half_as_history(tmp_path):
    path = tmp_path / "trades.parquet"
    n = write_trades(path, (Market(), Market("kraken:ETH/USD", 3_000.0, seed=2)), 19_000 * DAY_NS, 0.5)
    table = pq.read_table(path).to_pydict()
    w = World.of(read_recording(path, NOW), 1, NOW, DAY_NS, DAY_NS)
    assert set(w.ledgers) == {SPOT, "kraken:ETH/USD"}
    w.advance(NOW + DAY_NS)
    rows = {name: history(w, name) for name in w.ledgers}
    assert sum(map(len, rows.values())) == n
    for name, recorded in ((SPOT, "synthetic:BTC/USDT"), ("kraken:ETH/USD", "kraken:ETH/USD")):
        mine = [i for i, instrument in enumerate(table["instrument"]) if instrument == recorded]
        assert rows[name]["price"].tolist() == [table["price"][i] for i in mine]
        assert rows[name]["qty"].tolist() == [round(table["qty"][i], 8) for i in mine]
        assert rows[name]["side"].tolist() == [1 if table["side"][i] == "buy" else -1 for i in mine]
        shift = rows[name]["available_at"] - np.array([table["ts_event"][i] for i in mine])
        assert (shift == shift[0]).all()
        assert shift[0] % MINUTE_NS == 0
        assert 0.3 < len(w.ledger(name).traded()) / len(mine) < 0.7
        listing = w.ledger(name).listing
        assert [float(listing.qty_text(qty)) for qty in rows[name]["qty"].tolist()] == rows[name]["qty"].tolist()
        assert [float(listing.price_text(price)) for price in rows[name]["price"].tolist()] == rows[name][
            "price"
        ].tolist()
        assert w.ledger(name).listing.asset.price_decimals == 2


def test_what_cannot_be_served_is_a_sentence(tmp_path):
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(InputError, match=r"text.parquet cannot be served as a recording"):
        Exchange(recording=tmp_path / "text.parquet")
    for wrong, said in (
        ("okx:BTC/USDT", "exchange 'okx' is not simulated; there are binance, kraken"),
        ("binance:BTCUSDT", "not listed anywhere"),
        ("kraken:BTC/USD:USD", "not listed anywhere"),
    ):
        with pytest.raises(SettingsError, match=said):
            Exchange([wrong])
    with pytest.raises(SettingsError, match="speed is -1, it must be a number from 0 on"):
        Exchange(speed=-1)
    empty = World.of({Listing.of(SPOT): RecordedTape(np.zeros(0, TRADE))}, 1, NOW, 0, 1)
    with pytest.raises(SettingsError, match="is no trade"):
        empty.trade(SPOT, 1.0, 1e-9, 1)
    with pytest.raises(SettingsError, match="binance:ETH/USDT is not listed; listed are binance:BTC/USDT"):
        empty.trade(OTHER, 1.0, 1.0, 1)


def test_an_instrument_nobody_knows_trades_too():
    listing = Listing.of("binance:NEW/USDT", Asset(2.5, 3, 0, 0.05, 30.0))
    volatility = Volatility(1, 19_675)
    tape = ModelTape(listing, volatility, Path(volatility, "NEW", listing.asset))
    ledger = Ledger(listing, tape, 19_675 * DAY_NS, 19_676 * DAY_NS)
    rows = ledger.rows(0, ledger.next_id)
    assert len(rows) > 20_000
    assert 1 < rows["price"].mean() < 5
    assert (rows["qty"] >= 1).all()
