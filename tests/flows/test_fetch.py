"""`tidewax fetch` from the local exchange: what comes is what its ledger holds, and a backtest reads it without an option."""

import io
import signal

import polars as pl
import pytest
from commands import called, command, start_killed
from history_stand_in import CoinbaseHistory
from rich.console import Console
from simulator_clients import KRAKEN, LINEAR, SPOT, START_NS, by_hand, loopback_only  # noqa: F401

from config import load
from connectors.files import read_streams
from connectors.files.writer import rows_file
from events.errors import InputError, RunError, SettingsError
from events.times import HOUR_NS, MINUTE_NS, SECOND_NS, iso
from flows.fetch import Fetch, status_line
from flows.verify import verify

pytestmark = pytest.mark.slow

WITHIN_S = 300.0
HALF_NS = HOUR_NS // 2
FIELDS = ["available_at", "trade_id", "price", "qty", "side"]
SINCE_NS, UNTIL_NS = START_NS - 5 * HOUR_NS, START_NS - HOUR_NS


@pytest.fixture(scope="module")
def market():
    with by_hand(activity=1, history_days=1, funding_minutes=30) as exchange:
        yield exchange


@pytest.fixture
def settings(market, tmp_path):
    path = tmp_path / "local.yaml"
    address = market.url.removeprefix("http://")
    path.write_text(f'exchange:\n  addresses: {{binance: "{address}", kraken: "{address}", okx: "127.0.0.1:9"}}\n')
    return path


@pytest.fixture
def fetch(settings, loopback_only):  # noqa: F811
    """Fetches, and gives what was said."""

    def run(
        instrument, out, what="trades", since=SINCE_NS, until=UNTIL_NS, timeframe="1m", again=False, config=settings
    ):
        exchange, _, symbol = instrument.partition(":")
        said = io.StringIO()
        wanted = Fetch(exchange, symbol, what, since, until, timeframe, out, load(str(config)), again)
        wanted.run(Console(file=said, width=400))
        return said.getvalue()

    return run


def ledger(market, instrument, since=SINCE_NS, until=UNTIL_NS):
    of = market._world.ledger(instrument)
    rows = of.rows(of.id_at(since), of.id_at(until))
    assert len(rows)
    return rows


@pytest.mark.parametrize("instrument", [SPOT, LINEAR, KRAKEN])
def test_trades_are_read_as_the_ledger_holds_them(market, fetch, tmp_path, instrument):
    said = fetch(instrument, tmp_path / "new" / "data")
    (path,) = (tmp_path / "new" / "data").iterdir()
    traded = ledger(market, instrument)
    assert said == (
        f"{path}: {len(traded):,} trades of {instrument}, from {iso(int(traded['available_at'][0]))}"
        f" to {iso(int(traded['available_at'][-1]))}\n"
    )
    (((name, feed), rows),) = read_streams([path]).items()
    assert (name, feed) == (instrument, "trades")
    assert rows[FIELDS].tolist() == traded[FIELDS].tolist()


def test_a_span_of_several_row_groups_is_whole(market, fetch, tmp_path, monkeypatch):
    monkeypatch.setattr("connectors.files.writer._GROUP_ROWS", 1_500)
    fetch(SPOT, tmp_path / "a.parquet")
    assert (
        read_streams([tmp_path / "a.parquet"])[SPOT, "trades"][FIELDS].tolist() == ledger(market, SPOT)[FIELDS].tolist()
    )


