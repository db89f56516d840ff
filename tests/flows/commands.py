"""Runs the command line: as a user does, in a process of its own, or in that of the test."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from flows.__main__ import main

ROOT = Path(__file__).resolve().parent.parent.parent
KILLED = Path(__file__).with_name("killed.py")
_STARTED: list[subprocess.Popen[str]] = []


def environment(**more: str) -> dict[str, str]:
    """The environment of a user: compiled kernels without bounds checks, cached."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_BOUNDSCHECK", "NUMBA_CACHE_DIR", "TIDEWAX_CONFIG")}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", **more}


def start(*arguments: object, **more: str) -> subprocess.Popen[str]:
    """A command that runs beside the test."""
    return _python("-m", "flows", *arguments, **more)


def start_killed(
    how: signal.Signals,
    rows: int,
    *arguments: object,
    soon: int = 0,
    delay_s: float = 0.0,
    within: str = "",
    **more: str,
) -> subprocess.Popen[str]:
    """A command that gets a signal amid the write in which what it has written becomes so many `rows`, or, if that is earlier,
    `delay_s` after it has written rows `soon`. It counts by itself, so that it never ends before: rows of run directories whose
    path has `within` in it.
    """
    return _python(KILLED, int(how), soon, rows, delay_s, within, *arguments, **more)


def start_held(script: Path, *arguments: object, **more: str) -> subprocess.Popen[str]:
    """A script that stops itself by SIGSTOP, once it has; SIGCONT lets it go on."""
    process = _python(script, int(signal.SIGSTOP), *arguments, **more)
    ended = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert ended is not None, process.pid
    assert ended.si_code == os.CLD_STOPPED, process.communicate()
    return process


def killed(rows: int, *arguments: object, soon: int = 0, delay_s: float = 0.0, within: str = "") -> None:
    """Such a command, until it is dead of SIGKILL."""
    process = start_killed(signal.SIGKILL, rows, *arguments, soon=soon, delay_s=delay_s, within=within)
    out, err = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, out + err


def command(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """A command, to its end."""
    process = start(*arguments, **more)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def called(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """A command in this process, to its end, where what is proven does not need one of its own: nothing is imported again."""
    words, out, err = [str(word) for word in arguments], io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in {"COLUMNS": "200", **more}.items():
            patch.setenv(name, value)
        patch.delenv("TIDEWAX_CONFIG", raising=False)
        try:
            main(words)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


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
        more = ("--out", out, "--chunk", r.choice(chunks), "--workers", r.choice([1, 2]))
        most = r.randint(1, rows // kills)
        killed(most, name, *arguments, *more, soon=r.randint(1, most), delay_s=0.05 * r.random())


def rows_written(run: Path) -> int:
    """How many rows of all streams a finished run has written."""
    kept = json.loads((run / "run.json").read_text())["rows"]
    return sum(sum(rows.values()) for rows in kept.values())


def start_runner(*arguments: object, **more: str) -> subprocess.Popen[str]:
    """The engine's own runner, beside the test."""
    return _python("-m", "bytewax.run", *arguments, **more)


def _python(*words: object, **more: str) -> subprocess.Popen[str]:
    """A process that leads a group."""
    line = [sys.executable, *map(str, words)]
    process = subprocess.Popen(
        line, env=environment(**more), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    _STARTED.append(process)
    return process


def end_all() -> None:
    """Kill what a test has started and left running, as one does that fails."""
    while _STARTED:
        process = _STARTED.pop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
