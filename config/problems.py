"""What is wrong with settings, and where: one line per problem."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

Path = tuple[str | int, ...]
"""Where a setting stands in the tree: names of mappings, places in lists."""

HIDDEN = "**********"
"""What is shown of a secret."""


@dataclass(frozen=True)
class Origin:
    """Where a setting was given.

    Attributes:
        source: the file, `environment NAME`, or `arguments`.
        line: line in the file, counted from 1; 0 where there is none.
        template: the scalar as written where it refers to the environment, else None.
        secret: whether its value must not be shown.
        text: the value as text where it is secret, to keep it out of messages.
    """

    source: str
    line: int = 0
    template: str | None = None
    secret: bool = False
    text: str = ""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True)
class Problem:
    """One wrong setting.

    >>> str(Problem(Origin("my.yaml", 3), ("bars", "tiem"), "is unknown"))
    'my.yaml:3: bars.tiem: is unknown'
    """

    origin: Origin
    path: Path
    message: str

    def __str__(self) -> str:
        where = f"{self.origin}: {dotted(self.path)}" if self.path else str(self.origin)
        return f"{where}: {self.message}"


def dotted(path: Path) -> str:
    """The path as people write it.

    >>> dotted(("indicators", "talib", 0, "fn"))
    'indicators.talib.0.fn'
    """
    return ".".join(map(str, path))


def related(a: Path, b: Path) -> bool:
    """Whether one of the paths leads to the other.

    >>> related(("bars",), ("bars", "time")), related(("bars", "time"), ("bars", "max_fill"))
    (True, False)
    """
    n = min(len(a), len(b))
    return a[:n] == b[:n]


def meant(given: str, known: Iterable[str]) -> str:
    """A question after the nearest known name, or nothing.

    >>> meant("tiem", ["time", "max_fill"])
    '; did you mean time?'
    """
    names = {name.lower(): name for name in known}
    close = get_close_matches(given.lower(), names, 1)
    return f"; did you mean {names[close[0]]}?" if close else ""


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each problem once: those of the file by line, then the others."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda p: (not p.origin.line, p.origin.line, p.origin.source)))


def said(name: str, problems: tuple[Problem, ...]) -> str:
    """All problems as text: how many there are, then a line for each."""
    head = f"{name}: {len(problems)} wrong setting{'s' * (len(problems) > 1)}"
    return "\n".join([head, *map(str, problems)])
