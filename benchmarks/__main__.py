"""`python -m benchmarks [--quick] [--only NAME]`: print the tables."""

from __future__ import annotations

import os

os.environ["POLARS_MAX_THREADS"] = "1"  # read once, when polars comes in

import argparse
from functools import partial

import pyarrow as pa
from rich.console import Console

from benchmarks import bars, books, files, indicators, kafka, live, nautilus, state, tape, whole, year
from benchmarks.tables import Budget, machine, show_budgets

TABLES = {
    "bars": bars.bench,
    "nautilus": nautilus.bench,
    "files": files.bench,
    "tape": tape.bench,
    "live": live.bench,
    "kafka": kafka.bench,
    "graph": whole.bench,
    "books": books.bench,
    "year": year.bench,
    "indicators": indicators.bench,
    "state": state.bench,
}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Print the benchmark tables.")
    parser.add_argument("--quick", action="store_true", help="small inputs and few rounds: under a minute")
    parser.add_argument("--full", action="store_true", help="every indicator in the table of indicators")
    parser.add_argument("--only", choices=TABLES, metavar="NAME", help=f"one of {', '.join(TABLES)}")
    asked = parser.parse_args()
    pa.set_cpu_count(1)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    console.print(machine(), soft_wrap=True)
    tables = TABLES | {"indicators": partial(indicators.bench, full=asked.full)}
    budgets: list[Budget] = []
    for name, bench in tables.items():
        if asked.only in (None, name):
            console.print()
            budgets += bench(console, asked.quick)
    if budgets:
        console.print()
        show_budgets(console, budgets)


if __name__ == "__main__":
    main()
