"""Which layout a file has, by the names of its columns or, without a header, by its first row.

Names are compared in lower snake case, so that `tradeId`, `Trade ID` and `trade_id` are one name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from connectors.files.layout_names import Layout
from connectors.files.layout_table import GENERAL, LAYOUTS
from events.errors import InputError
from events.feeds import FEEDS

__all__ = [
    "GENERAL",
    "LAYOUTS",
    "Asked",
    "Binding",
    "Layout",
    "bind",
    "bind_headerless",
    "check_columns",
    "check_layout",
]

_OTHER_CANDLES: Final = re.compile(r"-(mark|index|premiumIndex)(?=[-.]|$)")
_STAMP: Final = re.compile(r"[1-4]\d{9}(\d{3}|\d{6}|\d{9})?(\.\d*)?|\d{4}-?\d\d-?\d\d.*")
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True)
class Asked:
    """What is known of a file before it is looked at.

    Attributes:
        label: the file, as messages name it.
        name: its file name.
        layout: the layout that it must have; None: the first that fits.
        columns: the columns that the user named, by role.
    """

    label: str
    name: str = ""
    layout: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Binding:
    """A layout as found in one file: its name, for each role the column of the file, and the stream, where the layout has
    several.
    """

    layout: str
    columns: Mapping[str, str] = field(default_factory=dict)
    stream: str = ""

    @property
    def feed(self) -> str:
        """The stream of its rows."""
        return self.stream or LAYOUTS[self.layout].feed


def snake(name: str) -> str:
    """A column name in lower snake case.

    >>> snake("tradeId"), snake(" Trade ID"), snake("isBuyerMaker"), snake("UnixTimestampMS")
    ('trade_id', 'trade_id', 'is_buyer_maker', 'unix_timestamp_ms')
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip().strip('"').strip())
    return re.sub(r"[\s\-./]+", "_", spaced).lower()


