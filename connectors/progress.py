"""How far a bounded source has come."""

from __future__ import annotations

from events.schema import NEVER


class Progress:
    """How far a run has come; another thread may read it at any time.

    Attributes:
        bytes_read: bytes of the input read so far.
        total_bytes: bytes of all of it.
        newest_ns: largest `available_at` read so far, NEVER before the first row.
    """

    def __init__(self, total_bytes: int) -> None:
        self.bytes_read = 0
        self.total_bytes = total_bytes
        self.newest_ns = NEVER
