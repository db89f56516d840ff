"""The SQLite sink: all streams of a process in one file, in step with its snapshots."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from bytewax.outputs import FixedPartitionedSink

from connectors.partition import BufferedPartition
from connectors.pending import BUFFER_BYTES, OrdinalState
from connectors.sqlite.schema import RUN_TABLE, Table, prepare, tables_of
from connectors.storage import storage_errors
from events.errors import RunError
from events.frames import Frame
from events.streams import Stream

SqliteState = tuple[int, OrdinalState]
"""Number of the last row, and the memory of the ordinals."""

BUFFER_ROWS: Final = 50_000
BUSY_SECONDS: Final = 10.0
_WAL_BYTES: Final = 64 << 20  # that the write-ahead log keeps after a large transaction

_REMEDIES: Final = {
    "SQLITE_FULL": "the disk is full; free some space, then resume",
    "SQLITE_READONLY": "it is read-only; make it writable for this user or give another file",
    "SQLITE_PERM": "permission denied; make it writable for this user or give another file",
    "SQLITE_CANTOPEN": "it cannot be opened; check that its directory exists and is writable, or give another file",
    "SQLITE_NOTADB": "it is not an SQLite database; give another file, or move it away",
    "SQLITE_CORRUPT": "it is damaged; restore it from a copy, or move it away and start over with a new recovery store",
    "SQLITE_IOERR": "the disk failed; check it, then resume",
}


@contextmanager
def _sentences(path: Path, busy_seconds: float) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        name: str = getattr(error, "sqlite_errorname", None) or ""
        primary = "_".join(name.split("_")[:2])
        if primary in ("SQLITE_BUSY", "SQLITE_LOCKED"):
            remedy = (
                f"another program has held a transaction in it for {busy_seconds:g} s; end that program, or make its"
                " transactions shorter, then resume"
            )
        else:
            remedy = _REMEDIES.get(primary, f"{error}; check the file, then resume")
        raise RunError(f"Cannot write {path}: {remedy}.") from error


class SqlitePartition(BufferedPartition[SqliteState]):
    """Writes the rows of frames in one transaction an epoch."""

    def __init__(
        self,
        path: Path,
        streams: Mapping[str, Stream],
        analysis_hash: str,
        buffer_rows: int,
        busy_seconds: float,
        state: SqliteState | None,
    ) -> None:
        self._seq, ordinals = state if state is not None else (0, ())
        super().__init__(streams, ordinals)
        self._path, self._buffer_rows, self._busy_seconds = path, buffer_rows, busy_seconds
        self._tables = tables_of(streams)
        with storage_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        with _sentences(path, busy_seconds):
            self._connection = sqlite3.connect(
                path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
            )
        try:
            with _sentences(path, busy_seconds):
                self._open(analysis_hash)
        except BaseException:
            self._connection.close()
            raise

    def _open(self, analysis_hash: str) -> None:
        connection = self._connection
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise RunError(
                f"{self._path} cannot have a write-ahead log (its journal is {mode!r}), without which readers stop the run."
                " Give a file on a local disk."
            )
        # With NORMAL a commit may vanish in a power failure, while the recovery store, which is told of it
        # afterwards, stays: the rows in between would be lost. FULL costs one fsync an epoch.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        connection.execute("BEGIN IMMEDIATE")
        prepare(connection, self._path, list(self._tables.values()), analysis_hash, self._seq)
        connection.execute("COMMIT")

    def write_batch(self, values: list[Frame]) -> None:
        """Take the rows of frames; insert them when many wait, without making them visible yet."""
        for frame in values:
            self._pending.add(frame)
        if self._pending.rows >= self._buffer_rows or self._pending.bytes > BUFFER_BYTES:
            self._write_all()

    def snapshot(self) -> SqliteState:
        """Insert what waits and commit; the number of the last row, and the memory of the ordinals."""
        self._commit()
        return self._seq, self._ordinals.snapshot()

    def _sentences(self) -> AbstractContextManager[None]:
        return _sentences(self._path, self._busy_seconds)

    def _finish(self) -> None:
        self._commit()

    def _release(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()  # rolls back a transaction that failed

    def _commit(self) -> None:
        self._write_all()
        if self._connection.in_transaction:
            with self._guard():
                self._connection.execute(f"UPDATE {RUN_TABLE} SET seq = ?", (self._seq,))
                self._connection.execute("COMMIT")

    def _write_all(self) -> None:
        if not self._pending.rows:
            return
        with self._guard():
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            for stream, waiting in self._pending.take_all():
                for key, rows in waiting:
                    self._insert(self._tables[stream.name], key, rows)

    def _insert(self, table: Table, key: str, rows: Any) -> None:
        ordinals = self._ordinals.of(table.stream, key, rows)
        before = self._connection.total_changes
        try:
            self._connection.executemany(table.insert, table.rows(key, rows, ordinals, self._seq + 1))
        except sqlite3.IntegrityError as error:
            clash = self._connection.total_changes - before  # rows that went in before the one that did not
            row = next(table.rows(key, rows[clash : clash + 1], ordinals[clash:], 0))
            named = dict(zip(table.columns, row))
            what = ", ".join(f"{name} {named[name]}" for name in table.unique)
            raise RunError(
                f"Table {table.name} of {self._path} has a row with {what} already: ids are never used twice, so this is a"
                " bug, or another run writes to the same file. End that run, or report it with the command and the settings."
            ) from error
        self._seq += len(rows)


class SqliteSink(FixedPartitionedSink[Frame, SqliteState]):
    """Keeps all rows of these streams in one SQLite file; nothing is lost or twice after a kill.

    Takes items `(instrument, Frame)`. One table a stream (`connectors.sqlite.schema.Table`); rows become
    visible to other processes at each snapshot (once an epoch, and at the end of a bounded run). `seq`
    numbers the rows of all tables in the order in which they were written; it is not the same in two runs.
    Other tables of the file are left alone. One sink a
    file: two of them would wait for each other.

    Args:
        path: the file; made with its directory if missing. Without a recovery state its rows of these streams
            are deleted.
        streams: what the streams are; frames of other streams are ignored.
        analysis_hash: what the rows were computed with, 16 hex digits; a file of another analysis is refused.
        buffer_rows: how many rows wait in memory before they are inserted within an epoch.
        busy_seconds: how long to wait for another process that writes to the file.

    Raises:
        RunError: while running, when the file cannot be written, is locked or of another run, or an id is
            used twice.
    """

    def __init__(
        self,
        path: str | Path,
        streams: Mapping[str, Stream],
        analysis_hash: str = "",
        buffer_rows: int = BUFFER_ROWS,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self._path, self._streams, self._analysis_hash = Path(path), dict(streams), analysis_hash
        self._buffer_rows, self._busy_seconds = buffer_rows, busy_seconds

    def list_parts(self) -> list[str]:
        """One partition: a file has one writer."""
        return ["sqlite"]

    def part_fn(self, item_key: str) -> int:
        """Every key goes to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: SqliteState | None) -> SqlitePartition:
        """The writer, with the rows above the resume state deleted."""
        return SqlitePartition(
            self._path,
            self._streams,
            self._analysis_hash,
            self._buffer_rows,
            self._busy_seconds,
            resume_state,
        )
