"""What the long runs measured, kept while they run; as a program, the page of the documentation that shows it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

KEPT: Final = Path(__file__).resolve().parent.parent / ".cache" / "soak"
PAGE: Final = """# The long runs

Measured on {when}, on {machine}: {runs} runs under faults of exchanges, which
took {minutes} minutes, {others} of `tidewax live` and {chains} on Kafka. `make soak` makes ten seeds of each fault, and then
this page. Seconds are those of a machine that has other work, too.

## The exchange source under faults

Unmodified ccxt on the local exchange (`tidewax simulate`): Binance spot and USD-M and Kraken at once, on each an instrument
that trades 1,600 times a second, and quiet ones beside them. After each run, what was handed out is compared with what was
traded, and the bars that the graph made of the one with those that it makes of the other, to the last bit
([test_exchange_simulator.py](../tests/connectors/test_exchange_simulator.py)). Every fault made a difference at every venue in
every run. A late trade would be one that came after a heartbeat had promised that it would not.

{faults}

Faults are those of `tidewax simulate --help`. The stream mix has skip, duplicates, reorder, reset, close and a clock that is
30 s off; the outage mix has rest-lag, skip, mute, refuse, rest-429, rest-html, reset and bursts.

## Live books under faults

The same client and exchange, spot, USD-M and Kraken, while faults of books alone happen again and again at moments of chance. After
each, every book has to be that of REST at the same id. At the end, what the intake and the core of books make of all that was
handed out is compared with a plain book of the same rows, level by level, and the ids of the trades are counted
([test_books_soak.py](../tests/connectors/test_books_soak.py)). A break is stated as a gap of the book; of Kraken, which has no
ids, the source says when. Unhealed would be one that no snapshot has ended.

{books}

The book mix has all four by chance. Snapshots of Kraken are pushed with the updates and never stale, so in place of stale-depth and
of the mix it has crossed-book.

## `tidewax live`, killed and ill-treated

Each run records a tape, which must hold what was traded, all of it and in order; then the tape is replayed without
interruption, and `tidewax verify` finds bars, features, confluence and signals equal in both
([test_live.py](../tests/flows/test_live.py)).

{live}

## The chain on Kafka, killed

A local exchange, `tidewax ingest`, a broker of one node, `tidewax live` with four shards in two processes, `tidewax market`.
All four processes are killed with SIGKILL, the shards amid their writes and in other halves each time; then, while all run, the
broker is stopped and started again, and stands still for half a minute. In the end, the market topic says what the tape says,
`tidewax verify` finds the shards equal to a replay of the tape, with bitcoin beta and the figures of the whole market, and each
row and signal of the tables is in the topics of results once ([test_pipeline.py](../tests/kafka/test_pipeline.py)).

{kafka}
"""
_SUMS: Final = {
    "trades": "trades",
    "lost": "lost",
    "twice": "twice",
    "out_of_order": "out of order",
    "wrong": "not as traded",
    "late": "late",
    "gaps": "stated gaps",
    "reconnects": "connections",
    "refilled": "refilled",
    "seconds": "seconds",
}
_OF_BOOKS: Final = {
    "updates": "updates",
    "compared": "compared with REST",
    "different": "levels different",
    "stated": "stated breaks",
    "unhealed": "unhealed",
    "refused": "refused else",
    "snapshots": "snapshots",
    "lost": "trades lost",
    "seconds": "seconds",
}


def keep(kind: str, name: str, seed: int, row: dict[str, Any]) -> None:
    """Keep a row of a long run; of a short one, nothing."""
    if os.environ.get("TIDEWAX_SOAK"):
        KEPT.mkdir(parents=True, exist_ok=True)
        path = KEPT / f"{kind}_{name.replace(' ', '_')}_{seed}.json"
        path.write_text(json.dumps({"name": name, "seed": seed} | row))


def page(folder: Path = KEPT) -> str:
    """The page of what was kept in a folder.

    Raises:
        FileNotFoundError: nothing was.
    """
    faults, books, live, kafka = (
        [json.loads(path.read_text()) for path in sorted(folder.glob(f"{kind}_*"))]
        for kind in ("faults", "books", "live", "kafka")
    )
    if not (faults or books or live or kafka):
        raise FileNotFoundError(f"{folder} has no rows: run `make soak` first")
    return PAGE.format(
        when=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}, Python {platform.python_version()})",
        runs=len(faults) + len(books),
        minutes=round(sum(row["seconds"] for row in (*faults, *books)) / 60),
        others=len(live),
        chains=len(kafka),
        faults=summed(faults, _SUMS),
        books=summed(books, _OF_BOOKS),
        live=listed(live),
        kafka=listed(kafka),
    )


def summed(rows: Iterable[dict[str, Any]], sums: dict[str, str]) -> str:
    """Rows as a table with a line for each name: how many there are, and sums."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(row["name"], []).append(row)
    lines = [
        (name, len(some), *(round(sum(row[key] for row in some)) for key in sums)) for name, some in by_name.items()
    ]
    return table(("fault", "seeds", *sums.values()), lines)


def listed(rows: Iterable[dict[str, Any]]) -> str:
    """Rows as a table with a line for each run."""
    return table(
        ("run", "trades on the tape", "rows compared", "different", "seconds"),
        [(row["name"], row["trades"], row["rows"], row["different"], round(row["seconds"])) for row in rows],
    )


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as a table of Markdown."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *texts]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    print(page(), end="")
