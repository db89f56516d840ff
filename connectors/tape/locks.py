"""Who may work on a tape at the same time: one writes, one looks after closed segments, and nothing that is read is removed."""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from connectors.storage import storage_errors
from events.errors import RunError

UPKEEP_LOCK: Final = "upkeep.lock"


class Busy(RunError):
    """Another process looks after the tape."""


class Hold:
    """Holds a tape for reading: no segment of it is removed until it is closed, or nothing refers to it any more.

    Args:
        directory: of the tape.

    Raises:
        RunError: it is not there, or cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        with storage_errors(directory, "read"):
            descriptor = os.open(directory, os.O_RDONLY)
            self._close = weakref.finalize(self, os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        """Let go; a second call does nothing."""
        self._close()


@contextmanager
def unread(directory: Path) -> Iterator[bool]:
    """Whether nobody holds a tape for reading; nobody begins to before the block ends.

    Raises:
        RunError: the directory cannot be locked.
    """
    with storage_errors(directory, "lock"):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free = True
            except BlockingIOError:
                free = False
            yield free
        finally:
            os.close(descriptor)


@contextmanager
def looking_after(directory: Path) -> Iterator[None]:
    """Be the only one who rolls and removes segments of a tape.

    Raises:
        Busy: another process does.
        RunError: the directory cannot be written.
    """
    with storage_errors(directory):
        lock = (directory / UPKEEP_LOCK).open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process rolls or removes segments of {directory}: wait for it") from None
        yield