def check_layout(name: str) -> str:
    """The name itself, if a layout has it.

    Raises:
        InputError: no layout has it; the message names the nearest.
    """
    if name not in LAYOUTS:
        near = difflib.get_close_matches(name, LAYOUTS, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InputError(f"--layout {name!r} is not known.{hint} The layouts are {', '.join(LAYOUTS)}.")
    return name


def check_columns(columns: Mapping[str, str]) -> None:
    """Check that columns are named by roles that exist, and by roles that one file can have.

    Raises:
        InputError: a role does not exist; the message lists them.
    """
    known = dict.fromkeys(role for name in GENERAL for role in LAYOUTS[name].roles)
    for role in columns:
        if role not in known:
            near = difflib.get_close_matches(role, known, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            roles = "; ".join(f"{FEEDS[LAYOUTS[n].feed].noun}: {', '.join(LAYOUTS[n].roles)}" for n in GENERAL)
            raise InputError(f"--columns names the role {role!r}, which there is not.{hint} The roles of {roles}.")


def bind(names: Sequence[str], asked: Asked) -> Binding:
    """The layout of a file with these columns, named as they stand in it.

    >>> bind(["id", "unix_timestamp_ms", "side", "price", "quantity"], Asked("f")).columns["qty"]
    'quantity'

    Raises:
        InputError: the columns fit no layout, or not the one asked for; or they are of candles that are no trades.
    """
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(snake(name), name)
    if asked.columns:
        return _bind_named(names, found, asked)
    layout, label = asked.layout, asked.label
    for candidate in (layout,) if layout is not None else tuple(LAYOUTS):
        kind = LAYOUTS[candidate]
        columns = _roles(kind, found)
        if layout is None and not _may_be(candidate, kind, found, asked.name):
            continue
        if columns and all(role in columns for role in kind.required):
            other = _OTHER_CANDLES.search(asked.name) if candidate == "freqtrade-bars" else None
            if other is not None:
                raise InputError(f"{label} holds {other[1]} prices, which nothing is made of yet. Leave the file out.")
            return Binding(candidate, columns)
    if layout is not None:
        lacks = [role for role in LAYOUTS[layout].required if role not in _roles(LAYOUTS[layout], found)]
        wanted = "; ".join(_spelt(LAYOUTS[layout], role) for role in lacks)
        what = f"it lacks {wanted}" if lacks else "it is a table, not lines of messages"
        raise InputError(
            f"{label} does not fit --layout {layout}: {what}. {_columns(names)} Leave --layout out to have it found."
        )
    raise InputError(
        f"{label} fits no layout. {_columns(names)} Say which are which: --columns time=...,price=...,qty=... for trades, "
        "time=...,open=...,high=...,low=...,close=...,volume=... for 1m bars, time=...,rate=... for funding rates; those with "
        f"common names can be left out. Or rename the columns to those of a layout: {', '.join(LAYOUTS)}."
    )


def bind_headerless(first: Sequence[str], asked: Asked) -> Binding:
    """The layout of a file without a header, by its first row; columns are called `0`, `1`, ...

    >>> bind_headerless("1,9.5,2,19,1700000000000,True".split(","), Asked("f")).layout
    'binance-trades'
    >>> bind_headerless("1700000000000,9.5,9.7,9.4,9.6,120".split(","), Asked("f")).layout
    'tidewax-bars'

    Raises:
        InputError: the row fits no layout that exists without a header, or not the one asked for.
    """
    if asked.columns:
        names = [str(i) for i in range(len(first))]
        return _bind_named(names, dict(zip(names, names)), asked)
    for name, kind in LAYOUTS.items():
        if kind.headerless and _fits(name, kind, first) and (asked.layout or name) == name:
            columns = {role: str(i) for i, role in enumerate(kind.headerless) if role in kind.roles}
            return Binding(name, columns)
    without = ", ".join(name for name, kind in LAYOUTS.items() if kind.headerless)
    what = f"--layout {asked.layout}" if asked.layout else f"any layout without one ({without})"
    raise InputError(
        f"{asked.label} has no header and does not fit {what}; its first row is {','.join(first)[:200]!r}. "
        "Put a first line with the names of the columns into it, such as timestamp,price,qty,side,trade_id."
    )


def _may_be(candidate: str, kind: Layout, found: Mapping[str, str], name: str) -> bool:
    """Whether a file of these columns and this name can be taken for a layout that nobody asked for."""
    if candidate == "ccxt" and "instrument" in found:
        return False
    if kind.alone and len(found) != len(kind.roles):
        return False
    return kind.named in name


def _bind_named(names: Sequence[str], found: Mapping[str, str], asked: Asked) -> Binding:
    """The general layout whose roles the user named columns for; roles without one are found by common names."""
    if asked.layout is not None:
        raise InputError("--columns says what the columns mean, and so does --layout. Give one of them.")
    lacking: dict[str, list[str]] = {}
    for candidate in sorted(GENERAL, key=lambda name: -len(asked.columns.keys() & LAYOUTS[name].roles.keys())):
        kind = LAYOUTS[candidate]
        own = {role: column for role, column in asked.columns.items() if role in kind.roles}
        held = {role: found[snake(column)] for role, column in own.items() if snake(column) in found}
        columns = _roles(kind, found) | held
        lacking[candidate] = [f"{role}={column}" for role, column in own.items() if role not in held]
        lacking[candidate] += [_spelt(kind, role) for role in kind.required if role not in columns and role not in own]
        if not lacking[candidate]:
            return Binding(candidate, columns)
    nearest = next(iter(lacking))
    raise InputError(
        f"{asked.label} does not fit --columns: as {FEEDS[LAYOUTS[nearest].feed].noun} it lacks "
        f"{'; '.join(lacking[nearest])}. {_columns(names)}"
    )


def _fits(name: str, kind: Layout, first: Sequence[str]) -> bool:
    """Whether the first row of a file without a header can be of this layout."""
    width = len(kind.headerless)
    if kind.headerless[-1] == "maker":  # a second flag, whether it was the best match, may follow
        flags = [i for i, text in enumerate(first) if text.strip().lower() in ("true", "false")]
        return len(first) in (width, width + 1) and flags == list(range(width - 1, len(first)))
    if name == "tidewax-funding":
        return len(first) == width and _stamp(first[0]) and _is_number(first[1]) and abs(float(first[1])) < 0.1
    if not all(map(_is_number, first[1:])):
        return False
    if name == "lean-bars":
        return len(first) == width and _is_plain_number(first[0]) and float(first[0]) < _DAY_MS
    if name == "tidewax-bars":  # a count of trades may follow
        return len(first) in (width, width + 1) and _stamp(first[0])
    seconds = re.fullmatch(r"\s*[1-4]\d{9}(\.\d*)?\s*", first[0]) is not None  # without a unit the size must do
    return len(first) == width and all(map(_is_plain_number, first[: width - 1])) and (seconds or width == 12)


def _roles(layout: Layout, found: Mapping[str, str]) -> dict[str, str]:
    return {
        role: found[name]
        for role, names in layout.roles.items()
        for name in [next((name for name in names if name in found), None)]
        if name is not None
    }


def _spelt(layout: Layout, role: str) -> str:
    names = layout.roles.get(role, ())[:4]
    return f"{role} ({' or '.join(names)})" if names else role


def _stamp(text: str) -> bool:
    return _STAMP.fullmatch(text.strip()) is not None


def _is_plain_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d*)?", text.strip()) is not None


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < 1e300
    except ValueError:
        return False


def _columns(names: Sequence[str]) -> str:
    return f"Its columns are {', '.join(names)[:400] or 'none'}."
