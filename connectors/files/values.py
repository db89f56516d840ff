"""Columns of numbers, ids and sides, of whatever type a file gives them, to the fields of a trade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from events.identity import id_hash
from events.schema import NEVER

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_FEW: Final = 8
BAD_SIDE_CODE: Final = 2
"""Stands for a side that is none; the checks of rows refuse it as BAD_SIDE."""

UNSAID: Final = -1
"""Neither true nor false."""

_SIDES: Final = {
    "buy": 1,
    "b": 1,
    "bid": 1,
    "1": 1,
    "+1": 1,
    "1.0": 1,
    "sell": -1,
    "s": -1,
    "ask": -1,
    "-1": -1,
    "-1.0": -1,
}
_NO_SIDE: Final = ("", "0", "0.0", "none", "null", "nan", "unknown", "n/a")
_TRUE: Final = ("true", "t", "1", "1.0")
_FALSE: Final = ("false", "f", "0", "0.0")


def numbers(column: pl.Series) -> tuple[Floats, Mask | None]:
    """The values as float64, and where there is none or no number (NaN there); None if nowhere."""
    if column.dtype == pl.String:
        column = column.str.strip_chars().cast(pl.Float64, strict=False)
    elif column.dtype != pl.Float64:
        column = column.cast(pl.Float64, strict=False)
    bad = column.is_null().to_numpy() if column.null_count() else None
    return column.to_numpy(), bad


def ids(column: pl.Series | None, count: int) -> tuple[Integers, Integers]:
    """`trade_id` and `seq` of rows with these ids; `seq` is NEVER where a counter has to give it.

    >>> trade_id, seq = ids(pl.Series(["17", "a-1", None]), 3)
    >>> seq.tolist() == [17, NEVER, NEVER], int(trade_id[0]), bool(trade_id[1] < 0), int(trade_id[2]) == NEVER
    (True, 17, True, True)
    """
    if column is None or column.dtype == pl.Null:
        none = np.full(count, NEVER)
        return none, none
    if column.dtype.is_float():
        whole = column.cast(pl.Float64).fill_nan(None)
        column = whole.cast(pl.Int64, strict=False) if bool((whole == whole.floor()).all()) else whole.cast(pl.String)
    if column.dtype.is_integer():
        known = column.cast(pl.Int64, strict=False)
        seq = _filled(known, NEVER).to_numpy()
        if known.null_count() == 0 and (not count or int(seq.min()) >= 0):
            return seq, seq
        odd = column.is_not_null() & (known.is_null() | (known < 0))
    else:
        column = column.cast(pl.String).str.strip_chars()
        known = column.cast(pl.Int64, strict=False)
        spelt = column.str.contains(r"^[+-]|^0\d")  # not the one spelling of an integer, so it may not count as one
        odd = (column != "") & (known.is_null() | spelt)
        odd = odd.fill_null(value=False)
        seq = known.fill_null(NEVER).to_numpy()
    if not odd.any():
        return seq, seq
    where = odd.to_numpy()
    seq = np.where(where, NEVER, seq)
    trade_id = seq.copy()
    trade_id[where] = [id_hash(text) for text in column.filter(odd).cast(pl.String).to_list()]
    return trade_id, seq


def sides(column: pl.Series) -> NDArray[np.int32]:
    """Taker sides: +1, -1, 0 where it is not said, BAD_SIDE_CODE where it is something else.

    >>> sides(pl.Series(["buy", "SELL", "", "up"])).tolist(), sides(pl.Series([1, -1, 0, 7])).tolist()
    ([1, -1, 0, 2], [1, -1, 0, 2])
    """
    if column.dtype == pl.Null:
        return np.zeros(len(column), np.int32)
    if column.dtype.is_numeric():
        given = _filled(column, 0).to_numpy()
        if column.dtype.is_integer() and (not len(given) or (given.min() >= -1 and given.max() <= 1)):
            return given.astype(np.int32)
        return np.where(np.isin(given, (-1, 0, 1)), given, np.where(np.isnan(given), 0, BAD_SIDE_CODE)).astype(np.int32)
    return _by_text(column, lambda text: _SIDES.get(text, 0 if text in _NO_SIDE else BAD_SIDE_CODE))


def sides_of_maker(column: pl.Series) -> NDArray[np.int32]:
    """Taker sides by whether the buyer was the maker: then the taker sold.

    >>> sides_of_maker(pl.Series(["True", "false", ""])).tolist()
    [-1, 1, 0]
    """
    if column.dtype == pl.Boolean:
        sold = column.cast(pl.Int32).fill_null(-1).to_numpy()
        return np.where(sold < 0, 0, 1 - 2 * sold).astype(np.int32)

    def side(text: str) -> int:
        return -1 if text in _TRUE else 1 if text in _FALSE else 0 if text in _NO_SIDE else BAD_SIDE_CODE

    return _by_text(column, side)


def positions(column: pl.Series) -> NDArray[np.int32]:
    """Positions: +1 long, -1 short, BAD_SIDE_CODE where it is neither.

    >>> positions(pl.Series(["long", "Short", "up"])).tolist(), positions(pl.Series([1, -1, 0])).tolist()
    ([1, -1, 2], [1, -1, 2])
    """
    words = {"long": 1, "1": 1, "+1": 1, "1.0": 1, "short": -1, "-1": -1, "-1.0": -1}
    found = _by_text(column, lambda text: words.get(text, BAD_SIDE_CODE))
    found[column.is_null().to_numpy()] = BAD_SIDE_CODE
    return found


def places(column: pl.Series, words: Sequence[str]) -> NDArray[np.int32]:
    """The place of each text among these words, -1 where it is none of them; a number is the place itself.

    >>> places(pl.Series(["delta", "Snapshot", ""]), ("delta", "snapshot")).tolist()
    [0, 1, -1]
    >>> places(pl.Series([1, 2, None]), ("delta", "snapshot")).tolist()
    [1, -1, -1]
    """
    numbered = {str(number): place for place in range(len(words)) for number in (place, float(place))}
    known = {word: place for place, word in enumerate(words)} | numbered
    found = _by_text(column, lambda text: known.get(text, -1))
    found[column.is_null().to_numpy()] = -1
    return found


def integers(column: pl.Series) -> tuple[Integers, Mask]:
    """The values as int64, NEVER where there is none; and where there is something else than an integer.

    >>> values, bad = integers(pl.Series(["17", "", "x"]))
    >>> values.tolist() == [17, NEVER, NEVER], bad.tolist()
    (True, [False, False, True])
    """
    if column.dtype == pl.Null:
        return np.full(len(column), NEVER), np.zeros(len(column), np.bool_)
    none = column.is_null().to_numpy()
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        none = none | (column == "").fill_null(value=True).to_numpy()
        column = column.str.replace(r"\.0*$", "")  # as whole numbers beside missing ones are often written
    elif column.dtype.is_float():
        column = column.fill_nan(None)
        none = none | column.is_null().to_numpy()
        column = column.set(column != column.floor(), None)
    known = column.cast(pl.Int64, strict=False)
    return _filled(known, NEVER).to_numpy(), known.is_null().to_numpy() & ~none


def truths(column: pl.Series) -> NDArray[np.int32]:
    """1 where it says true, 0 where it says false, UNSAID where it says neither.

    >>> truths(pl.Series(["True", "0", ""])).tolist()
    [1, 0, -1]
    """
    if column.dtype == pl.Boolean:
        return column.cast(pl.Int32).fill_null(UNSAID).to_numpy()
    told = _by_text(column, lambda text: 1 if text in _TRUE else 2 if text in _FALSE else 3)
    return np.where(told == 1, 1, np.where(told == 2, 0, UNSAID)).astype(np.int32)


def _by_text(column: pl.Series, code: Callable[[str], int]) -> NDArray[np.int32]:
    """A code for each text, found once per text that occurs; 0 for null."""
    column = column.cast(pl.String)
    out = np.zeros(len(column), np.int32)
    left = np.ones(len(column), np.bool_)
    for _ in range(_FEW):  # comparing with the few texts that there are takes a fifth of finding them by hashing
        first = int(np.argmax(left)) if len(left) else 0
        if not left.any():
            return out
        text = column[first]
        same = column.is_null().to_numpy() if text is None else _filled(column == text, False).to_numpy()
        out[same] = 0 if text is None else code(text.strip().lower())
        left &= ~same
    texts = column.unique().to_list()
    codes = [0 if text is None else code(text.strip().lower()) for text in texts]
    return column.replace_strict(texts, codes, return_dtype=pl.Int32).to_numpy()


def _filled(column: pl.Series, value: int | bool) -> pl.Series:
    return column.fill_null(value) if column.null_count() else column
