"""The declaration of an indicator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from events.frames import Array

BAR_INPUTS: Final = ("open", "high", "low", "close", "volume")
"""The bar columns that the runtime keeps, and that an indicator may ask for."""


class Handle(Protocol):
    """A streaming form of an indicator: goes on from the bars it was opened on, bit for bit as the function over all of them."""

    value: Any

    def update(self, *inputs: float) -> Any:
        """The value(s) with one more bar."""
        ...


class Wide(Protocol):
    """The memory of one indicator over the bars of one timeframe."""

    def advance(self, bars: Array) -> tuple[Array, Array, list[tuple[int, str]]]:
        """(values, statuses) of new bars, BAR rows: two blocks of (bar, column); a value is NaN from status COLD on. And (row, what
        was raised) of the bars that failed.
        """
        ...

    def settled_from(self, g: Array) -> Array:
        """Index of the newest bar that a memory may begin with for its values at bars `g` to be settled, if no bar is missing."""
        ...

    def snapshot(self) -> Any:
        """Everything `restore` needs: picklable, and never changed afterwards."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        ...


@dataclass(frozen=True)
class Flat:
    """What to publish on a flat window, where a library's 0 would read as an extreme.

    The window is flat when `bars` bars in a row had one price; with `closes`, when as many closes were equal and the function
    gave exactly 0.
    """

    value: float
    bars: int
    closes: bool = False


@dataclass(frozen=True)
class Indicator:
    """`columns` of a function of bar columns.

    The value at bar index g is that of `function` over the bars from (g // history - 1) * history to g. The function must be
    causal (a value never depends on later bars) and give arrays of the length of its inputs, NaN where it has too few bars.

    Attributes:
        columns: names of the results, in order.
        function: called with one contiguous float64 array per input; gives an array, or a tuple of them.
        inputs: what it takes: bar columns (`BAR_INPUTS`), or columns of other indicators, NaN where those have no value.
        history: H, a power of two, at least `stable`.
        stable: bars from which on older ones weigh less than 1e-8; values of fewer bars are warming.
        lookback: bars before the first value.
        source: what identifies the computation: function and parameters, plain data.
        open: makes a streaming handle on given bars, or None; it may raise LookupError or ValueError where bars are too few.
        flat: what to publish on flat windows.
        newest: whether the function takes, as `since`, the first row that is asked for, so that it need not compute those before.
        windowed: whether a value is made, bit for bit, of the last `lookback` + 1 bars alone, so that older ones need not be given.
        silent: whether the function gives, after its columns, one more that is true where it is ready but has no opinion.
        wide: makes, for a timeframe in ns, a memory that takes whole bars and gives values and statuses in place of the
            function, which then only says what they are: for what the bars of a history do not hold.
        timeframes: where it is computed, None for everywhere; elsewhere its columns are silent.
    """

    columns: tuple[str, ...]
    function: Callable[..., Any]
    inputs: tuple[str, ...]
    history: int
    stable: int
    lookback: int
    source: tuple[Any, ...]
    open: Callable[..., Handle] | None = None
    flat: Flat | None = None
    silent: bool = False
    newest: bool = False
    windowed: bool = False
    wide: Callable[[int], Wide] | None = None
    timeframes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.history & (self.history - 1) or self.history < max(self.stable, self.lookback + 1):
            raise ValueError(
                f"indicator {self.columns[0]}: its history of {self.history} bars must be a power of two and at least its "
                f"stable length ({self.stable}) and lookback + 1 ({self.lookback + 1})"
            )

    def batch(self, *inputs: Array, since: int = 0) -> tuple[Array, ...]:
        """Its columns over these bars; rows before `since` may be left out by functions that can."""
        out = self.function(*inputs, since=since) if self.newest else self.function(*inputs)
        return out if isinstance(out, tuple) else (out,)

    def identity(self) -> list[Any]:
        """What of it decides the values, as plain data."""
        flat = self.flat and [self.flat.value, self.flat.bars, self.flat.closes]
        made = [list(self.columns), list(self.source), list(self.inputs), self.history, self.stable, flat, self.silent]
        return made if self.timeframes is None else [*made, list(self.timeframes)]
