"""What failed in a run: which column of which instrument, how often, and what it said first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from rich.box import SIMPLE
from rich.table import Table

from events.times import iso

FAILURES: Final = ("INDICATOR", "RULE")


def dead_letters(lines: Iterable[str]) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Dead letters by reason, and of those that are failures of columns or rules: which, how often, the first one.

    >>> line = '{"reason": "INDICATOR", "source": "x:A/B/features.1m/rsi", "key": "x:A/B", "ts": 60, "detail": "rsi failed"}'
    >>> reasons, failed = dead_letters([line, line])
    >>> reasons["INDICATOR"], failed[0]["n"], failed[0]["column"]
    (2, 2, 'features.1m/rsi')
    """
    reasons: Counter[str] = Counter()
    failed: dict[str, dict[str, Any]] = {}
    for line in lines:
        letter = json.loads(line)
        reasons[letter["reason"]] += 1
        if letter["reason"] not in FAILURES:
            continue
        key, source = letter["key"], letter["source"]
        entry = failed.setdefault(source, {"key": key, "column": source.removeprefix(f"{key}/"), "n": 0, "ts": None})
        entry["n"] += 1
        if entry["ts"] is None or letter["ts"] < entry["ts"]:
            entry |= {"ts": letter["ts"], "detail": letter["detail"]}
    return reasons, [failed[source] for source in sorted(failed)]


def failures_table(failed: list[dict[str, Any]]) -> Table:
    """A row per column that failed; the columns were missing there, all others were not touched."""
    table = Table(
        box=SIMPLE, title="failed: missing on so many bars", title_style="dim", title_justify="left",
        padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    for name in ("instrument", "column", "first", "what it said"):
        table.add_column(name, overflow="fold")
    table.add_column("bars", justify="right", no_wrap=True)
    for entry in failed:
        first = iso(entry["ts"]).replace("T", " ")
        table.add_row(entry["key"], entry["column"], first, entry["detail"], f"{entry['n']:,}")
    return table
