"""`tidewax fetch`: the past of a market from its exchange into Parquet files, which `tidewax backtest` reads as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from config import Settings
from connectors.exchange.history import History
from connectors.exchange.sequencer import Hole
from connectors.files.writer import RowsFile, rows_file
from connectors.storage import storage_errors
from events.errors import RunError, SettingsError
from events.feeds import FEEDS, KLINES, RATES, TRADES
from events.frames import Array
from events.schema import NEVER
from events.times import MINUTE_NS, SECOND_NS, iso, timeframe_ns

WHAT: Final = {"trades": TRADES, "klines": KLINES, "funding": RATES}
_SETTLES_NS: Final = 5 * SECOND_NS
"""What was traded so shortly ago may not be served yet."""
_HOLES: Final = 10
"""So many are told one by one."""


@dataclass
class Fetched:
    """How far a file has come.

    Attributes:
        path: the file.
        rows: of it so far.
        first_ns, last_ns: when its first and its last row is available.
        kept: whether it was there already.
    """

    path: Path
    rows: int = 0
    first_ns: int = NEVER
    last_ns: int = NEVER
    kept: bool = False


class Fetch:
    """What is to be fetched, and where to.

    Args:
        exchange: the venue's name.
        symbol: the market, in ccxt's spelling.
        what: trades, klines, funding, or all: klines, and of the others those that the market has.
        since_ns: begin of the span.
        until_ns: its end (exclusive); None: the last full minute.
        timeframe: of klines.
        out: a directory, or a file that ends in .parquet.
        settings: for `exchange.addresses` and `exchange.cache`.
        again: whether files that are there are fetched anew.

    Raises:
        SettingsError: `what` is none of these, or `since_ns` is not before `until_ns`.
        InputError: the exchange is not known.
    """

    def __init__(
        self,
        exchange: str,
        symbol: str,
        what: str,
        since_ns: int,
        until_ns: int | None,
        timeframe: str,
        out: Path,
        settings: Settings,
        again: bool = False,
    ) -> None:
        if what not in (*WHAT, "all"):
            raise SettingsError(f"--what is {what!r}, it must be one of {', '.join(WHAT)}, all")
        if until_ns is not None and since_ns >= until_ns:
            raise SettingsError(
                f"--since {iso(since_ns)} is not before --until {iso(until_ns)}: there is nothing between"
            )
        if what == "all" and out.suffix == ".parquet":
            raise SettingsError("--what all makes a file of each: give --out a directory")
        self.exchange, self.symbol, self.what, self.timeframe = exchange, symbol, what, timeframe
        self.since_ns, self.until_ns, self.out, self.settings, self.again = since_ns, until_ns, out, settings, again
        self.history: History | None = None
        self.files: list[Fetched] = []

    @property
    def instrument(self) -> str:
        """What is fetched."""
        return f"{self.exchange}:{self.symbol}"

    def run(self, console: Console) -> None:
        """Fetch it, and say what came.

        Raises:
            InputError: the exchange does not answer or has no such market, trades or timeframe, or the span is not over yet.
            RunError: a file cannot be written, or is there already.
        """
        asyncio.run(self._run(console))

    async def _run(self, console: Console) -> None:
        given = self.settings.exchange
        cache = None if given.cache is None else Path(given.cache)
        history = History(self.exchange, self.symbol, given.addresses.get(self.exchange), cache)
        if self.what == "trades":
            history.check_serves_trades()
        with _showing(self, console):
            async with history as self.history:
                until_ns = await self._until(history)
                for what in self._wanted(history):
                    fetched = await self._fetch(history, what, until_ns)
                    for line in self._told(history, fetched, what, until_ns):
                        console.print(line, soft_wrap=True)

    async def _until(self, history: History) -> int:
        now_ns = await history.now_ns()
        until_ns = now_ns - _SETTLES_NS
        if self.until_ns is None:
            until_ns = until_ns // MINUTE_NS * MINUTE_NS
            if self.since_ns < until_ns:
                return until_ns
        elif self.until_ns <= until_ns:
            return self.until_ns
        given = f"--until {iso(self.until_ns)}" if self.until_ns is not None else f"--since {iso(self.since_ns)}"
        raise SettingsError(
            f"{given} is too late: at {self.exchange} it is {iso(now_ns)}, and what is younger than"
            f" {_SETTLES_NS // SECOND_NS} s may not be served yet"
        )

    def _wanted(self, history: History) -> Sequence[str]:
        if self.what != "all":
            return (self.what,)
        return [
            what
            for what in WHAT
            if (what != "trades" or history.serves_trades) and (what != "funding" or history.perpetual)
        ]

    async def _fetch(self, history: History, what: str, until_ns: int) -> Fetched:
        fetched = Fetched(self._path(what, until_ns))
        self.files.append(fetched)
        if fetched.path.exists() and not self.again:
            if fetched.path == self.out:
                raise RunError(f"{self.out} is there already: give --out another file, or fetch it anew with --again")
            fetched.kept = True
            return fetched
        with storage_errors(fetched.path.parent):
            fetched.path.parent.mkdir(parents=True, exist_ok=True)
        file: RowsFile | None = None
        with ExitStack() as stack:
            async for rows in self._rows(history, what, until_ns):
                if not len(rows):
                    continue
                if file is None:
                    file = stack.enter_context(rows_file(fetched.path, WHAT[what], self.instrument))
                    fetched.first_ns = int(rows["available_at"][0])
                file.write(rows)
                fetched.rows, fetched.last_ns = fetched.rows + len(rows), int(rows["available_at"][-1])
        return fetched

    def _rows(self, history: History, what: str, until_ns: int) -> AsyncIterator[Array]:
        if what == "klines":
            return history.klines(self.timeframe, self.since_ns, until_ns)
        return (history.trades if what == "trades" else history.funding)(self.since_ns, until_ns)

    def _path(self, what: str, until_ns: int) -> Path:
        """The file in a directory has a name that says all that was asked for."""
        if self.out.suffix == ".parquet":
            return self.out
        symbol = self.symbol.replace("/", "-").replace(":", "-")
        span = "-".join(iso(ns).replace("-", "").replace(":", "") for ns in (self.since_ns, until_ns))
        name = f"{what}-{self.timeframe}" if what == "klines" else what
        return self.out / f"{self.exchange}-{symbol}-{name}-{span}.parquet"

    def _told(self, history: History, fetched: Fetched, what: str, until_ns: int) -> Iterator[str]:
        noun = FEEDS[WHAT[what]].noun
        if fetched.kept:
            yield f"{fetched.path} is there already; --again fetches it anew"
            return
        if not fetched.rows:
            yield f"{self.exchange} has no {noun} of {self.symbol} in this span; nothing is written"
            return
        span = f"from {iso(fetched.first_ns)} to {iso(fetched.last_ns)}"
        yield f"{fetched.path}: {fetched.rows:,} {noun} of {self.instrument}, {span}"
        if what == "klines":
            length_ns = timeframe_ns(self.timeframe)
            missing = until_ns // length_ns - -(-self.since_ns // length_ns) - fetched.rows
            newest = ", only the newest 720" if self.exchange == "kraken" else ""
            if missing:
                yield f"{missing:,} klines of the span are missing: {self.exchange} does not serve them{newest}"
        elif what == "trades":
            yield from self._holes(history.holes)

    def _holes(self, holes: Sequence[Hole]) -> Iterator[str]:
        for hole in holes[:_HOLES]:
            yield f"ids {hole.id_from} to {hole.id_to} are missing, traded from {iso(hole.since)} to {iso(hole.until)}"
        if holes:
            ids = sum(hole.id_to - hole.id_from + 1 for hole in holes)
            yield f"{self.exchange} does not serve {ids:,} ids in {len(holes):,} places: bars of those times lack them"


@contextmanager
def _showing(fetch: Fetch, console: Console) -> Iterator[None]:
    """Show how far it has come in a line until the block ends; nothing where standard output is no terminal."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield
        return
    with Live(console=console, get_renderable=lambda: Text(status_line(fetch)), refresh_per_second=2, transient=True):
        yield


def status_line(fetch: Fetch) -> str:
    """What comes, the rows so far, the time of the last one, and calls that failed, if any."""
    if fetch.history is None or not fetch.files:
        return f"{fetch.instrument}: asking {fetch.exchange}"
    fetched = fetch.files[-1]
    reached = "" if fetched.last_ns == NEVER else f", at {iso(fetched.last_ns // SECOND_NS * SECOND_NS)}"
    failed = fetch.history.counts["failed_calls"]
    again = f"; {failed:,} calls failed and were made again" if failed else ""
    return f"{fetched.path.name}: {fetched.rows:,} rows{reached}{again}"
