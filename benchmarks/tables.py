"""Printing: the machine, tables of contenders, and what was measured against its budget."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.timing import Contender

PACKAGES = ("bytewax", "numba", "numpy", "polars", "pyarrow", "TA-Lib")


class Budget(NamedTuple):
    """A figure of this run and what it should be at least, or at most."""

    what: str
    found: float
    bound: float
    unit: str
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.found <= self.bound if self.at_most else self.found >= self.bound


def machine() -> str:
    """Processor, cores, date and versions, in one line."""
    cores, day = os.cpu_count(), datetime.now(UTC).date().isoformat()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    system = f"{platform.system()} {platform.machine()}"
    return f"{_processor()}, {cores} cores, {system}, {day}; Python {platform.python_version()}, {versions}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def show(console: Console, title: str, measured: Sequence[Contender], unit: str = "trades") -> None:
    """Print contenders; the first is the reference of the ratios."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("what", ratio=1)
    for name in (f"{unit} in", f"{unit}/s", "us each", "ratio", "worst/best"):
        table.add_column(name, justify="right", no_wrap=True)
    for c in measured:
        ratio = c.rate / measured[0].rate
        each = 1e6 / c.rate
        table.add_row(c.what, f"{c.rows:,}", rounded(c.rate), _digits(each), _digits(ratio), f"{c.worst / c.best:.2f}")
    console.print(table)


def show_rows(console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of words and numbers."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for k, name in enumerate(header):
        table.add_column(name, justify="right" if k else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def show_budgets(console: Console, budgets: Sequence[Budget]) -> None:
    """Print what was found against what was planned."""
    rows = [
        (
            b.what,
            f"{_digits(b.found)} {b.unit}",
            f"{'<=' if b.at_most else '>='} {b.bound:,g} {b.unit}",
            "met" if b.met else "missed",
        )
        for b in budgets
    ]
    show_rows(console, "Budgets", ("what", "found", "budget", ""), rows)


def _digits(value: float) -> str:
    """Three digits, never an exponent."""
    places = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3 if value >= 0.01 else 5
    return f"{value:,.{places}f}"


def rounded(rate: float) -> str:
    """A rate, in millions where it is that high."""
    return f"{rate / 1e6:,.1f} M" if rate >= 1e7 else f"{rate / 1e6:,.2f} M" if rate >= 1e6 else f"{rate:,.0f}"
