"""What a core is: the contract between pure computation and the adapter that feeds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from events.frames import Array, Frame, Rows


class Core(Protocol):
    """Deterministic, free of clocks and I/O. It never sees how its input arrived, only what has become certain."""

    instrument: str
    """Whose rows it gets; set before the first of them."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The streams it makes."""
        ...

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Consume all rows not seen yet that are available before `watermark`; give (output, rows) of what follows.

        `rows` and `control` hold per stream what is new, in canonical order; streams without any are left out.
        """
        ...

    def promise(self, name: str, watermark: int) -> int:
        """The watermark of the output `name` once all input before `watermark` is consumed: a pure function, monotone."""
        ...

    def snapshot(self) -> Any:
        """Everything `restore` needs: picklable, and never changed afterwards."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        ...


class Stage(Protocol):
    """What the adapter runs for one instrument: it takes frames as they arrive and gives frames."""

    def push(self, frame: Frame) -> None:
        """Take a frame in."""
        ...

    def advance(self) -> list[Frame]:
        """The frames that follow from all that was pushed."""
        ...

    @property
    def left(self) -> bool:
        """Whether the instrument has left the universe with all that was pushed, so that the stage is not needed any more."""
        ...

    def snapshot(self) -> Any:
        """Everything `restore` needs: picklable, and never changed afterwards."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        ...
