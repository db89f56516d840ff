"""The directory of a run: what is in it, who may use it, and whether the run is new, unfinished or finished.

run.json           what ran, and when it is finished: counts, reasons, digests
<stream>.parquet   one per stream                  dead_letters.jsonl
tidewax.sqlite     the same streams for queries
recovery/ segments/ lock    only while the run is not finished
tape/              what a live run recorded, unless it is elsewhere
markets/           lists of markets of exchanges

A run on Kafka in shards is a directory of such directories: shard-00, shard-01, ..., and market, of what compares instruments.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from events.errors import RunError

RUN_FILE: Final = "run.json"
WHOLE: Final = ("finished", "stopped")
"""States of runs whose files are whole: a live run that was stopped can be read, and goes on when it is started again."""

SHARD: Final = "shard-"
"""What the names of run directories of shards begin with."""
MARKET: Final = "market"
"""The run directory, beside those of the shards, of what compares the instruments of all."""
ANALYSIS: Final = "analysis"
INGEST: Final = "ingest"
"""Kinds of runs."""

_WORKING: Final = ("recovery", "segments")
_OURS: Final = (*_WORKING, "recovery.part", "lock", "tape", "markets", RUN_FILE, "tidewax.sqlite", "dead_letters.jsonl")


class RunDirectory:
    """A locked run directory; use it as a context manager.

    Args:
        path: of the directory; it is made if it is not there.
        process: the number of the process, where a run has several; each is there once.

    Raises:
        RunError: it holds something else, cannot be written, or another process runs in it.
    """

    def __init__(self, path: Path, process: int = 0) -> None:
        self.path, self._name = path, f"lock.{process}" if process else "lock"
        self.made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            names = [] if (path / RUN_FILE).exists() else [file.name for file in path.iterdir()]
            foreign = [name for name in names if name not in _OURS and not name.startswith("lock.")]
            if foreign:
                raise RunError(
                    f"{path} holds other files ({foreign[0]}) and no {RUN_FILE}: "
                    "give --out an empty directory, or one of a former run"
                )
            self._lock = (path / self._name).open("w")
        except OSError as error:
            raise RunError(f"the run directory {path} cannot be used: {error.strerror or error}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(f"another process runs in {path}: wait for it, or give --out another directory") from None

    def __enter__(self) -> RunDirectory:
        """The directory, locked."""
        return self

    def __exit__(self, *_: object) -> None:
        """Unlock; a directory that was made for a run that came to nothing goes again."""
        (self.path / self._name).unlink(missing_ok=True)
        self._lock.close()
        if self.made:
            with suppress(OSError):  # it stays unless nothing is in it
                self.path.rmdir()

    @property
    def recovery(self) -> Path:
        """Where the engine keeps its snapshots."""
        return self.path / "recovery"

    @property
    def sqlite(self) -> Path:
        """The SQLite file."""
        return self.path / "tidewax.sqlite"

    @property
    def is_new(self) -> bool:
        """Whether nothing has run in it."""
        return not (self.path / RUN_FILE).exists()

    def read(self, kind: str = ANALYSIS) -> dict[str, Any] | None:
        """What run.json says, None without one.

        Raises:
            RunError: it is of a run of another kind.
        """
        return None if self.is_new else read_run(self.path, kind)

    def write(self, run: dict[str, Any]) -> None:
        """Write run.json, whole or not at all."""
        temporary = self.path / f"{RUN_FILE}.part"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(run, file, indent=1, sort_keys=True, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / RUN_FILE)

    def clear(self) -> None:
        """Remove all that a run leaves here, and nothing else."""
        for name in (*_WORKING, "recovery.part"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for pattern in ("*.parquet", "dead_letters.jsonl", "tidewax.sqlite*", f"{RUN_FILE}*", "*.part"):
            for file in self.path.glob(pattern):
                file.unlink()

    def finish(self, run: dict[str, Any]) -> None:
        """Write the final run.json, then remove what only an unfinished run needs."""
        self.write(run)
        self.tidy()

    def tidy(self) -> None:
        """Remove what only an unfinished run needs."""
        for name in _WORKING:
            shutil.rmtree(self.path / name, ignore_errors=True)


def read_run(path: Path, kind: str = ANALYSIS) -> dict[str, Any]:
    """The run.json of a run directory.

    Raises:
        RunError: there is none, it cannot be read, or is of a run of another kind.
    """
    try:
        run: dict[str, Any] = json.loads((path / RUN_FILE).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{path} is no run directory: there is no {RUN_FILE} in it") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path / RUN_FILE} cannot be read: {error}") from None
    if (held := run.get("kind", ANALYSIS)) != kind:
        raise RunError(f"{path} holds an {held}, not an {kind}: name another directory")
    return run


def shard_directory(path: Path, shard: int) -> Path:
    """The run directory of a shard of a run.

    >>> shard_directory(Path("live"), 3).as_posix()
    'live/shard-03'
    """
    return path / f"{SHARD}{shard:02d}"


def directories_of(path: Path) -> list[Path]:
    """The run directories of a run: itself, or where it ran in shards, those of its shards and of what compares them.

    Raises:
        RunError: there is no run, or shards of it are elsewhere.
    """
    shards = [file.parent for file in path.glob(f"{SHARD}*/{RUN_FILE}")]
    if (path / RUN_FILE).exists() or not shards:
        return [path]
    told = [one for shard in shards for one in read_run(shard)["inputs"] if "shards" in one]
    wanted, found = max(one["shards"] for one in told), {number for one in told for number in one["partitions"]}
    if missing := [shard_directory(path, number).name for number in range(wanted) if number not in found]:
        raise RunError(
            f"{path} holds {len(found)} of {wanted} shards: bring {', '.join(missing)} beside them, from where they ran"
        )
    market = [path / MARKET] if (path / MARKET / RUN_FILE).exists() else []
    return sorted(shards) + market


def first_difference(ours: Any, theirs: Any, path: str = "") -> str | None:
    """The first setting in which two trees differ, as a phrase; None where they are equal.

    >>> first_difference({"a": {"b": 1}}, {"a": {"b": 2}})
    'a.b is 1, it was 2'
    """
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            found = first_difference(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
            if found:
                return found
        return None
    return None if ours == theirs else f"{path} is {ours}, it was {theirs}"


def other_lateness(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    """The first difference in the allowed lateness of two runs, as a phrase; None where it is the same.

    It is no part of the analysis, but where rows come out of order, it decides which of them are late.
    """
    name = "lateness_s"
    return first_difference(ours[name], theirs[name], name) if name in ours and name in theirs else None


def changed_plugins(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Plugin files that two runs have at the same place with other bytes, by the name that the first has for them."""
    files = [run.get("plugins", {}).get("files", ()) for run in (ours, theirs)]
    return [str(a[0]) for a, b in zip(*files) if a[1] != b[1]]
