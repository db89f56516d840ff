"""Two stages in one step: what the second takes of the first never leaves it, so a trade costs one activation of the engine."""

from __future__ import annotations

from typing import Any

from events.frames import Frame
from operators.core import Stage


class Chain:
    """A stage. The frames of the streams `between` go from the first stage into the second, all others of the first go out."""

    def __init__(self, first: Stage, second: Stage, between: tuple[str, ...]) -> None:
        self.first, self.second, self.between = first, second, between

    def push(self, frame: Frame) -> None:
        """Take a frame into the first stage."""
        self.first.push(frame)

    def advance(self) -> list[Frame]:
        """What goes past the second stage, then what comes out of it."""
        out = []
        for frame in self.first.advance():
            if frame.name in self.between:
                self.second.push(frame)
            else:
                out.append(frame)
        return out + self.second.advance()

    def snapshot(self) -> Any:
        """Those of both."""
        return self.first.snapshot(), self.second.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.first.restore(snapshot[0])
        self.second.restore(snapshot[1])
