"""Runs the command line as a user does: in a process of its own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def environment(**more: str) -> dict[str, str]:
    """The environment of a user: compiled kernels without bounds checks, cached."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_BOUNDSCHECK", "NUMBA_CACHE_DIR", "TIDEWAX_CONFIG")}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", **more}


def start(*arguments: object, **more: str) -> subprocess.Popen[str]:
    """A command that runs beside the test."""
    line = [sys.executable, "-m", "flows", *map(str, arguments)]
    return subprocess.Popen(
        line, env=environment(**more), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def command(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """A command, to its end."""
    process = start(*arguments, **more)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def written(run: Path) -> int:
    """Bytes of output so far."""
    with suppress(FileNotFoundError):
        return sum(file.stat().st_size for file in (run / "segments").iterdir())
    return 0


def kill_again_and_again(
    out: Path,
    *arguments: object,
    kills: int,
    seed: int,
    stretch: tuple[int, int],
    chunks: tuple[int, ...] = (1, 7, 31),
    name: str = "backtest",
) -> None:
    """Kill -9 a backtest (or the command of another name) into `out`, and start it again with another chunk and number of
    workers; moments are random stretches of written output. It is never left to finish.
    """
    r = random.Random(seed)
    for _ in range(kills):
        more = ("--chunk", r.choice(chunks), "--workers", r.choice([1, 2]))
        process = start(name, *arguments, "--out", out, *more)
        until = written(out) + r.randrange(*stretch)
        while process.poll() is None and written(out) < until:
            time.sleep(r.random() * 0.02)
        finished = process.poll() is not None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        _, said = process.communicate()
        assert not finished, said
