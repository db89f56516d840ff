"""Deterministic identities: ids, canonical JSON, the analysis hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeVar

T = TypeVar("T")

ANALYSIS_SECTIONS: Final = (
    "alerts",
    "bars",
    "confluence",
    "dimensions",
    "indicators",
    "instruments",
    "outcomes",
    "signals",
)


def id_of(*parts: object) -> str:
    """The id made of these parts: 16 hex digits.

    >>> id_of("bar", "binance:BTC/USDT", "time", "1m", 1700001000000000000)
    'd9a40501517f15d7'
    """
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]


def is_spot(instrument: str) -> bool:
    """Whether a name is of a spot market: derivatives also say what they are settled in.

    >>> is_spot("binance:BTC/USDT"), is_spot("binance:BTC/USDT:USDT")
    (True, False)
    """
    return instrument.count(":") == 1


def like(instrument: str) -> str:
    """The name that stands for all instruments of an exchange and market type, in tables of a run whose instruments change.

    >>> like("binance:BTC/USDT"), like("binance:BTC/USDT:USDT")
    ('binance:*', 'binance:*:*')
    """
    exchange = instrument.partition(":")[0]
    return f"{exchange}:*" if is_spot(instrument) else f"{exchange}:*:*"


def entry(table: Mapping[str, T], instrument: str, otherwise: T) -> T:
    """What a table has of an instrument, or of all that are like it.

    >>> entry({"binance:*": 1}, "binance:BTC/USDT", 0), entry({"binance:*": 1}, "kraken:BTC/USD", 0)
    (1, 0)
    """
    return table.get(instrument, table.get(like(instrument), otherwise))


def is_among(instrument: str, names: Collection[str]) -> bool:
    """Whether an instrument is among these, by its own name or by that of all that are like it.

    >>> is_among("binance:BTC/USDT", {"binance:*"}), is_among("binance:BTC/USDT:USDT", {"binance:*"})
    (True, False)
    """
    return instrument in names or like(instrument) in names


def id_hash(trade_id: str) -> int:
    """A trade id that is not an integer, as a 64-bit one; negative, so that it never meets an integer id.

    >>> id_hash("b2f0-11") < 0
    True
    """
    return -1 - (int.from_bytes(hashlib.blake2b(trade_id.encode(), digest_size=8).digest(), "big") >> 1)


def _clean(value: Any) -> Any:
    if isinstance(value, float):
        return None if not math.isfinite(value) else value + 0.0
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items() if key != "emitted_at"}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def canonical_json(value: Any) -> str:
    """JSON with one spelling for one value: sorted keys, no white space, NaN as null, -0.0 as 0.0, without `emitted_at`.

    >>> canonical_json({"b": float("nan"), "a": -0.0})
    '{"a":0.0,"b":null}'
    """
    return json.dumps(_clean(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def tree_hash(tree: Any) -> str:
    """16 hex digits that identify a tree of plain data.

    >>> tree_hash({"a": 1}) == tree_hash({"a": 1})
    True
    """
    return hashlib.sha256(canonical_json(tree).encode()).hexdigest()[:16]


def analysis_hash(tree: Mapping[str, Any]) -> str:
    """The hash of everything that decides what is computed; sources, sinks, chunk sizes and paths are not in it.

    Args:
        tree: the resolved settings; sections other than those of the analysis are ignored, absent ones count as empty.

    >>> analysis_hash({"outcomes": {"fee_bps": 5.0}}) == analysis_hash({"outcomes": {"fee_bps": 5.0}, "sinks": {"a": 1}})
    True
    """
    return tree_hash({section: tree.get(section, {}) for section in ANALYSIS_SECTIONS})
