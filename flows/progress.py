"""How far a backtest or a replay has come, on a terminal: a line on standard output while the engine runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from connectors.progress import Progress
from events.schema import NEVER
from events.times import SECOND_NS, iso

_BAR_WIDTH = 18
_A_SECOND = 4  # redraws


@contextmanager
def watching(progress: Progress, console: Console, clock_s: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Show `progress` in a line until the block ends, however it ends; nothing where standard output is no terminal.

    A thread of its own redraws it. It writes to `console` alone and takes over neither standard stream, so what is written to
    standard error meanwhile goes where it would have gone. The line is gone afterwards.

    Args:
        progress: of a source that ends.
        console: on standard output.
        clock_s: seconds that only grow.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        yield
        return
    began_s = clock_s()
    with Live(
        console=console,
        get_renderable=lambda: line(progress, clock_s() - began_s),
        refresh_per_second=_A_SECOND,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield


def line(progress: Progress, elapsed_s: float) -> Table:
    """One line of up to 80 columns: share of the bytes read, event time reached (UTC), time elapsed and left."""
    share = min(progress.bytes_read / progress.total_bytes, 1.0) if progress.total_bytes else 0.0
    newest_ns = progress.newest_ns
    reached = "no row yet" if newest_ns == NEVER else iso(newest_ns // SECOND_NS * SECOND_NS)
    left = "- left" if share == 0 else f"{duration(elapsed_s * (1 - share) / share)} left"
    if share >= 1.0:
        left = "all read, finishing"
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(5):
        grid.add_column(no_wrap=True)
    bar = ProgressBar(total=1.0, completed=share, width=_BAR_WIDTH)
    grid.add_row(f"{share:4.0%}", bar, reached, duration(elapsed_s), left)
    return grid


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> duration(59.6), duration(3_725)
    ('0:00:59', '1:02:05')
    """
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
