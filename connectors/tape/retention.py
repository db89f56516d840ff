"""What becomes of closed segments: rolled to Parquet, and in the end removed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from connectors.storage import storage_errors, sync_directory
from connectors.tape.locks import looking_after, unread
from connectors.tape.recording import parts_of
from connectors.tape.roll import roll_segment
from connectors.tape.rolled import Rolled
from connectors.tape.segment import Segment
from events.schema import NEVER


@dataclass(frozen=True)
class Keep:
    """How much of a tape is kept.

    Attributes:
        newer_than_ns: segments that were closed before this time may go; None: none goes by its age.
        total_bytes: the oldest go while all segments together are larger; None: none goes by size.
    """

    newer_than_ns: int | None = None
    total_bytes: int | None = None


def roll_closed(directory: Path) -> list[Rolled]:
    """Make Parquet files of all closed segments that are none yet; a run may append and others may read meanwhile.

    Raises:
        Busy: another process does.
        InputError: a segment is damaged.
        RunError: the files cannot be written.
    """
    with looking_after(directory):
        return [roll_segment(part) for part in parts_of(directory)[:-1] if isinstance(part, Segment)]


def remove_old(directory: Path, keep: Keep, floor: int) -> int:
    """Remove the oldest segments, as far as `keep` lets them go; the offset where the tape begins then.

    The newest segment stays, and whatever is at or above an offset stays. All stay while anybody reads the tape.

    Args:
        directory: of the tape; a run may append meanwhile.
        keep: how much is kept.
        floor: the oldest offset that a recovery store may still ask for.

    Raises:
        Busy: another process rolls or removes segments.
        InputError: the tape is damaged.
        RunError: a file cannot be removed.
    """
    with looking_after(directory), unread(directory) as free:
        return _remove(directory, keep, floor if free else NEVER)


def _remove(directory: Path, keep: Keep, floor: int) -> int:
    parts = parts_of(directory)
    total = sum(part.size for part in parts)
    first = parts[0].first if parts else 0
    for part, after in pairwise(parts):
        old = keep.newer_than_ns is not None and after.header.created_ns < keep.newer_than_ns
        large = keep.total_bytes is not None and total > keep.total_bytes
        if part.end > floor or not (old or large):
            break
        total, first = total - part.size, after.first
        with storage_errors(part.path, "remove"):
            part.path.unlink()  # of a rolled one that of its frames, without which it is none
    with storage_errors(directory, "remove"):
        for path in (directory / "rolled").glob("*.parquet"):
            if int(path.name.split(".")[0]) < first:
                path.unlink()
        sync_directory(directory)
    return first
