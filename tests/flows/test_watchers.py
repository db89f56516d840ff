"""What watches a live run: counts, the status line, metrics, signals as they come."""

from __future__ import annotations

import io
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from rich.console import Console
from sink_samples import dead_letter, outcome, signal

from config.live_sections import Metrics
from connectors.exchange import ExchangeSource, Health, StreamHealth, voids_beside
from connectors.exchange.feed import Feed
from connectors.exchange.options import Options
from connectors.live import LiveSource, universe_of
from connectors.tape import Tape
from connectors.watch import WatchSink
from events.errors import RunError
from events.frames import NO_ROWS, Frame
from events.records import DimensionShare, Reconcile
from events.rows import BAR, FUNDING, GAP_ROW, TRADE
from events.schema import BOOK_SEQUENCE, GAP, NEVER, NO_TRADES, PARTIAL, RECONNECT, SYNTHETIC, UNVERIFIED
from events.times import MINUTE_NS, SECOND_NS
from flows.announce import Announcer, announcement
from flows.metrics import RunMetrics, serving
from flows.status import Status, showing
from flows.tally import Tally

BTC, ETH = "binance:BTC/USDT", "binance:ETH/USDT"
T = 1_750_000_080 * SECOND_NS


@pytest.fixture
def source(tmp_path):
    """Of exchanges that nobody connects to."""
    exchanges = ExchangeSource({"binance": ["BTC/USDT", "ETH/USDT"]})
    with Tape(tmp_path / "tape", universe_of(exchanges.exchanges)) as tape:
        yield LiveSource(exchanges, tape)


def bars(*flags, name="bars.1m", key=BTC):
    rows = np.zeros(len(flags), BAR)
    rows["flags"], rows["ts_close"] = flags, T
    return Frame(key, name, rows, NEVER)


def trades(n, at=T, key=BTC):
    rows = np.zeros(n, TRADE)
    rows["available_at"] = rows["ts_recv"] = at
    return Frame(key, "trades", rows, NEVER)


def gaps(*rows):
    return Frame(BTC, "gaps", np.array(list(rows), GAP_ROW), NEVER)


def difference(field):
    return Reconcile(key=BTC, ts=T, tf="1m", ts_open=T - MINUTE_NS, field=field, ours=2.0, venue=1.0, difference=1.0)


def counted():
    tally = Tally()
    frames = (
        bars(0, SYNTHETIC, SYNTHETIC | UNVERIFIED, PARTIAL | GAP),
        bars(0, name="bars.5m"),
        bars(0, name="bars.open.1m"),
        gaps((T, T, T + 3 * SECOND_NS, RECONNECT, NEVER, NEVER), (T, T, NEVER, NO_TRADES, NEVER, NEVER)),
        Frame(BTC, "signals", (signal(BTC, T), signal(BTC, T + 1)), NEVER),
        Frame(BTC, "outcomes", (outcome(BTC, T),), NEVER),
        Frame(BTC, "dead_letters", (dead_letter(BTC, T, 0),), NEVER),
        Frame(BTC, "reconcile", (difference("high"), difference("high"), difference("volume")), NEVER),
    )
    part = WatchSink(tally).build_part("watch", "watch", None)
    part.write_batch([*frames, Frame(BTC, "bars.1m", NO_ROWS, T)])
    return tally


def test_a_tally_counts_what_leaves_the_graph():
    tally = counted()
    kinds = {("1m", "real"): 1, ("1m", "synthetic"): 1, ("1m", "unverified"): 1, ("1m", "gap"): 1, ("5m", "real"): 1}
    assert tally.bars == kinds
    assert tally.gaps == {("binance", "reconnect"): 1, ("binance", "no_trades"): 1}
    assert tally.gap_seconds == {("binance", "reconnect"): 3.0, ("binance", "no_trades"): 0.0}
    assert (tally.signals, tally.closed) == ({("LONG", ""): 2}, {"stop": 1})
    assert tally.dead_letters == {("bars", "LATE"): 1}
    assert tally.differences == {("binance", "high"): 2, ("binance", "volume"): 1}


def test_gaps_of_a_book_are_told_as_such():
    tally = Tally()
    tally(gaps((T, T, T + 3 * SECOND_NS, BOOK_SEQUENCE, NEVER, NEVER))._replace(name="gaps.book"))
    assert tally.gaps == {("binance", "book_seq"): 1}
    assert tally.gap_seconds == {("binance", "book_seq"): 3.0}


def test_the_status_line_says_how_much_how_fast_how_late_and_how_each_exchange_is(source):
    seconds = [0.0]
    status = Status(source, counted(), lambda: seconds[0])
    source.standings[BTC].passed(trades(1_200))
    assert status.line() == "reading the tape: 1,200 trades"
    source.live.set()
    feed = Feed("binance", ["BTC/USDT"], {}, Options())
    source.exchange.feeds["binance"] = feed
    health = source.health["binance"] = Health(feed)
    source.standings[BTC].newest_ns = source.now_ns("binance") + 3_600 * SECOND_NS
    source.standings[BTC].rows += 400
    seconds[0] = 4.0
    assert status.line() == "1,600 trades, 100/s, lag 0.0 s, 5 bars, 2 signals, 2 gaps; binance stopped"
    seconds[0] = 5.0  # too early to measure again
    assert ", 100/s, " in status.line()
    health.state, health.reason = "degraded", "connection lost: 503"
    assert status.line().endswith("binance degraded (connection lost: 503)")
    health.state, health.reason, health.degraded = "up", None, {ETH}
    assert status.line().endswith(f"binance up, {ETH} degraded")


