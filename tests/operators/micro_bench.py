"""The core of microstructure over rows made by hand: streams in, columns by name out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from lab import ALL, KEY, deliver, drive

from events.feeds import FEEDS
from events.frames import Array
from events.rows import BAR
from events.times import MINUTE_NS
from operators.microstructure.micro import MICRO_INDEX, Micro
from operators.microstructure.part import INPUTS, MicroSettings

T = 1_700_006_400_000_000_000


def bars(closes: Any, timeframe_ns: int = MINUTE_NS, first: int = T) -> Array:
    """Bars with these closes, their highs and lows one above and below; the first ends at `first`."""
    out = np.zeros(len(closes), BAR)
    out["ts_close"] = out["available_at"] = first + np.arange(len(closes)) * timeframe_ns
    out["ts_open"] = out["ts_close"] - timeframe_ns
    out["g"] = out["ts_open"] // timeframe_ns
    out["open"] = out["close"] = closes
    out["high"], out["low"] = out["close"] + 1.0, out["close"] - 1.0
    return out


def rows(stream: str, at: Any, **fields: Any) -> Array:
    """Rows of an input stream at these times."""
    out = np.zeros(len(at), FEEDS[stream].dtype)
    out["available_at"] = out["ts_recv"] = at
    out["seq"] = np.arange(len(at))
    for field, values in fields.items():
        out[field] = values
    return out


def micro(
    given: Array, streams: Mapping[str, Array], timeframe: tuple[str, int] = ("1m", MINUTE_NS), **settings: Any
) -> Array:
    """The rows that the core makes; `streams` by the names that the core knows, such as book.1m."""
    name, length = timeframe
    asked = {"book.1m": "book", "top.1m": "top"}
    has = {asked.get(stream, stream) for stream in streams}
    made = MicroSettings(tuple(stream for stream in INPUTS if stream in has), **settings)
    inputs = {f"bars.{name}": given, **streams}
    end = int(given["available_at"][-1]) + 2 * MINUTE_NS
    out = drive(lambda: Micro(name, length, made), inputs, deliver(inputs, ALL, end=end, key=KEY))
    found: Array = out[f"micro.{name}"]
    return found


def column(out: Array, name: str) -> Array:
    """The values of a column."""
    found: Array = out["values"][:, MICRO_INDEX[name]]
    return found


def status(out: Array, name: str) -> Array:
    """The statuses of a column."""
    found: Array = out["status"][:, MICRO_INDEX[name]]
    return found
