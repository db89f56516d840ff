"""What a request to Binance asks for, and the errors it gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connectors.simulator.venue import Refused
from events.times import timeframe_ns

MS: Final = 1_000_000
_FAR_MS: Final = 1 << 42


def refused(code: int, message: str) -> Refused:
    """An error as Binance gives it."""
    return Refused(400, {"code": code, "msg": message})


def number(query: Mapping[str, str], name: str, default: int) -> int:
    """A whole number of a query.

    Raises:
        Refused: it is none.
    """
    text = query.get(name, str(default))
    if not text.isascii() or not text.isdigit():
        raise refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(text)


def interval_ns(query: Mapping[str, str], name: str) -> int:
    """The length of an interval that a query names.

    Raises:
        Refused: there is none of that name.
    """
    try:
        return timeframe_ns(query.get(name, ""))
    except ValueError:
        raise refused(-1120, f"Invalid {name}.") from None


def since_ns(query: Mapping[str, str]) -> int:
    """The time at which what is asked for begins."""
    return number(query, "startTime", 0) * MS


def until_ns(query: Mapping[str, str]) -> int:
    """The last moment of what is asked for."""
    return number(query, "endTime", _FAR_MS) * MS


def page(query: Mapping[str, str], every_ns: int, origin_ns: int, last_ns: int, default: int, most: int) -> range:
    """Which of the multiples of `every_ns` from the origin on a query asks for, as numbers.

    They are the first ones if it says where to begin, the newest if not.
    """
    first = max(-(-since_ns(query) // every_ns), -(-origin_ns // every_ns))
    numbers = range(first, min(last_ns, until_ns(query)) // every_ns + 1)
    limit = min(number(query, "limit", default), most)
    return numbers[:limit] if "startTime" in query else numbers[max(len(numbers) - limit, 0) :]