def test_where_there_is_no_terminal_lines_come_at_intervals_and_none_after_the_end(source):
    text = io.StringIO()
    console = Console(file=text, highlight=False, width=200)
    with showing(Status(source, Tally()), console, 0.001):
        ends = time.monotonic() + 120
        while text.getvalue().count("\n") < 3:
            assert time.monotonic() < ends
            time.sleep(0.001)
    said = text.getvalue()
    assert set(said.splitlines()) == {"reading the tape: 0 trades"}
    with showing(Status(source, Tally()), console, 0):
        pass
    assert text.getvalue() == said


def test_only_signals_that_were_not_on_the_tape_are_announced(source):
    text = io.StringIO()
    watcher = Announcer(source, Console(file=text, width=80))
    frame = Frame(BTC, "signals", (signal(BTC, T), signal(BTC, T + 60 * SECOND_NS)), NEVER)
    watcher(frame)  # while the tape is read
    assert text.getvalue() == ""
    source.recorded_ns[BTC] = T
    source.live.set()
    watcher(frame)
    watcher(bars(0))
    assert text.getvalue().count("LONG") == 1
    assert "2025-06-15T15:09:00Z  LONG binance:BTC/USDT at 100.1, score 62.5 >= 70.0" in text.getvalue()


def test_a_fallback_is_announced_only_while_the_first_one_is_down(source):
    text = io.StringIO()
    watcher = Announcer(source, Console(file=text, width=80), {"binance:BTC/USDT": "kraken:BTC/USD"})
    source.live.set()
    health = source.health["binance"] = Health(Feed("binance", ["BTC/USDT"], {}, Options()))
    frame = Frame("kraken:BTC/USD", "signals", (signal("kraken:BTC/USD", T),), NEVER)
    for state, told in (("up", 0), ("degraded", 0), ("down", 1), ("up", 1)):
        health.state = state
        watcher(frame)
        assert text.getvalue().count("LONG kraken:BTC/USD") == told
    watcher(Frame(BTC, "signals", (signal(BTC, T),), NEVER))
    assert text.getvalue().count(f"LONG {BTC}") == 1


def test_an_announcement_gives_reasons_stop_and_targets():
    shares = {
        "trend": DimensionShare(u=0.5, weight=1.0, q=1.0, contribution=4.0, top={"ema@5m": 1.0, "adx@5m": 3.0}),
        "volume": DimensionShare(u=-0.1, weight=1.0, q=1.0, contribution=-6.0, top={"obv@1m": -6.0}),
    }
    said = announcement(signal(BTC, T).model_copy(update={"components": shares})).splitlines()
    assert said[1:] == [
        "  because volume -6.0 (obv@1m -6.0); trend +4.0 (adx@5m +3.0, ema@5m +1.0)",
        "  stop 99, targets 101, 103: 2.00 R if all are reached; paper, no order is placed",
    ]


def values(metrics):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }


def test_metrics_tell_what_was_counted_and_latencies_of_what_is_new_alone(source):
    metrics = RunMetrics(source, counted(), "0123456789abcdef")
    for frame in (trades(5, T), trades(2, T + SECOND_NS, ETH)):
        source.standings[frame.instrument].passed(frame)
    source.lags("binance", 0.02)
    metrics(bars(0))
    source.recorded_ns[BTC] = T - 1
    source.live.set()
    metrics(bars(0, 0))
    metrics(Frame(BTC, "signals", (signal(BTC, T - 1),), NEVER))
    found = values(metrics)
    feed = (("feed", "trades"), ("key", BTC), ("venue", "binance"))
    assert found["tidewax_ingest_records_total", ("kind", "trades"), ("venue", "binance")] == 7
    assert found["tidewax_last_event_timestamp_seconds", *feed] == T / SECOND_NS
    assert found["tidewax_watermark_lag_seconds", *feed] > 0
    assert found["tidewax_ingest_lag_seconds_bucket", ("kind", "trades"), ("le", "0.025"), ("venue", "binance")] == 1
    assert found["tidewax_ingest_lag_seconds_bucket", ("kind", "trades"), ("le", "0.01"), ("venue", "binance")] == 0
    assert found["tidewax_bar_close_latency_seconds_count", ("spec", "1m")] == 2
    assert found["tidewax_signal_latency_seconds_count",] == 0
    assert found["tidewax_bars_total", ("flags", "unverified"), ("kind", "time"), ("spec", "1m")] == 1
    assert found["tidewax_signals_total", ("regime", ""), ("side", "LONG")] == 2
    assert found["tidewax_gap_seconds_total", ("feed", "trades"), ("reason", "reconnect"), ("venue", "binance")] == 3
    assert found["tidewax_bar_reconcile_diff_total", ("field", "high"), ("venue", "binance")] == 2
    assert found["tidewax_dead_letters_total", ("reason", "LATE"), ("step", "bars")] == 1


