"""Runs the command line as a user does: in a process of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
KILLED = Path(__file__).with_name("killed.py")


def environment(**more: str) -> dict[str, str]:
    """The environment of a user: compiled kernels without bounds checks, cached."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_BOUNDSCHECK", "NUMBA_CACHE_DIR", "TIDEWAX_CONFIG")}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", **more}


def start(*arguments: object, **more: str) -> subprocess.Popen[str]:
    """A command that runs beside the test."""
    return run_python("-m", "flows", *arguments, **more)


def run_python(*words: object, **more: str) -> subprocess.Popen[str]:
    """A Python of its own, leading a process group."""
    line = [sys.executable, *map(str, words)]
    return subprocess.Popen(
        line, env=environment(**more), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def command(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """A command, to its end."""
    process = start(*arguments, **more)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def kill_again_and_again(
    out: Path,
    *arguments: object,
    kills: int,
    seed: int,
    rows: int,
    chunks: tuple[int, ...] = (1, 7, 31),
    name: str = "backtest",
) -> None:
    """Kill -9 a backtest (or the command of another name) into `out`, and start it again with another chunk and number of
    workers, at random moments. It is never left to finish: together the killed runs write less than the `rows` of a whole one.
    """
    r = random.Random(seed)
    for _ in range(kills):
        more = ("--chunk", r.choice(chunks), "--workers", r.choice([1, 2]))
        most = r.randint(1, rows // kills)
        process = run_python(KILLED, r.randint(1, most), most, 0.05 * r.random(), name, *arguments, "--out", out, *more)
        _, said = process.communicate()
        assert process.returncode == -signal.SIGKILL, said


def rows_written(run: Path) -> int:
    """How many rows of all streams a finished run has written."""
    kept = json.loads((run / "run.json").read_text())["rows"]
    return sum(sum(rows.values()) for rows in kept.values())
