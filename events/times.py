"""Time as data: int64 nanoseconds since 1970-01-01T00:00:00Z, and timeframes as multiples of them."""

from __future__ import annotations

import re
from typing import Final

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
HOUR_NS: Final = 60 * MINUTE_NS
DAY_NS: Final = 24 * HOUR_NS

_UNITS: Final = {"s": SECOND_NS, "m": MINUTE_NS, "h": HOUR_NS, "d": DAY_NS}


def timeframe_ns(name: str) -> int:
    """The length of the timeframe `name`, in nanoseconds.

    >>> timeframe_ns("5m")
    300000000000

    Raises:
        ValueError: the name is not a number and one of s, m, h, d; or the length is no multiple of 1m (the base
            timeframe), or it neither divides a day nor is a multiple of one.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})([smhd])", name)
    if match is None:
        raise ValueError(
            f"{name!r} is not a timeframe: write a number and one of s, m, h, d, such as 1m, 5m, 30m, 4h, 1d"
        )
    length = int(match[1]) * _UNITS[match[2]]
    if length % MINUTE_NS:
        raise ValueError(f"timeframe {name!r} is not a multiple of 1m, the base of all time bars")
    if DAY_NS % length and length % DAY_NS:
        raise ValueError(
            f"timeframe {name!r} neither divides a day nor is a multiple of one, so its bars would not begin at 00:00 UTC"
        )
    return length


def iso(ts_ns: int) -> str:
    """A time as people read it, in UTC, with as many digits of the second as it needs.

    >>> iso(1_700_001_000 * SECOND_NS), iso(1_700_001_000 * SECOND_NS + 5_000_000)
    ('2023-11-14T22:30:00Z', '2023-11-14T22:30:00.005Z')
    """
    days, rest = divmod(ts_ns, DAY_NS)
    # Civil date from a day count (Howard Hinnant's algorithm): exact over the whole int64 range, without a time zone.
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    month = month_index + 3 if month_index < 10 else month_index - 9
    year = year_of_era + era * 400 + (month <= 2)
    seconds, nanoseconds = divmod(rest, SECOND_NS)
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    return (
        f"{year:04d}-{month:02d}-{day:02d}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}Z"
    )


def day_name(ts_ns: int) -> str:
    """The UTC day of a time.

    >>> day_name(1_700_001_000 * SECOND_NS)
    '2023-11-14'
    """
    return iso(ts_ns)[:10]