@pytest.fixture
def beside(tmp_path):
    """Of exchanges that nobody connects to, with streams beside trades."""
    streams = ("top", "funding")
    exchanges = ExchangeSource({"binance": ["BTC/USDT", "BTC/USDT:USDT"]}, Options(beside=streams))
    with Tape(tmp_path / "tape", universe_of(exchanges.exchanges, beside=streams)) as tape:
        yield LiveSource(exchanges, tape)


def test_streams_beside_trades_have_metrics_of_their_own_where_an_instrument_has_them(beside):
    perpetual = "binance:BTC/USDT:USDT"
    assert set(beside.beside) == {(BTC, "top"), (perpetual, "top"), (perpetual, "funding")}
    assert beside.lacking == {BTC: frozenset({"funding"})}
    feed = Feed("binance", ["BTC/USDT"], {}, beside.exchange.options)
    beside.streams = [StreamHealth(feed, "top"), StreamHealth(feed, "funding")]
    beside.streams[0].state = "up"
    rates = np.zeros(3, FUNDING)
    rates["ts_event"], rates["available_at"], rates["predicted"] = (T, T + 1, T + 2), T + 5, (0, 0, 1)
    standing = beside.beside[perpetual, "funding"]
    standing.passed(Frame(perpetual, "funding", rates, NEVER))
    standing.passed(Frame(perpetual, "funding", rates[:0], T + 60 * SECOND_NS))
    ((key, void),) = voids_beside({(perpetual, "funding"): standing}, [perpetual], T + 60 * SECOND_NS)
    standing.passed(void)
    assert (key, standing.newest_ns, standing.watermark_ns) == (perpetual, T + 1, T + 60 * SECOND_NS)
    assert voids_beside({(perpetual, "funding"): standing}, [perpetual], T + 60 * SECOND_NS) == []  # said once
    found = values(RunMetrics(beside, Tally(), ""))
    labels = (("feed", "funding"), ("key", perpetual), ("venue", "binance"))
    assert found["tidewax_ingest_records_total", ("kind", "funding"), ("venue", "binance")] == 3
    assert found["tidewax_last_event_timestamp_seconds", *labels] == (T + 1) / SECOND_NS
    assert found["tidewax_watermark_lag_seconds", *labels] > 0
    assert found["tidewax_void_total", ("key", perpetual), ("stream", "funding"), ("venue", "binance")] == 1
    ups = {
        stream: found["tidewax_connection_up", ("feed", stream), ("venue", "binance")] for stream in ("top", "funding")
    }
    assert ups == {"top": 1, "funding": 0}


def test_the_status_line_tells_of_streams_beside_trades(beside):
    status = Status(beside, Tally(), lambda: 0.0)
    beside.live.set()
    beside.beside[BTC, "top"].rows = 1_200
    feed = Feed("binance", ["BTC/USDT"], {}, beside.exchange.options)
    health = beside.health["binance"] = Health(feed)
    health.state = "up"
    beside.streams = [StreamHealth(feed, "top"), StreamHealth(feed, "funding")]
    beside.streams[1].state = "degraded"
    assert ", 1,200 rows beside, 0 bars, " in status.line()
    assert status.line().endswith("; binance up, funding degraded")


def test_of_too_many_instruments_the_one_farthest_behind_is_told(source):
    metrics = RunMetrics(source, Tally(), "", per_key=1)
    for frame in (trades(5, T), trades(2, T + SECOND_NS, ETH)):
        source.standings[frame.instrument].passed(frame)
    found = values(metrics)
    newest = [(name, value) for name, value in found.items() if name[0] == "tidewax_last_event_timestamp_seconds"]
    labels = (("feed", "trades"), ("key", "other"), ("venue", "binance"))
    assert newest == [(("tidewax_last_event_timestamp_seconds", *labels), T / SECOND_NS)]


def test_metrics_are_served_on_loopback_and_a_port_that_is_taken_is_a_sentence(source):
    metrics = RunMetrics(source, Tally(), "0123456789abcdef")
    with serving(metrics, Metrics()) as port:
        assert port is None
    with serving(metrics, Metrics(port=0)) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert 'analysis_hash="0123456789abcdef"' in answer.read().decode()
        with (
            pytest.raises(RunError, match=f"metrics cannot be served on 127.0.0.1:{port}"),
            serving(metrics, Metrics(port=port)),
        ):
            pass
    with serving(metrics, Metrics(port=port)) as reused:  # it was closed
        assert reused == port


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has more than one address of the machine itself")
def test_metrics_are_served_on_another_address_if_told_so(source):
    metrics = RunMetrics(source, Tally(), "0123456789abcdef")
    with serving(metrics, Metrics(port=0, host="127.0.0.2")) as port:
        with urllib.request.urlopen(f"http://127.0.0.2:{port}/metrics") as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics")
