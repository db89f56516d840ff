"""Cases of the cores of microstructure: every stream beside trades at random, and voids of each."""

from __future__ import annotations

from typing import Any

import numpy as np
from beside import book, samples
from lab import ALL, START, deliver, drive, funding, trades

from events.feeds import BOOKS, CONTEXT, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, RATES, TICKERS, TOPS, TRADES
from events.frames import Array, control
from events.schema import HOLE, RECONNECT, VOID
from events.times import DAY_NS, MINUTE_NS, SECOND_NS
from operators.bars import Bars
from operators.microstructure.book import BOOK_MINUTES, BookMinutes, BookSettings
from operators.microstructure.micro import Micro
from operators.microstructure.part import MicroSettings
from operators.microstructure.quotes import QUOTE_MINUTES, QuoteMinutes

EVERYTHING = MicroSettings(
    (BOOKS, TOPS, TICKERS, RATES, OPEN_INTEREST, LONG_SHORT, LIQUIDATIONS, CONTEXT), oi_unwind=0.25
)
WITHOUT_BOOK = EVERYTHING._replace(
    streams=tuple(name for name in EVERYTHING.streams if name != BOOKS), liq_mode="momentum", invert=("funding",)
)


def spans(seed: int, n: int = 6) -> Array:
    """Voids here and there, one a boundary, as a source states them."""
    r, out = np.random.default_rng(seed), []
    for minute in np.sort(r.choice(np.arange(20, 900, 8), n, replace=False)).tolist():
        since = START // MINUTE_NS * MINUTE_NS + minute * MINUTE_NS + int(r.integers(0, 60)) * SECOND_NS
        for _ in range(int(r.integers(1, 4))):
            until = since // MINUTE_NS * MINUTE_NS + MINUTE_NS
            out.append(control(VOID, since, since, until))
            since = until + 1
    return np.concatenate(out)


def settlements(seed: int) -> Array:
    """Funding rates, most of them predicted, some with both prices."""
    out = funding(300, seed)
    r = np.random.default_rng(seed)
    out["predicted"] = r.random(len(out)) < 0.3
    out["index"] = 100.0
    out["mark"] = np.where(r.random(len(out)) < 0.5, 100.0 + r.normal(0, 0.1, len(out)), np.nan)
    return out


def beside() -> dict[str, Array]:
    """Rows of every stream that Micro takes as it is, dense enough for the longest window to fill."""
    context = samples(CONTEXT, 60, 15, 10 * MINUTE_NS)
    context["name"] = np.random.default_rng(16).random(len(context)) < 0.2
    return {
        LIQUIDATIONS: samples(LIQUIDATIONS, 3_000, 11),
        TICKERS: samples(TICKERS, 2_500, 12),
        RATES: settlements(13),
        OPEN_INTEREST: samples(OPEN_INTEREST, 1_200, 14, MINUTE_NS),
        LONG_SHORT: samples(LONG_SHORT, 6_000, 17, 9 * SECOND_NS),
        CONTEXT: context,
    }


def minutes() -> dict[str, Array]:
    """What the minutes of a book with skips, and of best quotes, are."""
    quotes, levels = samples(TOPS, 6_000, 18, 10 * SECOND_NS), book(9_000, 19, 8 * SECOND_NS, skips=0.003, depth=8)
    levels["price"] += 900.0  # so that some levels lie within the bands
    out = drive(lambda: BookMinutes(BookSettings()), [BOOKS], deliver({BOOKS: levels}, ALL))
    return {TOPS: quotes, **out, **drive(lambda: QuoteMinutes(MINUTE_NS), [TOPS], deliver({TOPS: quotes}, ALL))}


def micro_cases() -> dict[str, tuple[Any, ...]]:
    """By name what a `Case` is made of."""
    ticks = {TRADES: trades(6_000, 10, 14 * SECOND_NS, gap_ns=3 * DAY_NS)}
    bars = drive(lambda: Bars((("1m", MINUTE_NS), ("5m", 5 * MINUTE_NS)), 60), ticks, deliver(ticks, ALL))
    rows, given = minutes(), beside()
    voids = {name: spans(20 + k) for k, name in enumerate((*given, BOOK_MINUTES, QUOTE_MINUTES))}
    lost = START // MINUTE_NS * MINUTE_NS + 333 * MINUTE_NS
    voids[LIQUIDATIONS] = np.concatenate([voids[LIQUIDATIONS], control(HOLE, lost, lost, lost + SECOND_NS, RECONNECT)])
    without = [name for name in given if name != TICKERS]
    settings = WITHOUT_BOOK._replace(streams=tuple(name for name in WITHOUT_BOOK.streams if name != TICKERS))
    return {
        "QuoteMinutes": (lambda: QuoteMinutes(MINUTE_NS), {TOPS: rows[TOPS]}, {}, (QUOTE_MINUTES,)),
        "Micro": (
            lambda: Micro("1m", MINUTE_NS, EVERYTHING),
            {"bars.1m": bars["bars.1m"], BOOK_MINUTES: rows[BOOK_MINUTES], **given},
            {},
            ("micro.1m",),
        ),
        "Micro, with voids": (
            lambda: Micro("1m", MINUTE_NS, EVERYTHING),
            {"bars.1m": bars["bars.1m"], BOOK_MINUTES: rows[BOOK_MINUTES], **given},
            voids,
            ("micro.1m",),
        ),
        "Micro, 5m": (
            lambda: Micro("5m", 5 * MINUTE_NS, EVERYTHING),
            {"bars.5m": bars["bars.5m"], BOOK_MINUTES: rows[BOOK_MINUTES], OPEN_INTEREST: given[OPEN_INTEREST]},
            {name: voids[name] for name in (BOOK_MINUTES, OPEN_INTEREST)},
            ("micro.5m",),
        ),
        "Micro, no book": (
            lambda: Micro("1m", MINUTE_NS, settings),
            {"bars.1m": bars["bars.1m"], QUOTE_MINUTES: rows[QUOTE_MINUTES], **{name: given[name] for name in without}},
            {name: voids[name] for name in (QUOTE_MINUTES, *without)},
            ("micro.1m",),
        ),
    }
