"""The declaration of a score column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from events.frames import Array


def as_it_is(u: Array) -> Array:
    """A column that is a direction already."""
    return u


@dataclass(frozen=True)
class Score:
    """A direction u in [-1, 1] made of feature columns of the same bar.

    Attributes:
        name: of the feature in the specification, such as "rsi".
        dimension: which dimension it votes in.
        weight: inside the dimension.
        needs: the columns it takes: of indicators, or of the bar ("close").
        function: row-wise: arrays in, one array out; what it gives where an input is missing does not count.
        source: of a plugin, what identifies the computation, plain data.
    """

    name: str
    dimension: str
    weight: float
    needs: tuple[str, ...]
    function: Callable[..., Array]
    source: tuple[Any, ...] = ()

    @property
    def column(self) -> str:
        """Its name among the columns of a feature row."""
        return f"{self.dimension}.{self.name}"

    def identity(self) -> list[Any]:
        """What of it decides the values, as plain data."""
        return [self.column, self.weight, list(self.needs), *self.source]
