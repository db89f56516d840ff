"""The engine's recovery store: SQLite files of snapshots by epoch, and of how far each execution came."""

from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
import uuid
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from bytewax.recovery import init_db_dir


def make_store(path: Path) -> None:
    """Make a recovery store of one partition, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    init_db_dir(part, 1)  # type: ignore[no-untyped-call]
    part.rename(path)


def identity_of(store: Path) -> str:
    """The id of a recovery store, given to it when it is first asked for: what its run is told from others by."""
    path = store / "id"
    if not path.exists():
        part = store / f"id.{os.getpid()}.part"
        with part.open("w", encoding="utf-8") as file:
            file.write(uuid.uuid4().hex)
            file.flush()
            os.fsync(file.fileno())  # it is told to others, so it must not be another one after a power failure
        with suppress(FileExistsError):  # of several processes one is the first
            os.link(part, path)
        part.unlink()
    return path.read_text("utf-8")


def resume_epoch(directory: Path) -> int | None:
    """The epoch from which the engine will resume, as it works it out itself; None before the first execution.

    It is the smallest frontier among the workers of the last execution; a worker that wrote none stands where that began.
    """
    exs: list[tuple[int, int, int]] = []
    fronts: list[tuple[int, int, int]] = []
    for path in _parts(directory):
        with closing(sqlite3.connect(path)) as store:
            exs += store.execute("SELECT ex_num, worker_count, resume_epoch FROM exs").fetchall()
            fronts += store.execute("SELECT ex_num, worker_index, worker_frontier FROM fronts").fetchall()
    if not exs:
        return None
    last, workers, began = max(exs)
    reached = dict.fromkeys(range(workers), began)
    for execution, worker, frontier in fronts:
        if execution == last:
            reached[worker] = max(reached[worker], frontier)
    return min(reached.values())


def forget_what_was_not_reached(directory: Path) -> int:
    """Delete the snapshots that a killed execution wrote in the epoch it did not complete; how many there were.

    The engine ignores them when it resumes from that epoch, but leaves them there. Where a key is then not awake in that epoch, as
    the epoch now covers other rows, they would be taken for its state at the resumption after the next: state from ahead of
    the input, which would come again. No other process may use the store.
    """
    epoch, forgotten = resume_epoch(directory), 0
    for path in _parts(directory) if epoch is not None else ():
        with closing(sqlite3.connect(path)) as store, store:
            forgotten += store.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (epoch,)).rowcount
    return forgotten


def resume_state(directory: Path, step: str, part: str) -> Any | None:
    """What a partition of the input step of this name would be resumed with; None if it began anew.

    The engine may run meanwhile: what it will ever resume with from now on is that, or newer. As it forgets older snapshots
    at any time, None may also mean that it just did.
    """
    epoch = resume_epoch(directory)
    found: list[tuple[int, bytes]] = []
    for path in _parts(directory) if epoch is not None else ():
        with closing(sqlite3.connect(path)) as store:
            found += store.execute(
                "SELECT snap_epoch, ser_change FROM snaps WHERE step_id LIKE ? AND state_key = ? AND snap_epoch < ?",
                (f"%.{step}", part, epoch),
            ).fetchall()
    return pickle.loads(max(found)[1]) if found else None  # the run's own


def _parts(directory: Path) -> list[Path]:
    return sorted(directory.glob("part-*.sqlite3"))
