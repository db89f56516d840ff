"""A sink that keeps nothing: it tells others of what leaves the graph, as soon as it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from events.frames import Frame

Watcher = Callable[[Frame], None]
"""Takes a frame that has rows."""

PARTITION: Final = "watch"


class WatchSink(FixedPartitionedSink[Frame, None]):
    """Hands each frame with rows to every watcher, in the thread of the engine.

    After a kill it tells again what it had told since the last snapshot; a watcher that minds looks at the times of the rows.

    Args:
        watchers: they must be quick, and never raise.
    """

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def list_parts(self) -> list[str]:
        """One partition."""
        return [PARTITION]

    def part_fn(self, item_key: str) -> int:
        """Every key goes to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> WatchPartition:
        """The partition; it has no state."""
        return WatchPartition(self._watchers)


class WatchPartition(StatefulSinkPartition[Frame, None]):
    """Hands frames on."""

    def __init__(self, watchers: tuple[Watcher, ...]) -> None:
        self._watchers = watchers

    def write_batch(self, values: list[Frame]) -> None:
        """Tell of those with rows."""
        for frame in values:
            if len(frame.rows):
                for watcher in self._watchers:
                    watcher(frame)

    def snapshot(self) -> None:
        """Nothing: it keeps nothing."""
