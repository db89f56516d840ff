"""`tidewax demo`: a live run on a local exchange whose time runs faster, for a minute; no network, no keys."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from config import load
from events.errors import RunError
from flows.live import LiveRun
from flows.recorder import TAPE, exchanges_of
from flows.report import print_report
from flows.rundir import RunDirectory

INSTRUMENTS: Final = (
    "binance:BTC/USDT", "binance:ETH/USDT", "binance:SOL/USDT", "binance:BTC/USDT:USDT", "kraken:BTC/USD", "kraken:ETH/USD"
)  # fmt: skip
_HISTORY_DAYS: Final = 8
_GRACE_S: Final = 120


def demo(out: Path, seconds: float, speed: float, seed: int, console: Console) -> dict[str, Any]:
    """Run live on a simulated exchange and report; what run.json says.

    Args:
        out: the run goes to `live` in it; what an earlier demo left there is removed.
        seconds: how long; Ctrl-C ends it before.
        speed: seconds of the market a second.
        seed: of the market.
        console: where signals are told as they come, and the report at the end.

    Raises:
        RunError: the directory holds something else, or the exchange does not start.
    """
    console.print(
        f"A local exchange, its market made by a seeded model, {speed:g} times as fast as a real one; "
        f"in {seconds:g} s (or on Ctrl-C) the run ends. Starting ...",
        soft_wrap=True,
    )
    with _exchange(seconds, speed, seed) as address, RunDirectory(out / "live") as directory:
        directory.clear()
        shutil.rmtree(directory.path / TAPE, ignore_errors=True)
        exchange = {
            "symbols": exchanges_of(INSTRUMENTS),
            "addresses": dict.fromkeys(exchanges_of(INSTRUMENTS), address),
        }
        run = LiveRun(load("short", {"exchange": exchange}), directory, console, store=directory.recovery)
        run.announce()
        ends = threading.Timer(seconds, run.inputs.stopping.set)
        ends.daemon = True
        ends.start()
        try:
            told = run.run()
        finally:
            ends.cancel()
        print_report(told, directory.path, run.plan, console)
    tape = directory.path / TAPE
    console.print(
        f"all that was analysed is on the tape {tape}; the same again, and the proof:\n"
        f"  tidewax replay {tape} --config short --out {out / 'again'}\n"
        f"  tidewax verify {directory.path} {out / 'again'}",
        soft_wrap=True,
    )
    return told


@contextmanager
def _exchange(seconds: float, speed: float, seed: int) -> Iterator[str]:
    """Host and port of a simulated exchange in a process of its own, which ends with the block, or some time later by itself."""
    command = [
        *(sys.executable, "-m", "flows", "simulate", f"--instruments={','.join(INSTRUMENTS)}", f"--speed={speed}"),
        *(f"--seed={seed}", f"--history-days={_HISTORY_DAYS}", f"--for={seconds + _GRACE_S}"),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        found = re.search(r"http://(\S+?);", first)
        if found is None:
            raise RunError(f"the local exchange did not start: {first}{process.stdout.read()}".strip())
        yield found[1]
    finally:
        process.terminate()
        process.communicate()
