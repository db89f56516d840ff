"""Reference values that others printed: their files read, and ours held against them to the digits that were printed."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from operators.indicators import talib_indicator

ABSENT = ("", "NaN", "None")
WORDS = ("timestamp", "pointType", "isReversal", "highTrend", "lowTrend")  # columns of words in the JSON files
NOISE = 1e-9
"""What sums of doubles in another order may differ by, as a share of the value."""


class Printed(NamedTuple):
    """A column as it was printed: values, NaN where there are none, and half a unit of the last digit of each."""

    values: np.ndarray
    half: np.ndarray


def printed(tokens):
    """Read numbers: 1.50 is known to 0.005, 2.5E+03 to 50."""
    values, half = np.full(len(tokens), np.nan), np.zeros(len(tokens))
    for i, token in enumerate(tokens):
        if token not in ABSENT:
            mantissa, _, exponent = token.lower().partition("e")
            values[i] = float(token)
            half[i] = 0.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return Printed(values, half)


def read_table(path: Path) -> dict[str, Printed]:
    """The columns of numbers of a CSV file, or of a JSON list of records."""
    if path.suffix == ".json":
        records = json.loads(path.read_text(), parse_float=str, parse_int=str)
        return {n: printed([str(record[n]) for record in records]) for n in records[0] if n not in WORDS}
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file) if row]
    out = {}
    for k, name in enumerate(header):
        if name and not re.match(r"(?i).*(date|time)$", name):
            out[name.strip()] = printed([row[k].strip() if k < len(row) else "" for row in rows])
    return out


class Block(NamedTuple):
    """A test of tulip's files: the indicator, its options, and rows of numbers, inputs first."""

    name: str
    options: tuple[float, ...]
    rows: list[Printed]


def read_tulip(path: Path) -> list[Block]:
    """All blocks of a file, in its order."""
    out: list[Block] = []
    for line in path.read_text().splitlines():
        if re.match(r"[a-z]", line):
            name, *options = line.split()
            out.append(Block(name, tuple(map(float, options)), []))
        elif line.startswith("{"):
            out[-1].rows.append(printed(re.findall(r"[-+.\w]+", line)))
    return out


def ours(fn, parameters, columns, lead=0):
    """All outputs of a TA-Lib indicator over whole columns, as the runtime calls it.

    With a `lead`, the first row stands in front that many times more: a recursion that we begin with a mean then begins with the
    first value, as that of many others does.
    """
    indicator = talib_indicator(fn, **parameters)
    columns = {name: np.concatenate([np.full(lead, column[0]), column]) for name, column in columns.items()}
    return [column[lead:] for column in indicator.batch(*(columns[name] for name in indicator.inputs))]


def compared(got, want: Printed, since=0, within=None, but=()):
    """How many values were compared: those they print from bar `since` on for which we have begun, without the bars `but`.

    `within` widens the half unit of the last digit.
    """
    begun = int(np.argmax(np.isfinite(got)))
    rows = np.flatnonzero(np.isfinite(want.values))
    rows = rows[(rows >= max(since, begun)) & ~np.isin(rows, but)]
    allowed = want.half[rows] if within is None else within
    np.testing.assert_array_less(
        np.abs(got[rows] - want.values[rows]),
        allowed * (1 + 1e-6) + NOISE * np.maximum(np.abs(want.values[rows]), 1e-3),
    )
    return len(rows)