@pytest.mark.parametrize("instrument", [SPOT, LINEAR, KRAKEN])
def test_klines_are_the_bars_of_the_trades(fetch, tmp_path, instrument):
    since, until = (ns // MINUTE_NS * MINUTE_NS for ns in (SINCE_NS, UNTIL_NS))
    for what in ("trades", "klines"):
        fetch(instrument, tmp_path / f"{what}.parquet", what, since, until)
    trades = pl.read_parquet(tmp_path / "trades.parquet").with_columns(
        minute=pl.col("ts_event") // MINUTE_NS * MINUTE_NS
    )
    bars = trades.group_by("minute", maintain_order=True).agg(
        open=pl.first("price"), high=pl.max("price"), low=pl.min("price"), close=pl.last("price"), volume=pl.sum("qty")
    )
    klines = read_streams([tmp_path / "klines.parquet"])[instrument, "klines.1m"]
    assert klines["ts_open"].tolist() == list(range(since, until, MINUTE_NS))
    traded = klines[klines["volume"] > 0]
    assert len(traded) > 200
    assert traded["ts_open"].tolist() == bars["minute"].to_list()
    for name in ("open", "high", "low", "close"):
        assert traded[name].tolist() == bars[name].to_list()
    assert traded["volume"] == pytest.approx(bars["volume"].to_numpy(), abs=1e-8)


def test_all_that_a_market_has_lies_in_a_directory(market, fetch, tmp_path):
    said = fetch(LINEAR, tmp_path / "d", "all").splitlines()
    assert [line.split(": ")[1].split(" of ")[0].split(" ", 1)[1] for line in said] == [
        "trades",
        "klines",
        "funding rates",
    ]
    streams = {feed: rows for path in (tmp_path / "d").iterdir() for (_, feed), rows in read_streams([path]).items()}
    assert set(streams) == {"trades", "klines.1m", "funding"}
    rates = streams["funding"]
    assert rates["ts_event"].tolist() == list(range(-(-SINCE_NS // HALF_NS) * HALF_NS, UNTIL_NS, HALF_NS))
    assert set(rates["interval_h"].tolist()) == {0.5}
    assert len(fetch(SPOT, tmp_path / "e", "all").splitlines()) == 2  # spot has no funding


def test_a_finished_file_is_kept(market, fetch, tmp_path):
    fetch(SPOT, tmp_path / "d")
    (path,) = (tmp_path / "d").iterdir()
    whole = path.read_bytes()
    path.write_bytes(b"mine")
    assert fetch(SPOT, tmp_path / "d") == f"{path} is there already; --again fetches it anew\n"
    assert path.read_bytes() == b"mine"
    with pytest.raises(RunError, match="is there already: give --out another file, or fetch it anew with --again"):
        fetch(SPOT, path)
    fetch(SPOT, path, again=True)
    assert path.read_bytes() == whole


def test_the_end_is_the_last_full_minute_if_none_is_given(market, fetch, tmp_path):
    fetch(SPOT, tmp_path / "a.parquet", since=START_NS - HOUR_NS, until=None)
    until = (START_NS - 5 * SECOND_NS) // MINUTE_NS * MINUTE_NS
    rows = read_streams([tmp_path / "a.parquet"])[SPOT, "trades"]
    assert rows["trade_id"].tolist() == ledger(market, SPOT, START_NS - HOUR_NS, until)["trade_id"].tolist()


def test_klines_that_kraken_no_longer_serves_are_told(market, fetch, tmp_path):
    said = fetch(KRAKEN, tmp_path / "a.parquet", "klines", START_NS - 20 * HOUR_NS)
    served = len(read_streams([tmp_path / "a.parquet"])[KRAKEN, "klines.1m"])
    missing = UNTIL_NS // MINUTE_NS - -(-(START_NS - 20 * HOUR_NS) // MINUTE_NS) - served
    assert missing > 400
    assert f"{missing:,} klines of the span are missing: kraken does not serve them, only the newest 720" in said


def test_ids_that_are_missing_are_told(tmp_path, fetch):
    with CoinbaseHistory(seed=2) as server:
        server.make("BTC/USD", 100)
        server._now_ns -= HOUR_NS
        for n, trade in enumerate(server.traded["BTC/USD"]):
            trade["ns"] -= (200 - n) * SECOND_NS
            trade["id"] += 7 * (n >= 50)
        server.now_ns = server.traded["BTC/USD"][-1]["ns"] + HOUR_NS
        config = tmp_path / "coinbase.yaml"
        config.write_text(f'exchange:\n  addresses: {{coinbase: "{server.address}"}}\n')
        first, last = server.traded["BTC/USD"][3]["ns"], server.traded["BTC/USD"][-1]["ns"]
        said = fetch("coinbase:BTC/USD", tmp_path / "a.parquet", since=first, until=last, config=config)
    assert "96 trades of coinbase:BTC/USD" in said
    assert "ids 1050 to 1056 are missing, traded from " in said
    assert "coinbase does not serve 7 ids in 1 places: bars of those times lack them" in said


def test_nothing_is_written_of_a_span_without_trades(fetch, tmp_path):
    said = fetch(SPOT, tmp_path / "a.parquet", since=1, until=SECOND_NS)
    assert said == "binance has no trades of BTC/USDT in this span; nothing is written\n"
    assert not list(tmp_path.glob("*parquet*"))


@pytest.mark.parametrize(
    ("instrument", "given", "error", "said"),
    [
        ("bnance:BTC/USDT", {}, InputError, r"there is no exchange 'bnance', only .*; did you mean binance\?"),
        ("binance:BTC/USDX", {}, InputError, r"binance has no market BTC/USDX; did you mean BTC/USDT\?"),
        ("bybit:BTC/USDT", {}, InputError, "bybit serves the newest trades alone"),
        (SPOT, {"what": "funding"}, InputError, "binance:BTC/USDT has no funding rates: perpetual contracts have"),
        (SPOT, {"what": "books"}, SettingsError, "--what is 'books', it must be one of trades, klines, funding, all"),
        (SPOT, {"what": "klines", "timeframe": "7m"}, InputError, "binance has no klines of 7m, only of 1m, 3m"),
        (SPOT, {"since": UNTIL_NS}, SettingsError, "is not before --until .*: there is nothing between"),
        (
            SPOT,
            {"until": START_NS + HOUR_NS},
            SettingsError,
            "--until .* is too late: at binance it is 2025-06-15T15:07:20Z",
        ),
        (SPOT, {"since": START_NS, "until": None}, SettingsError, "--since .* is too late: at binance it is"),
    ],
)
def test_what_cannot_be_fetched_is_a_sentence(fetch, tmp_path, instrument, given, error, said):
    with pytest.raises(error, match=said):
        fetch(instrument, tmp_path / "a.parquet", **given)
    assert not list(tmp_path.glob("*parquet*"))


def test_without_an_answer_it_says_what_it_tried(fetch, tmp_path, monkeypatch):
    monkeypatch.setattr("connectors.exchange.history._CONTACT_S", 0.5)
    with pytest.raises(InputError, match=r"okx did not answer within 0\.5 s; tried 127\.0\.0\.1:9.*tidewax simulate"):
        fetch("okx:BTC/USDT", tmp_path / "a.parquet")


def test_the_status_line_says_how_far_it_has_come(market, tmp_path):
    address = market.url.removeprefix("http://")
    config = load(None, {"exchange": {"addresses": {"binance": address}}})
    wanted = Fetch("binance", "BTC/USDT", "trades", SINCE_NS, UNTIL_NS, "1m", tmp_path / "a.parquet", config)
    assert status_line(wanted) == "binance:BTC/USDT: asking binance"
    wanted.run(Console(file=io.StringIO()))
    traded = ledger(market, SPOT)
    at = iso(int(traded["available_at"][-1]) // SECOND_NS * SECOND_NS)
    assert status_line(wanted) == f"a.parquet: {len(traded):,} rows, at {at}"


def test_a_backtest_of_what_was_fetched_is_that_of_the_ledger(market, settings, tmp_path):
    span = ("--since", iso(SINCE_NS), "--until", str(UNTIL_NS), "--config", settings)
    done = command("fetch", "binance", "BTC/USDT:USDT", *span, "--out", tmp_path / "trades.parquet")
    assert (done.returncode, done.stderr) == (0, "")
    done = command("fetch", "binance", "BTC/USDT:USDT", *span, "--what", "funding", "--out", tmp_path / "rates.parquet")
    assert (done.returncode, done.stderr) == (0, "")
    with rows_file(tmp_path / "truth.parquet", "trades", LINEAR) as file:
        file.write(ledger(market, LINEAR))
    for name in ("trades", "truth"):
        files = tmp_path / f"{name}.parquet", tmp_path / "rates.parquet"
        done = called("backtest", *files, "--config", "short", "--out", tmp_path / name)
        assert (done.returncode, done.stderr) == (0, "")
    verdict = verify(tmp_path / "trades", tmp_path / "truth")
    assert verdict.differences == []
    assert verdict.rows > 500
    done = command("fetch", "binance", "BTC/USDT", "--since", "soon", "--out", tmp_path / "x.parquet")
    assert done.returncode == 1
    assert done.stderr.startswith("tidewax: --since: 'soon' is no time: write a date or a time such as 2024-01-31")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_it_leaves_no_file_and_begins_anew(market, settings, tmp_path, how):
    out = tmp_path / "d"
    line = ("fetch", "binance", "BTC/USDT", "--since", iso(START_NS - 20 * HOUR_NS), "--until", str(UNTIL_NS))
    line = (*line, "--config", settings, "--out", out)
    process = start_killed(how, 2_000, *line)
    _, said = process.communicate(timeout=WITHIN_S)
    assert process.returncode in (-how, 130), said
    assert not list(out.glob("*.parquet"))
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert said == "tidewax: stopped; the same command keeps the files that are whole, and begins the others anew\n"
        assert not list(out.iterdir())
    done = command(*line)
    assert (done.returncode, done.stderr) == (0, "")
    (path,) = out.iterdir()
    rows = read_streams([path])[SPOT, "trades"]
    assert rows[FIELDS].tolist() == ledger(market, SPOT, START_NS - 20 * HOUR_NS)[FIELDS].tolist()
