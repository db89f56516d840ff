"""State: what Bytewax's recovery store holds of one instrument, and what each epoch writes to it. Bytes, not times."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bytewax.recovery import RecoveryConfig, init_db_dir
from rich.console import Console

from benchmarks.material import KEY, START, Memory, before, default_plan, frames, run, trades
from benchmarks.tables import Budget, show_rows
from benchmarks.whole import everything, sized
from benchmarks.year import all_on
from events.times import DAY_NS, HOUR_NS
from flows.plan import Plan

EPOCH_EACH_BATCH = timedelta(0)
KEEP_ALL = timedelta(days=1)


class Written(NamedTuple):
    """What a step wrote.

    Attributes:
        step: its id.
        size: bytes of its newest snapshot.
        between: median bytes of an epoch in which no bar closed.
        closing: most bytes of an epoch in which one did.
    """

    step: str
    size: int
    between: float
    closing: int


def written(plan: Plan, days: float, hours: int) -> list[Written]:
    """Run `days` of trades, then `hours` more row by row with an epoch each, and read the store."""
    rows = trades(days + hours / 24, 2.0)
    change = START + round(days * DAY_NS)
    first = frames(before(rows, change), 100_000, change)
    single = frames(rows[len(before(rows, change)) :], 1, change + hours * HOUR_NS)
    with tempfile.TemporaryDirectory() as folder:
        init_db_dir(folder, 1)
        for data, epoch in ((first, timedelta(hours=1)), (first + single, EPOCH_EACH_BATCH)):
            config = RecoveryConfig(folder, KEEP_ALL)  # what was before is kept, so that it can be counted
            run(Memory(data), everything(plan), epoch_interval=epoch, recovery_config=config)
        return _read(next(Path(folder).glob("*.sqlite3")))


def _read(store: Path) -> list[Written]:
    query = "SELECT step_id, snap_epoch, length(ser_change) FROM snaps WHERE state_key = ? ORDER BY rowid"
    with closing(sqlite3.connect(store)) as connection:
        snapshots = connection.execute(query, (KEY,)).fetchall()
    sizes: dict[str, dict[int, int]] = {}
    for step, epoch, size in snapshots:
        sizes.setdefault(step.split(".", 1)[1], {})[epoch] = size
    boundaries = set(sizes["features_1m"])
    quiet = sorted(set(sizes["bars"]) - boundaries)
    return [
        Written(
            step,
            found[max(found)],
            median(found.get(epoch, 0) for epoch in quiet),
            max(found.get(epoch, 0) for epoch in boundaries),
        )
        for step, found in sizes.items()
    ]


def bench(console: Console, quick: bool) -> list[Budget]:
    """Measure and print."""
    days, budgets = 20 if quick else 180, []
    plans = (
        (sized(), default_plan(), 1),
        ("everything on", all_on(), 4),
    )
    for what, plan, most in plans:
        found = written(plan, days, 5)
        total = Written("all", *(sum(column) for column in list(zip(*found))[1:]))
        rows = [(w.step, f"{w.size:,}", f"{w.between:,.0f}", f"{w.closing:,}") for w in [*found, total]]
        header = ("step", "bytes of state", "written between two boundaries", "written at a boundary, at most")
        show_rows(console, f"State of one instrument after {days} days, {what}", header, rows)
        budgets += [
            Budget(f"state of one instrument, {what}", total.size / 1e6, most, "MB", at_most=True),
            Budget(f"rewritten between two boundaries, {what}", total.between / 1e3, 2, "KB", at_most=True),
        ]
    return budgets
