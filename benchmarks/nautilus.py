"""The same trades to the same bars by the BacktestEngine of nautilus_trader, in a virtual environment of its own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.agreement import Disagreement
from benchmarks.bars import KERNELS, PER_MINUTE, cut, tidewax
from benchmarks.elsewhere import version_in
from benchmarks.kernels import bare
from benchmarks.material import default_plan, trades
from benchmarks.tables import Budget, show
from benchmarks.timing import Contender, Took, measure
from events.frames import Array
from events.times import MINUTE_NS

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".cache" / "nautilus-venv" / "bin" / "python"
SCRIPT = Path(__file__).with_name("nautilus_engine.py")
COLUMNS = ("ts_open", "open", "high", "low", "close", "volume")
WAYS = {"direct": "every timeframe of the trades", "composite": "5m, 30m and 4h of 1m bars"}


def installed() -> str:
    """The version that is installed, nothing if none is."""
    return version_in(PYTHON, "nautilus_trader")


def engine(source: Path, way: str, rounds: int) -> dict[str, Array]:
    """What the script found.

    Raises:
        Disagreement: it failed.
    """
    target = source.with_name(f"{way}.npz")
    line = [str(part) for part in (PYTHON, SCRIPT, source, target, way, rounds)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Disagreement(f"nautilus_trader did not run: {done.stderr.strip()[-500:]}")
    with np.load(target) as found:
        return dict(found)


def same_as_ours(who: str, found: dict[str, Array], want: dict[str, Array]) -> None:
    """Check that its bars are ours: those that closed, times and prices, the volume to what its sizes can hold.

    Raises:
        Disagreement: they are others.
    """
    for name, minutes in (("bars.1m", "1"), ("bars.5m", "5"), ("bars.30m", "30"), ("bars.4h", "240")):
        expected = want[name]
        got = dict(zip(COLUMNS, found[minutes][: len(expected)].T))
        if len(got["close"]) < len(expected):
            raise Disagreement(f"{who}: {len(got['close'])} {name}, not {len(expected)}")
        for column in COLUMNS:
            if not np.allclose(got[column], expected[column], rtol=1e-12, atol=1e-6 if column == "volume" else 0):
                raise Disagreement(f"{who}: {column} of {name} is another")


def contenders(rows: Array, end_ns: int, folder: Path, version: str, ways: Sequence[str]) -> list[Contender]:
    """All of them, checked against each other; without nautilus_trader if there is no `version`."""
    plan, source = default_plan(), folder / "trades.npz"
    closed = bare(rows, int(rows["available_at"][-1]), plan)  # it closes no bar that no later trade follows
    # it takes a trade at the very end of a bar into that bar, and needs 15 us more where bars are made of bars
    ts = rows["available_at"] + 20_000 * (rows["available_at"] % MINUTE_NS == 0)
    np.savez(source, ts=ts, price=rows["price"], qty=rows["qty"], side=rows["side"])
    out = [
        Contender(KERNELS, len(rows), lambda: bare(rows, end_ns, plan)),
        tidewax(rows, end_ns, 100_000),
    ]
    for way in ways if version else ():
        what = f"nautilus_trader {version}, BacktestEngine.run, {WAYS[way]}"
        same_as_ours(what, engine(source, way, 0), closed)
        out.append(Contender(what, len(rows), partial(_turn, source, way)))
    return out


def _turn(source: Path, way: str) -> Took:
    return Took(float(engine(source, way, 1)["seconds"][0]))


def bench(console: Console, quick: bool) -> list[Budget]:
    """Measure and print."""
    version, ways = installed(), ("composite",) if quick else tuple(WAYS)
    rows, end_ns = cut(trades(0.5, PER_MINUTE), 150_000 if quick else 500_000)
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(contenders(rows, end_ns, Path(folder), version, ways), 1 if quick else 3)
    show(console, "The same trades through nautilus_trader, one core", measured)
    if not version:
        console.print(
            f"nautilus_trader is not installed in {PYTHON.parent.parent.relative_to(ROOT)}: `make bench` does it"
        )
        return []
    fastest = max(contender.rate for contender in measured[2:])
    return [Budget("bars, 100,000 rows a frame, against nautilus_trader", measured[1].rate / fastest, 100, "x")]
