"""Runs the command line as a user does: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
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
