"""Stages made of stages: two in one step, of which the second takes what the first makes; one of several, as the input has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from events.frames import Frame
from operators.core import Stage


class Chain:
    """A stage. The frames of the streams `between` go from the first stage into the second, all others of the first go out.

    What the second takes of the first never leaves the step, so a trade costs one activation of the engine.
    """

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

    @property
    def left(self) -> bool:
        """Whether the instrument has left both."""
        return self.first.left and self.second.left

    def snapshot(self) -> Any:
        """Those of both."""
        return self.first.snapshot(), self.second.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.first.restore(snapshot[0])
        self.second.restore(snapshot[1])


class Beside:
    """A stage. Stages that stand beside each other, each with streams of its own.

    Args:
        stages: each stage by the streams that it takes; no stream is of two of them.
    """

    def __init__(self, stages: Mapping[tuple[str, ...], Stage]) -> None:
        self.stages = tuple(stages.values())
        self.place = {name: k for k, names in enumerate(stages) for name in names}
        self.pushed: set[int] = set()
        self.begun: set[int] = set()

    def push(self, frame: Frame) -> None:
        """Take a frame into the stage that it is of."""
        place = self.place[frame.name]
        self.pushed.add(place)
        self.begun.add(place)
        self.stages[place].push(frame)

    def advance(self) -> list[Frame]:
        """What comes out of each that something was pushed into."""
        places, self.pushed = sorted(self.pushed), set()
        return [frame for place in places for frame in self.stages[place].advance()]

    @property
    def left(self) -> bool:
        """Whether the instrument has left each that it was ever in."""
        return all(self.stages[place].left for place in self.begun)

    def snapshot(self) -> Any:
        """Those of all, and which have begun."""
        return tuple(sorted(self.begun)), tuple(stage.snapshot() for stage in self.stages)

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.begun = set(snapshot[0])
        for stage, held in zip(self.stages, snapshot[1]):
            stage.restore(held)


class Either:
    """A stage. Which of several it is, the first frame decides by its stream.

    Args:
        stages: makes the stage for an instrument that has these streams; no stream is of two stages.
    """

    def __init__(self, stages: Mapping[tuple[str, ...], Callable[[], Stage]]) -> None:
        self.stages = stages
        self.names: tuple[str, ...] = ()
        self.stage: Stage | None = None

    def push(self, frame: Frame) -> None:
        """Take a frame in.

        Raises:
            ValueError: it is of another stream than those before.
        """
        if self.stage is None:
            self._begin(next(names for names in self.stages if frame.name in names))
        if frame.name not in self.names:
            raise ValueError(f"{frame.instrument} has {self.names[0]} and {frame.name}: bars are made of one of them")
        assert self.stage is not None
        self.stage.push(frame)

    def advance(self) -> list[Frame]:
        """What comes out of the stage."""
        return self.stage.advance() if self.stage is not None else []

    @property
    def left(self) -> bool:
        """Whether the instrument has left the stage that it is."""
        return self.stage is None or self.stage.left

    def _begin(self, names: tuple[str, ...]) -> None:
        self.names, self.stage = names, self.stages[names]()

    def snapshot(self) -> Any:
        """Which stage it is, and its snapshot."""
        return (self.names, self.stage.snapshot()) if self.stage is not None else None

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        if snapshot is not None:
            self._begin(snapshot[0])
            assert self.stage is not None
            self.stage.restore(snapshot[1])
