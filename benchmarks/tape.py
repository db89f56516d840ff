"""The tape: frames appended before they are handed out, and read again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

from rich.console import Console

from benchmarks.agreement import Disagreement
from benchmarks.material import KEY, START, before, trades
from benchmarks.tables import Budget, show
from benchmarks.timing import Contender, measure
from connectors.tape import Recording, Tape, Universe
from connectors.tape.records import Items
from events.frames import Array, Frame
from events.schema import NEVER
from events.times import DAY_NS

UNIVERSE = Universe((KEY,), frozenset({KEY}), frozenset({"trades"}))
SIZES = (1, 100, 10_000)


def appends(rows: Array, chunk: int) -> list[Items]:
    """The rows in frames of so many, each an append of its own."""
    return [[(KEY, Frame(KEY, "trades", rows[at : at + chunk], NEVER))] for at in range(0, len(rows), chunk)]


def write(directory: Path, given: list[Items]) -> int:
    """Append them to a new tape, as a live source does: with one `sync` at the end; the offset after them."""
    rmtree(directory, ignore_errors=True)
    with Tape(directory, UNIVERSE) as tape:
        for items in given:
            tape.append(items)
        tape.sync()
        return tape.end


def read(directory: Path) -> int:
    """Read a tape, every checksum looked at; how many rows there are."""
    recording = Recording(directory)
    return sum(len(frame.rows) for _, items in recording.read(recording.first) for _, frame in items)


def raw(path: Path, given: list[Items]) -> None:
    """What any log has to do: the bytes of the rows into a file, an unbuffered write each."""
    with path.open("wb", buffering=0) as file:
        for items in given:
            file.write(items[0][1].rows.tobytes())


def contenders(rows: Array, few: int, folder: Path) -> list[Contender]:
    """All of them; those of one row a frame take `few` rows."""
    found: list[Contender] = []

    def add(what: str, n: int, run: Callable[[], object]) -> None:
        found.append(Contender(what, n, run))

    for chunk in reversed(SIZES):
        mine = rows[:few] if chunk == 1 else rows
        given, tape = appends(mine, chunk), folder / f"tape{chunk}"
        add(f"bare writes, {chunk:,} rows each", len(mine), lambda given=given: raw(folder / "raw", given))
        add(f"append, {chunk:,} rows a frame", len(mine), lambda given=given, tape=tape: write(tape, given))
        add(f"open and read, {chunk:,} rows a frame", len(mine), lambda tape=tape: read(tape))
        write(tape, given)
        if read(tape) != len(mine):
            raise Disagreement(f"the tape of {chunk} rows a frame gives another number of rows than {len(mine)}")
    return found


def bench(console: Console, quick: bool) -> list[Budget]:
    """Measure and print."""
    rows = before(trades(0.5, 1_500.0), START + DAY_NS // 2)
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(contenders(rows, 10_000 if quick else 100_000, Path(folder)), 3 if quick else 6)
    show(console, "The tape: appended before it is handed out (page cache, one fsync at the end), one core", measured)
    by_name = {contender.what: contender for contender in measured}
    hundred, one = (by_name[f"append, {n} rows a frame"] for n in (100, 1))
    return [
        Budget("appended to the tape, 100 rows a frame", hundred.rate / 1e6, 0.5, "M trades/s"),
        Budget("an append of one row", 1e6 / one.rate, 100, "us", at_most=True),
    ]
