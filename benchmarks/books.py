"""Order books: updates through the graph from memory, beside books that are only kept; real ones where the market data is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from benchmarks import carrying
from benchmarks.agreement import Disagreement, same_rows
from benchmarks.material import KEY, START, Count, Memory, run, trades
from benchmarks.plain_books import Side, as_python, kernel_book, python_book
from benchmarks.tables import Budget, rounded, show_rows
from benchmarks.timing import Contender, by_processor, measure
from config import Settings
from connectors.files import read_streams
from events.feeds import BOOKS, FEEDS, TRADES
from events.frames import Array, Frame
from events.schema import BOOK_DELTA, BOOK_SNAPSHOT, NEVER
from events.times import DAY_NS, MINUTE_NS, SECOND_NS
from flows.graph import build, enter
from flows.plan import Plan
from operators.keyed import Frames
from operators.microstructure.book import BOOK_MINUTES
from operators.microstructure.columns import BOOK_COLUMNS

TOGETHER = (1_000, 10, 1)
SPACING_NS = SECOND_NS // 10
_TICK = 0.01
_LEVELS = 200
_COMPARED = 100
_CAPTURES = {"spot_btcusdt": "spot BTC", "hist_usdm_btcusdt": "USD-M BTC"}


class Market(NamedTuple):
    """What is timed.

    Attributes:
        what: in words.
        book, trades: rows, all before `end_ns`, the end of a minute.
    """

    what: str
    book: Array
    trades: Array
    end_ns: int

    @property
    def updates(self) -> int:
        """How many the rows of the book are of."""
        return int(np.count_nonzero(self.book["last"]))


def random_book(n: int, seed: int = 7) -> Array:
    """A snapshot of 200 levels a side and `n` updates, one each 100 ms: ten levels change, most near the best; when the middle
    moves, what it reaches is deleted. Ids have no holes.
    """
    r = np.random.default_rng(seed)
    steps = r.choice((-1, 0, 0, 1), n).tolist()
    far, sizes = (1 + r.exponential(15, (n, 10)).astype(int)).tolist(), r.exponential(5, (n, 10)).round(3).tolist()
    gone = (r.random((n, 10)) < 0.1).tolist()
    middle, rows, held = 1_000_000, list[tuple[object, ...]](), (set[int](), set[int]())

    def add(kind: int, k: int, changes: Sequence[tuple[int, int, float]]) -> None:
        at, first = START + k * SPACING_NS, k if kind == BOOK_DELTA else NEVER
        for i, (side, tick, size) in enumerate(changes):
            held[side < 0].add(tick) if size else held[side < 0].discard(tick)
            rows.append((at, at, 0, first, k, NEVER, tick * _TICK, size, side, kind, i == len(changes) - 1, 0))

    add(BOOK_SNAPSHOT, 0, [(side, middle - side * k, 1.0 + k) for side in (1, -1) for k in range(1, _LEVELS + 1)])
    for k in range(n):
        middle += steps[k]
        reached = {(side, tick): 0.0 for side in (1, -1) for tick in held[side < 0] if side * (middle - tick) <= 0}
        told = {(1, middle - 1): 1.0, (-1, middle + 1): 1.0} if steps[k] else {}
        for i, (distance, size, less) in enumerate(zip(far[k], sizes[k], gone[k])):
            side = 1 if i % 2 else -1
            told[side, middle - side * distance] = 0.0 if less and distance > 1 else size + 0.001
        add(BOOK_DELTA, k + 1, [(side, tick, size) for (side, tick), size in (reached | told).items()])
    out = np.array(rows, FEEDS[BOOKS].dtype)
    out["seq"] = np.arange(len(out))
    return out


def made(n: int) -> Market:
    """A random book, and the trades of a synthetic market, one a second, over the same time."""
    book = random_book(n)
    end_ns = int(book["available_at"][-1]) // MINUTE_NS * MINUTE_NS
    return _until(f"random book and 1 trade/s, {n:,} updates", book, trades(n * SPACING_NS / DAY_NS, 60.0), end_ns)


def captured(folder: Path, name: str, what: str) -> Market:
    """A recorded book from its snapshot on, with what was pushed before the snapshot and goes past it, and the trades beside it."""
    found = read_streams(sorted((folder / "hftbacktest").glob(f"{name}_*.gz")), feeds=(TRADES, BOOKS))
    book, traded = (next(rows for (_, stream), rows in found.items() if stream == name) for name in (BOOKS, TRADES))
    whole = book["kind"] == BOOK_SNAPSHOT
    rest = book[~whole & (book["u_last"] > book["u_last"][whole][0])]
    snapshot = book[whole].copy()
    snapshot["available_at"] = snapshot["ts_recv"] = rest["available_at"][0]
    book = np.concatenate((snapshot, rest))
    book["seq"] = np.arange(len(book))
    traded = traded[traded["available_at"] >= book["available_at"][0]]
    end_ns = int(min(rows["available_at"][-1] for rows in (book, traded))) // MINUTE_NS * MINUTE_NS
    return _until(f"recorded book and trades of {what}", book, traded, end_ns)


def _until(what: str, book: Array, traded: Array, end_ns: int) -> Market:
    book, traded = (rows[: int(rows["available_at"].searchsorted(end_ns))].copy() for rows in (book, traded))
    book.flags.writeable = traded.flags.writeable = False
    return Market(what, book, traded, end_ns)


def first(market: Market, updates: int) -> Market:
    """The whole minutes of about so many updates of a market."""
    ends = np.flatnonzero(market.book["last"])
    at = int(market.book["available_at"][ends[min(updates, len(ends)) - 1]])
    return _until(
        market.what,
        market.book,
        market.trades,
        max(at, market.book["available_at"][0] + MINUTE_NS) // MINUTE_NS * MINUTE_NS,
    )


def frames(market: Market, together: int, traded: bool = True) -> list[Frame]:
    """Frames of so many updates each, the trades of their time behind each, and heartbeats: nothing is left before the end."""
    book, rows = market.book, market.trades
    ends = np.flatnonzero(book["last"])[together - 1 :: together] + 1
    ends = np.unique(np.append(ends, len(book)))
    times = (
        rows["available_at"].searchsorted(book["available_at"][ends - 1], "right")
        if traded
        else np.zeros(len(ends), int)
    )
    out, start, begin = [], 0, 0
    for end, until in zip(ends.tolist(), times.tolist()):
        out.append(Frame(KEY, BOOKS, book[start:end], NEVER))
        if until > begin:
            out.append(Frame(KEY, TRADES, rows[begin:until], NEVER))
        start, begin = end, until
    if traded and begin < len(rows):
        out.append(Frame(KEY, TRADES, rows[begin:], NEVER))
    promised = market.end_ns + 1
    out += [Frame(KEY, name, FEEDS[name].empty, promised) for name in ((TRADES, BOOKS) if traded else (BOOKS,))]
    return out


def plan() -> Plan:
    """The plan of the default settings over trades and books."""
    return Plan(Settings(), feeds=frozenset({TRADES, BOOKS}), instruments=(KEY,))


def only_books(plan: Plan) -> Callable[[Frames], Frames]:
    """The graph from updates to a row a minute."""
    return lambda market: enter(market, plan)


def everything(plan: Plan) -> Callable[[Frames], Frames]:
    """The graph from trades and updates to signals."""
    return lambda market: build(market, plan)


def same_books(market: Market) -> None:
    """Check that all ways have the same book at the end, its best level at each minute, and the graph the same rows at any cut.

    Raises:
        Disagreement: they do not, or the graph refused an update.
    """
    (bids, asks), updates = kernel_book(market.book), as_python(market.book)
    for side, theirs in zip((bids, asks), python_book(updates)):
        if side[:_COMPARED] != theirs[:_COMPARED]:
            raise Disagreement(f"{market.what}: a plain book and that of the kernels differ within {_COMPARED} levels")
    _same_rows(market, TOGETHER[0], only_books, (bids, asks), traded=False)
    part = first(market, 3_000)
    best = kernel_book(part.book)
    for graph, traded in ((only_books, False), (everything, True)):
        found = [_same_rows(part, together, graph, best, traded) for together in TOGETHER]
        for other in found[1:]:
            same_rows(f"{market.what} in smaller frames", other, found[0])
            same_rows(f"{market.what} in larger frames", found[0], other)


def _same_rows(
    market: Market,
    together: int,
    graph: Callable[[Plan], Callable[[Frames], Frames]],
    best: tuple[Side, Side],
    traded: bool,
) -> dict[str, Array]:
    out = run(Memory(frames(market, together, traded)), graph(plan()), Count(keep=True)).together()
    if "dead_letters" in out:
        raise Disagreement(f"{market.what}: the graph refused {out['dead_letters'][0].detail}")
    if graph is only_books:
        last = dict(zip(BOOK_COLUMNS, out[BOOK_MINUTES]["values"][-1].tolist()))
        ours = [(last["bid"], last["bid_qty"]), (last["ask"], last["ask_qty"])]
        if out[BOOK_MINUTES]["available_at"][-1] != market.end_ns or ours != [side[0] for side in best]:
            raise Disagreement(
                f"{market.what}: the best levels of the graph are {ours}, not {[side[0] for side in best]}"
            )
    elif not len(out.get("micro.1m", ())):
        raise Disagreement(f"{market.what}: nothing is derived of the book")
    return out


def contenders(market: Market, few: int) -> list[Contender]:
    """All of them, checked against each other; those of one update a frame get `few` updates."""
    same_books(market)
    updates, some = as_python(market.book), first(market, few)
    out = [
        _timed("numba book alone, all updates in one call", market, lambda: kernel_book(market.book)),
        _timed("Python book, dict and sorted prices", market, lambda: python_book(updates)),
    ]
    for what, graph, traded in (("book alone", only_books, False), ("whole graph", everything, True)):
        for together in TOGETHER:
            part = some if together == 1 else market
            data = frames(part, together, traded)
            name = f"{what}, {together:,} update{'s' * (together > 1)} a frame"
            out.append(_timed(name, part, lambda data=data, graph=graph: run(Memory(data), graph(plan()))))
    return out


def _timed(what: str, market: Market, run: Callable[[], object]) -> Contender:
    return Contender(what, market.updates, by_processor(run))


def show_books(console: Console, market: Market, measured: Sequence[Contender]) -> None:
    """Print what was measured; the first is the reference of the ratios."""
    levels = len(market.book) / market.updates
    rows = [
        (
            c.what,
            f"{c.rows:,}",
            rounded(c.rate),
            f"{1e6 / c.rate:,.2f}",
            rounded(c.rate * levels),
            f"{c.rate / measured[0].rate:.4f}",
            f"{c.worst / c.best:.2f}",
        )
        for c in measured
    ]
    title = f"{market.what[0].upper()}{market.what[1:]}, {levels:.1f} level changes each, one core, processor time"
    header = ("what", "updates in", "updates/s", "us each", "level changes/s", "ratio", "worst/best")
    show_rows(console, title, header, rows)


def memory(console: Console, quick: bool) -> list[Budget]:
    """Books from memory."""
    found, folder = [made(6_000 if quick else 40_000)], os.environ.get("TIDEWAX_DATA")
    if folder:
        found += [captured(Path(folder), name, what) for name, what in _CAPTURES.items()]
    else:
        console.print("Recorded books are left out: TIDEWAX_DATA does not say where the market data is.")
    budgets = []
    for market in found:
        measured = measure(contenders(market, 4_000 if quick else 10_000), 2 if quick else 4)
        show_books(console, market, measured)
        rate = {c.what: c.rate for c in measured}
        numba, python = (c.rate for c in measured[:2])
        what = market.what.partition(" and")[0]
        alone = rate["book alone, 1,000 updates a frame"]
        budgets += [
            Budget(f"{what}: book alone, 1,000 a frame, against numba", alone / numba, 0.2, "x"),
            Budget(f"{what}: the same against Python", alone / python, 1, "x"),
            Budget(f"{what}: whole graph, 1 a frame", rate["whole graph, 1 update a frame"], 5_000, "updates/s"),
        ]
    return budgets


def bench(console: Console, quick: bool) -> list[Budget]:
    """Measure and print: from memory, then many of them live."""
    return memory(console, quick) + carrying.bench(console, quick)
