"""Laws of the core of microstructure beside those of every core: voids of each input, mirrors, what a key lacks, bounds."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from beside import samples
from lab import ALL, KEY, deliver, drive, together
from micro_cases import EVERYTHING, micro_cases
from test_time import interleavings

from events.feeds import BOOKS, CONTEXT, FEEDS, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, RATES, TICKERS, TOPS
from events.frames import NO_ROWS, Frame, control
from events.rows import BAR, BOOK_MINUTE, QUOTE_MINUTE
from events.schema import FOREVER, MISSING, NEVER, SETTLED, SILENT, SYNCED, VOID
from events.times import DAY_NS, MINUTE_NS, SECOND_NS
from operators.microstructure.book import BOOK_MINUTES
from operators.microstructure.columns import BOOK_COLUMNS
from operators.microstructure.micro import MICRO_COLUMNS, MICRO_INDEX, Micro
from operators.microstructure.part import INPUTS, MicroSettings
from operators.microstructure.quotes import QUOTE_MINUTES, QuoteMinutes
from operators.microstructure.scores import MICRO_SCORES
from operators.ordered import Ordered

T = 1_700_006_400 * SECOND_NS
CASES = micro_cases()
UNDIRECTED = {
    "spread_bps", "spread_pctl", "depth_pctl", "wmid", "book_synced", "book_age_s", "oi_base", "oi_change", "oi_change_z",
    "liq_intensity_z", "liq_complete", "liq_cascade", "long_frac", "fear_greed",
    *(score.freshness for score in MICRO_SCORES if score.freshness),
    *(name for name in MICRO_COLUMNS if name.startswith(("depth_", "ctt_", "book_slope_"))),
}  # fmt: skip
"""Columns that a mirrored market leaves as they are, or that have no mirror image of their own."""


def micro_of(*streams, **settings):
    return Micro("1m", MINUTE_NS, MicroSettings(streams, **settings))


def bars(n, first=T):
    out = np.zeros(n, BAR)
    out["ts_close"] = out["available_at"] = first + MINUTE_NS * np.arange(n)
    out["ts_open"], out["close"], out["high"], out["low"] = out["ts_close"] - MINUTE_NS, 100.0, 101.0, 99.0
    out["g"] = out["ts_open"] // MINUTE_NS
    return out


def row(name, at, seq, **fields):
    out = np.zeros(1, FEEDS[name].dtype)
    out["available_at"], out["seq"] = at, seq
    for field, value in fields.items():
        out[field] = value
    return Frame(KEY, name, out, at)


def void(name, since, until):
    return Frame(KEY, name, NO_ROWS, NEVER, control(VOID, since, since, until))


AS_OF = {
    (TICKERS, "basis"): lambda at, k, x: row(TICKERS, at, k, mark=100.0 * (1 + x), index=100.0),
    (RATES, "funding_rate"): lambda at, k, x: row(RATES, at, k, rate=x, interval_h=8.0, predicted=k),
    (OPEN_INTEREST, "oi_base"): lambda at, k, x: row(OPEN_INTEREST, at, k, oi_base=x),
    (LONG_SHORT, "long_frac"): lambda at, k, x: row(LONG_SHORT, at, k, long_frac=x),
    (CONTEXT, "fear_greed"): lambda at, k, x: row(CONTEXT, at, k, value=x),
}
"""Per input and a column that it makes: its row at a time with a figure."""


def rows_of(frames, streams, name):
    """(value or None, status) of a column at each bar."""
    stage, out = Ordered(micro_of(*streams), Micro("1m", MINUTE_NS, MicroSettings(streams)).streams), []
    for frame in frames:
        stage.push(frame)
        out += stage.advance()
    made, k = together(out)["micro.1m"], MICRO_INDEX[name]
    assert made["available_at"].tolist() == [T, T + MINUTE_NS, T + 2 * MINUTE_NS]
    return tuple(
        (None if np.isnan(x) else round(float(x), 9), int(s))
        for x, s in zip(made["values"][:, k], made["status"][:, k])
    )


CLOCK = [
    frame
    for bar in np.split(bars(3), 3)
    for frame in (Frame(KEY, "bars.1m", bar, int(bar["available_at"][0])),
                  Frame(KEY, "bars.1m", NO_ROWS, int(bar["available_at"][0]) + 1))
]  # fmt: skip


@pytest.mark.parametrize(("name", "column"), AS_OF, ids=lambda item: item)
def test_a_void_hides_its_stream_in_all_462_interleavings(name, column):
    make = AS_OF[name, column]
    k1, k2 = make(T - 100 * SECOND_NS, 0, 0.0004), make(T + 20 * SECOND_NS, 1, 0.0006)
    end = Frame(KEY, name, NO_ROWS, T + 121 * SECOND_NS)
    voids = [void(name, T - 100 * SECOND_NS, T), void(name, T + 1, T + MINUTE_NS)]
    hidden = {rows_of(frames, (name,), column) for frames in interleavings(CLOCK, [k1, *voids, k2, end])}
    assert hidden == {((None, MISSING), (None, MISSING), (0.0006, SETTLED))}
    told = {rows_of(frames, (name,), column) for frames in interleavings(CLOCK, [k1, k2, end])}
    assert told == {((0.0004, SETTLED), (0.0006, SETTLED), (0.0006, SETTLED))}


def minute(name, at):
    out = np.zeros(1, BOOK_MINUTE if name == BOOK_MINUTES else QUOTE_MINUTE)
    out["available_at"], out["age_ns"] = at, SECOND_NS
    if name == BOOK_MINUTES:
        out["synced_ns"], out["state"], out["values"] = MINUTE_NS, SYNCED, 0.5
    else:
        out["known_ns"], out["imb_1"] = MINUTE_NS, 0.5
    return Frame(KEY, name, out, at + 1)


@pytest.mark.parametrize(("name", "feed"), [(BOOK_MINUTES, BOOKS), (QUOTE_MINUTES, TOPS)])
def test_a_void_that_meets_a_minute_hides_it_in_all_interleavings(name, feed):
    """A void from within the first minute to within the second: the third is the first without it."""
    first, second, third = (minute(name, T + k * MINUTE_NS) for k in range(3))
    voids = [void(name, T - 10 * SECOND_NS, T), void(name, T + 1, T + 30 * SECOND_NS)]
    seen = {rows_of(frames, (feed,), "imb_1") for frames in interleavings(CLOCK, [*voids, first, second, third])}
    assert seen == {((None, MISSING), (None, MISSING), (0.5, SETTLED))}
    told = {rows_of(frames, (feed,), "imb_1") for frames in interleavings(CLOCK, [first, second, third])}
    assert told == {((0.5, SETTLED),) * 3}


def test_a_void_hides_liquidations_and_what_came_in_it_counts_later_in_all_462_interleavings():
    fields = {"price": 100.0, "pos": 1, "complete": 1}
    a = row(LIQUIDATIONS, T - 100 * SECOND_NS, 0, qty=100.0, **fields)
    b = row(LIQUIDATIONS, T + 20 * SECOND_NS, 1, qty=300.0, **fields | {"pos": -1})
    end = Frame(KEY, LIQUIDATIONS, NO_ROWS, T + 121 * SECOND_NS)
    voids = [void(LIQUIDATIONS, T - 100 * SECOND_NS, T), void(LIQUIDATIONS, T + 1, T + MINUTE_NS)]
    seen = [
        (
            rows_of(frames, (LIQUIDATIONS,), "liq_imb_30m"),
            rows_of(frames, (LIQUIDATIONS,), "liq_complete")[2],
        )
        for frames in interleavings(CLOCK, [a, *voids, b, end])
    ]
    assert len(seen) == 462
    assert set(seen) == {(((None, MISSING), (None, MISSING), (0.5, 2)), (0.0, 2))}  # warming, and not complete


def mirrored(name, rows):
    """What the same market is with buyers and sellers exchanged. Figures are on binary grids, so that it is exact."""
    out = rows.copy()
    if name.startswith("bars."):
        for field in ("open", "close"):
            out[field] = 2048.0 - rows[field]
        out["high"], out["low"] = 2048.0 - rows["low"], 2048.0 - rows["high"]
    elif name == BOOK_MINUTES:
        turned = [k for k, c in enumerate(BOOK_COLUMNS) if c.startswith(("ofi_", "imb_", "micro_dev"))]
        out["values"][:, turned] *= -1.0
    elif name == TOPS:
        out["bid_qty"], out["ask_qty"] = rows["ask_qty"], rows["bid_qty"]
    elif name in (TICKERS, RATES):
        out["mark"] = 2.0 * rows["index"] - rows["mark"]
        if name == RATES:
            out["rate"] = -rows["rate"]
    elif name == LONG_SHORT:
        out["long_frac"] = 1.0 - rows["long_frac"]
    elif name == LIQUIDATIONS:
        out["pos"] = -rows["pos"]
    elif name == CONTEXT:
        out["value"] = 100.0 - rows["value"]
    return out


def on_a_grid(name, rows):
    """Figures rounded so that mirroring them is exact."""
    out = rows.copy()
    if name.startswith("bars."):
        for field in ("open", "high", "low", "close"):
            out[field] = np.round((924.0 + rows[field]) * 64) / 64
    elif name in (TICKERS, RATES):
        out["mark"], out["index"] = 1024.0 + np.round((rows["mark"] - rows["index"]) * 4096) / 4096, 1024.0
    elif name == LONG_SHORT:
        out["long_frac"] = np.round(rows["long_frac"] * 4096) / 4096
    return out


@pytest.mark.parametrize("case", ["Micro", "Micro, with voids", "Micro, no book"])
def test_mirror(case):
    """Every directional column changes its sign exactly, every other one and all statuses stay."""
    core, streams, controls, (name,) = CASES[case]
    given = {stream: on_a_grid(stream, rows) for stream, rows in streams.items()}
    if QUOTE_MINUTES in given:
        top = {TOPS: CASES["QuoteMinutes"][1][TOPS]}
        turned = {TOPS: mirrored(TOPS, top[TOPS])}
        reduce = [drive(lambda: QuoteMinutes(MINUTE_NS), [TOPS], deliver(s, ALL))[QUOTE_MINUTES] for s in (top, turned)]
        given[QUOTE_MINUTES] = reduce[0]
    image = {stream: mirrored(stream, rows) for stream, rows in given.items()}
    if QUOTE_MINUTES in given:
        image[QUOTE_MINUTES] = reduce[1]
    out, other = (drive(core, s, deliver(s, ALL, control=controls))[name] for s in (given, image))
    assert out["status"].tobytes() == other["status"].tobytes()
    voted = set()
    for column, k in MICRO_INDEX.items():
        x, y = out["values"][:, k], other["values"][:, k]
        if column in UNDIRECTED:
            if column not in ("long_frac", "fear_greed", "wmid"):
                assert np.array_equal(x, y, equal_nan=True), column
        else:
            assert np.array_equal(x, -y, equal_nan=True), column
            if (np.abs(x[np.isfinite(x)]) > 0).sum() > 10:
                voted.add(column)
    hollow = {"sentiment.basis"} if case == "Micro, no book" else set()  # too few rates say both prices
    missing = {c for c, k in MICRO_INDEX.items() if "." in c and (out["status"][:, k] == SILENT).all()}
    assert {s.column for s in MICRO_SCORES} - missing - hollow <= voted, "the law would hold over nothing"


def test_mirror_of_the_quadrant():
    """A price that halves is the mirror image of one that doubles."""
    n, r = 300, np.random.default_rng(3)
    given = bars(n)
    given["ts_open"] = given["ts_close"] - 5 * MINUTE_NS
    given["available_at"] = given["ts_close"] = T + 5 * MINUTE_NS * np.arange(n)
    given["g"] = given["available_at"] // (5 * MINUTE_NS) - 1
    given["close"] = 2.0 ** np.cumsum(r.integers(-1, 2, n))
    held = np.concatenate([row(OPEN_INTEREST, at - 1, k, oi_base=x).rows for k, (at, x) in enumerate(
        zip(given["available_at"].tolist(), (1e4 + np.cumsum(r.normal(0, 10, n))).tolist()))])  # fmt: skip
    image = given.copy()
    image["close"] = 1.0 / given["close"]
    settings, k = MicroSettings((OPEN_INTEREST,), oi_unwind=0.5), MICRO_INDEX["order_flow.oi_quadrant"]
    x, y = (
        drive(lambda: Micro("5m", 5 * MINUTE_NS, settings), s, deliver(s, ALL))["micro.5m"]["values"][:, k]
        for s in ({"bars.5m": b, OPEN_INTEREST: held} for b in (given, image))
    )
    assert np.array_equal(x, -y, equal_nan=True)
    assert (x > 0.05).any()
    assert (x < -0.05).any()


@pytest.mark.parametrize(
    "lacks", [(BOOKS,), (BOOKS, TOPS), (RATES, TICKERS), (LIQUIDATIONS, CONTEXT, LONG_SHORT), (OPEN_INTEREST,), INPUTS]
)
def test_what_an_instrument_lacks_is_not_applicable_and_changes_nothing_else(lacks):
    """As if the run did not have those streams at all: the same bits, SILENT where they would be needed."""
    streams = {**CASES["Micro"][1], **{QUOTE_MINUTES: CASES["Micro, no book"][1][QUOTE_MINUTES]}}
    named = {BOOKS: BOOK_MINUTES, TOPS: QUOTE_MINUTES}
    settings = EVERYTHING._replace(lacking=((KEY, lacks), ("lab:OTHER/USDT", (BOOKS,))))
    taken = Micro("1m", MINUTE_NS, settings).streams
    assert QUOTE_MINUTES in taken
    given = {name: streams[name] for name in taken if name not in {named.get(s, s) for s in lacks}}
    frames = deliver(given, ALL)
    frames += [Frame(KEY, name, NO_ROWS, FOREVER) for name in taken if name not in given]
    got = drive(lambda: Micro("1m", MINUTE_NS, settings), taken, frames)["micro.1m"]
    fewer = MicroSettings(tuple(name for name in EVERYTHING.streams if name not in lacks), oi_unwind=0.25)
    used = {name: streams[name] for name in Micro("1m", MINUTE_NS, fewer).streams}
    expected = drive(lambda: Micro("1m", MINUTE_NS, fewer), used, deliver(used, ALL))["micro.1m"]
    assert got.tobytes() == expected.tobytes()
    for score in MICRO_SCORES:
        silent = (got["status"][:, MICRO_INDEX[score.column]] == SILENT).all()
        off = score.name == "oi_quadrant" or not set(score.streams) - set(lacks)
        assert silent == off, score.name


def spoiled(rows, where):
    """Rows with other figures in all rows of a mask."""
    out = rows.copy()
    for field in ("rate", "mark", "oi_base", "qty", "value", "close", "imb_1", "spread_bps"):
        if field in (out.dtype.names or ()):
            out[field][where] *= 1.25
    if "long_frac" in (out.dtype.names or ()):
        out["long_frac"][where] = 1.0 - out["long_frac"][where]
    if out.dtype == BOOK_MINUTE:
        out["values"][where] *= 1.25
        out["values"][where, 0] -= 3.0
    return out


@pytest.mark.parametrize("case", ["Micro", "Micro, 5m", "Micro, no book"])
@pytest.mark.parametrize("at", [400, 633])
def test_what_comes_after_t_changes_nothing_at_or_before_t(case, at):
    core, streams, controls, (name,) = CASES[case]
    whole = drive(core, streams, deliver(streams, ALL, control=controls))[name]
    t = int(streams[next(iter(streams))]["available_at"][0]) // MINUTE_NS * MINUTE_NS + at * MINUTE_NS
    early = whole[whole["available_at"] <= t]
    assert len(early) > 60
    for stream, rows in streams.items():
        later = {**streams, stream: spoiled(rows, rows["available_at"] > t)}
        got = drive(core, later, deliver(later, 501, 2 * SECOND_NS, control=controls))[name]
        assert got[: len(early)].tobytes() == early.tobytes(), stream
        before = {**streams, stream: spoiled(rows, rows["available_at"] <= t)}
        got = drive(core, before, deliver(before, ALL, control=controls))[name]
        assert got[: len(early)].tobytes() != early.tobytes(), f"{stream} decides nothing"


def sized(n):
    """Streams of `n` minutes, each with a row a minute or more."""
    at = T + MINUTE_NS * np.arange(n)
    given = {"bars.1m": bars(n)}
    book = np.zeros(n, BOOK_MINUTE)
    book["available_at"], book["synced_ns"], book["age_ns"], book["state"] = at, MINUTE_NS, SECOND_NS, SYNCED
    book["values"] = np.random.default_rng(1).uniform(1, 2, (n, len(BOOK_COLUMNS)))
    given[BOOK_MINUTES] = book
    for k, name in enumerate((LIQUIDATIONS, TICKERS, RATES, OPEN_INTEREST, LONG_SHORT, CONTEXT)):
        if name == RATES:
            rows = np.zeros(3 * n, FEEDS[RATES].dtype)
            rows["interval_h"], rows["rate"] = 8.0, np.random.default_rng(k).normal(0, 1e-4, 3 * n)
        else:
            rows = samples(name, 3 * n, k)
        rows["available_at"], rows["seq"] = np.repeat(at, 3) - 7, np.arange(3 * n)
        given[name] = rows
    return given


def test_state_is_bounded():
    """Three days of everything: from the second on, when all windows are full, the state grows no more."""
    streams, sizes = sized(3 * 1440), []
    stage = Ordered(Micro("1m", MINUTE_NS, EVERYTHING), tuple(streams))
    for frame in deliver(streams, 500, end=int(streams["bars.1m"]["available_at"][-1]) + 1):
        frame.rows.flags.writeable = False
        stage.push(frame)
        stage.advance()
        if frame.name == "bars.1m":
            sizes.append(len(pickle.dumps(stage.core.snapshot())))
    steady = sizes[len(sizes) // 2 :]
    assert max(steady) <= 1.01 * min(steady)
    assert max(sizes) < 80_000


def test_quotes_do_not_wait_for_trades():
    """Best quotes are taken in as they come, however long there is no trade: what is kept of a day of them is one minute."""
    top = samples(TOPS, 50_000, 5, 2 * SECOND_NS)
    assert top["available_at"][-1] - top["available_at"][0] > DAY_NS
    stage, made = Ordered(QuoteMinutes(MINUTE_NS), (TOPS,)), 0
    for frame in deliver({TOPS: top}, 500):
        stage.push(frame)
        made += sum(len(out.rows) for out in stage.advance())
        assert len(pickle.dumps(stage.snapshot())) < 3_000
    assert made > 1_000


def test_a_bar_that_is_not_whole_gets_no_row_and_its_samples_count_all_the_same():
    streams = CASES["Micro"][1]
    given = {**streams, "bars.1m": streams["bars.1m"].copy()}
    given["bars.1m"]["flags"][100:110] = 2  # PARTIAL
    out = drive(CASES["Micro"][0], given, deliver(given, ALL))["micro.1m"]
    whole = drive(CASES["Micro"][0], streams, deliver(streams, ALL))["micro.1m"]
    kept = np.isin(whole["available_at"], out["available_at"])
    assert (~kept).sum() == 10
    for column in ("funding_rate", "funding_z", "long_short_z", "fear_greed", "liq_imb_30m", "liq_decay_30m", "imb_1"):
        k = MICRO_INDEX[column]
        assert whole["values"][kept, k].tobytes() == out["values"][:, k].tobytes(), column
