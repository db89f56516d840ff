"""Durable files: errors as sentences, fsync of files and directories, and replacement that is never half done."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from events.errors import RunError

_REMEDIES: Final = {
    errno.ENOSPC: "the disk is full; free some space, then resume",
    errno.EDQUOT: "the disk quota is used up; free some space, then resume",
    errno.EACCES: "permission denied; make it writable for this user or give another directory",
    errno.EPERM: "permission denied; make it writable for this user or give another directory",
    errno.EROFS: "the file system is read-only; give another directory",
    errno.ENOTDIR: "a part of the path is a file, not a directory; give another directory or move that file away",
    errno.EEXIST: "there is a file where a directory has to be; give another directory or move that file away",
    errno.EISDIR: "there is a directory where a file has to be; move it away",
    errno.ENOENT: "it does not exist; check the path, and that nothing removed it during the run",
    errno.EMFILE: "too many files are open; raise the limit (`ulimit -n`)",
}


@contextmanager
def storage_errors(path: Path, what: str = "write") -> Iterator[None]:
    """Turn an OSError of the block into a `RunError` that names the path and says what to do.

    Args:
        path: what the block works on; a path that the error names itself comes first.
        what: the verb of the sentence.

    Raises:
        RunError: instead of any OSError.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; check the file and its disk, then resume")
        raise RunError(f"Cannot {what} {error.filename or path}: {remedy}.") from error


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable: new, replaced and removed files."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The temporary path to write; when the block ends well it is durable and has taken the place of `path`.

    A kill in between leaves `path` as it was, and a temporary file that the next attempt overwrites.

    Raises:
        RunError: the disk is full, the directory cannot be written, and the like.
    """
    temporary = path.with_name(f".{path.name}.partial")
    with storage_errors(path):
        try:
            yield temporary
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, path)
            sync_directory(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
