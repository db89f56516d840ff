"""`--set a.b=1,2`: settings given one by one, some with several values, and all combinations of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Final

from config.grammar import is_secret_name
from config.loader import resolve
from config.problems import Origin, Path, Problem, dotted, in_order, said
from config.settings import Settings
from events.errors import SettingsError

MOST: Final = 1_000
"""Combinations of one grid."""
_OPENING, _CLOSING, _QUOTES = "[{(", "]})", "\"'"


@dataclass(frozen=True)
class Point:
    """One combination: what was given for it, as (dotted path, YAML text), and the settings that it makes."""

    given: tuple[tuple[str, str], ...]
    settings: Settings


@dataclass(frozen=True)
class _Axis:
    path: Path
    values: tuple[str, ...]
    origin: Origin


def split_values(text: str) -> tuple[str, ...]:
    """The values between commas; commas in brackets and quotes belong to a value. None twice.

    >>> split_values("1.5, 2,2"), split_values("[1m,5m],[1m]"), split_values("")
    (('1.5', '2'), ('[1m,5m]', '[1m]'), ('',))
    """
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES and not parts[-1].strip():
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character == "," and depth <= 0:
            parts.append("")
            continue
        parts[-1] += character
    return tuple(dict.fromkeys(part.strip() for part in parts))


def grid(
    name: str | None,
    texts: Sequence[str],
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Point, ...]:
    """The settings of every combination, the last axis running fastest; one point where no text has several values.

    Args:
        name: as for `load`.
        texts: `path=value` or `path=value,value`; these win over all else. A list is written as [...].
        overrides: as for `load`.
        environ: as for `resolve`.

    Raises:
        SettingsError: settings are wrong; the text has a line for each, of all combinations.

    >>> [point.settings.signals.stop_atr for point in grid(None, ["signals.stop_atr=1.5,2"], environ={})]
    [1.5, 2.0]
    """
    problems: list[Problem] = []
    axes = _axes(texts, problems)
    size = prod(len(axis.values) for axis in axes)
    if size > MOST:
        raise SettingsError(f"--set: {size:,} combinations are more than {MOST:,}: give fewer values")
    points: list[Point] = []
    title = ""
    for values in product(*(axis.values for axis in axes)):
        assigned = [(axis.path, value, axis.origin) for axis, value in zip(axes, values)]
        resolved = resolve(name, overrides, environ, assigned)
        title = resolved.name
        problems += resolved.problems
        if not problems:
            given = tuple((dotted(axis.path), value) for axis, value in zip(axes, values))
            points.append(Point(given, resolved.settings))
    if problems:
        raise SettingsError(said(title, in_order(problems)))
    return tuple(points)


def _axes(texts: Sequence[str], problems: list[Problem]) -> list[_Axis]:
    axes: dict[Path, _Axis] = {}
    for text in texts:
        left, equals, right = text.partition("=")
        path = tuple(left.strip().split("."))
        secret = is_secret_name(path[-1])
        origin = Origin(f"--set {left if secret else text}", secret=secret, text=right if secret else "")
        values = split_values(right)
        if not equals or not all(path):
            problems.append(Problem(Origin(f"--set {text}"), (), "is not path=value, such as signals.stop_atr=2"))
        elif path in axes:
            problems.append(Problem(origin, path, "is given twice; put all its values into one --set, with commas"))
        elif len(values) > 1 and "" in values:
            problems.append(Problem(origin, path, "has an empty value between its commas; nothing is written null"))
        else:
            axes[path] = _Axis(path, values, origin)
    return list(axes.values())
