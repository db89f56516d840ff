"""What a live run says while it runs: a line on a terminal, or lines in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from connectors.live import LiveSource
from events.schema import NEVER
from events.times import SECOND_NS
from flows.tally import Tally

_REDRAWS_A_SECOND: Final = 2
_OVER_S: Final = 2.0
_REASON_CHARACTERS: Final = 60


class Line(Protocol):
    """What is shown of a run."""

    def line(self) -> str:
        """How it is going, now."""
        ...


class SourceStatus:
    """The status line of a run on exchanges: what comes from them.

    Args:
        source: the exchanges.
        clock_s: seconds that only grow.
        over_s: the rate is over at least so many seconds.
    """

    def __init__(
        self,
        source: LiveSource,
        clock_s: Callable[[], float] = time.monotonic,
        over_s: float = _OVER_S,
    ) -> None:
        self._source, self._clock_s, self._over_s = source, clock_s, over_s
        self._began = self._clock_s(), source.rows
        self._rate = 0.0

    def line(self) -> str:
        """Trades, trades a second, the lag of the newest trade, rows beside trades, what was made of all, and the state of each
        exchange.
        """
        source = self._source
        if not source.live.is_set():
            self._began = self._clock_s(), source.rows
            return f"reading the tape: {source.rows:,} trades"
        feeds = "; ".join(filter(None, map(self._exchange, source.exchange.exchanges)))
        return f"{source.rows:,} trades, {self._rate_now():,.0f}/s, lag {self._lag()}{self._beside()}{self.made()}; {feeds}"

    def _beside(self) -> str:
        """How many rows came beside trades, where the run has such streams."""
        standings = list(self._source.beside.values())
        return f", {sum(standing.rows for standing in standings):,} rows beside" if standings else ""

    def made(self) -> str:
        """What was made of it: nothing but what else is said."""
        return ""

    def _rate_now(self) -> float:
        """Trades a second since the last measurement that is old enough."""
        now_s, rows = self._clock_s(), self._source.rows
        began_s, before = self._began
        if now_s - began_s >= self._over_s:
            self._rate, self._began = (rows - before) / (now_s - began_s), (now_s, rows)
        return self._rate

    def _lag(self) -> str:
        """How old the newest trade is, by the clock of its exchange."""
        ages_ns = [
            self._source.now_ns(instrument.partition(":")[0]) - standing.newest_ns
            for instrument, standing in list(self._source.standings.items())
            if standing.newest_ns != NEVER
        ]
        return f"{max(0, min(ages_ns)) / SECOND_NS:.1f} s" if ages_ns else "-"

    def _exchange(self, exchange: str) -> str:
        """The state of an exchange, why it is not a good one, and which of its instruments and streams are not known well."""
        health = self._source.health.get(exchange)
        if health is None:
            return ""
        said = health.state if health.reason is None else f"{health.state} ({health.reason[:_REASON_CHARACTERS]})"
        late = f", {', '.join(sorted(health.degraded))} degraded" if health.degraded and health.state == "up" else ""
        streams = [health for health in self._source.streams if health.exchange == exchange]
        bad = [health.stream for health in streams if health.state in ("degraded", "down")]
        beside = f", {', '.join(bad)} degraded" if bad and health.state == "up" else ""
        return f"{exchange} {said}{late}{beside}"


class Status(SourceStatus):
    """The status line of a live run: what comes from exchanges, and what has left the graph.

    Args:
        source: the exchanges.
        tally: what has left the graph.
        clock_s: seconds that only grow.
        over_s: the rate is over at least so many seconds.
    """

    def __init__(
        self,
        source: LiveSource,
        tally: Tally,
        clock_s: Callable[[], float] = time.monotonic,
        over_s: float = _OVER_S,
    ) -> None:
        super().__init__(source, clock_s, over_s)
        self._tally = tally

    def made(self) -> str:
        """Bars, signals and gaps."""
        tally = self._tally
        counts = {"bars": tally.bars, "signals": tally.signals, "gaps": tally.gaps}
        return "".join(f", {sum(found.values()):,} {what}" for what, found in counts.items())


@contextmanager
def showing(status: Line, console: Console, every_s: float) -> Iterator[None]:
    """Show how the run is going until the block ends: in a line on a terminal; else in a line more every so many seconds.

    Args:
        status: of the run.
        console: on standard output.
        every_s: 0 for no lines where standard output is no terminal.
    """
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(
            console=console,
            get_renderable=lambda: Text(status.line(), overflow="ellipsis", no_wrap=True),
            refresh_per_second=_REDRAWS_A_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield
        return
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(every_s):
            console.print(status.line(), soft_wrap=True, markup=False)
            console.file.flush()

    thread = threading.Thread(target=tell, name="status", daemon=True)
    if every_s:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if every_s:
            thread.join()
