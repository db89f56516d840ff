"""The files of a run: opened, recognised, and held against each other before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from connectors.files.decode import BadRows, Block
from connectors.files.instruments import check_exchange, check_instrument
from connectors.files.layouts import Asked, check_columns, check_layout
from connectors.files.reader import BLOCK_ROWS, FileInput, recognise
from connectors.files.storage import kind_of, members
from events.errors import InputError
from events.feeds import DRIVING, FEEDS, TRADES
from events.identity import id_of
from events.times import MINUTE_NS, iso

_FULL_BLOCKS: Final = 16
"""So many instruments are read in full blocks; more of them share that memory."""
_FEWEST_ROWS: Final = 4_096


@dataclass(frozen=True)
class Inputs:
    """The files of a run, whose heads have been read.

    Attributes:
        files: the files; each member of a zip is one.
        first_ns: the time from which the first row of each may be used.
        heads: the instruments of the first rows of each.
        bad_rows: what becomes of rows that cannot be used: `refuse` or `dead-letter`.
        block_rows: how many rows of a file are read at a time at most.
    """

    files: tuple[FileInput, ...]
    first_ns: tuple[int, ...]
    heads: tuple[tuple[str, ...], ...]
    bad_rows: BadRows
    block_rows: int = BLOCK_ROWS

    @property
    def instruments(self) -> tuple[str, ...]:
        """The instruments of the heads, in the order of the files; a file of several may bring more later."""
        return tuple(dict.fromkeys(name for head in self.heads for name in head))

    @property
    def feeds(self) -> frozenset[str]:
        """The streams of the run."""
        return frozenset(file.feed for file in self.files)

    @property
    def lacking(self) -> dict[str, frozenset[str]]:
        """The streams beside bars that an instrument has no file of, though the run has; empty while rows may bring them."""
        if any(file.instrument is None for file in self.files):
            return {}
        beside = self.feeds - set(DRIVING)
        found = {name: beside - {file.feed for file in self._files_of(name)} for name in self.instruments}
        return {name: feeds for name, feeds in found.items() if feeds}

    @property
    def rows_per_block(self) -> int:
        """How many rows of a file are read at a time: fewer if so many instruments are read at once that it adds up."""
        share = max(_FEWEST_ROWS, BLOCK_ROWS * _FULL_BLOCKS // max(1, len(self.instruments)))
        return min(self.block_rows, share)

    @property
    def total_bytes(self) -> int:
        """Bytes of all files, as they are stored."""
        return sum(file.size for file in self.files)

    @property
    def fingerprint(self) -> str:
        """What has to be the same for a run to go on where another one stopped."""
        parts = [
            (file.member or file.path.name, file.feed, file.instrument, ns)
            for file, ns in zip(self.files, self.first_ns)
        ]
        return id_of("files", self.rows_per_block, *parts)

    def describe(self) -> list[dict[str, Any]]:
        """Per file: path, layout, feed (stream), instruments of its head, size in bytes, when its first row is available."""
        return [
            {
                "path": file.meaning.label,
                "layout": file.layout,
                "feed": file.feed,
                "instruments": list(head),
                "size": file.size,
                "first_time": iso(first_ns),
            }
            for file, head, first_ns in zip(self.files, self.heads, self.first_ns)
        ]

    def sequenced(self, instrument: str) -> bool:
        """Whether every file of the instrument promises consecutive integer ids of its trades.

        Not so for trades of futures: prints that are no market trades are left out, and their ids with them.
        """
        spaces = self._id_spaces(instrument)
        futures = instrument.count(":") > 1
        return bool(spaces) and all(
            (space == "trade" and not futures) or (space == "aggregate" and file.layout == "binance-aggtrades")
            for file, space in spaces
        )

    def __add__(self, other: Inputs) -> Inputs:
        """The files of both, for example opened with another instrument each.

        Raises:
            InputError: they do not go together.
        """
        if (self.bad_rows, self.block_rows) != (other.bad_rows, other.block_rows):
            raise ValueError("inputs of one run have one way with bad rows and one block size")
        joined = Inputs(
            self.files + other.files,
            self.first_ns + other.first_ns,
            self.heads + other.heads,
            self.bad_rows,
            self.block_rows,
        )
        joined.check()
        return joined

    def check(self) -> None:
        """Hold the files against each other.

        Raises:
            InputError: an instrument's trades come both as trades and as aggregate trades, or its bars both from trades and
            from klines.
        """
        for instrument in self.instruments:
            driving = {file.feed: file for file in self._files_of(instrument) if file.feed in DRIVING}
            if len(driving) > 1:
                raise two_drivers(instrument, *(driving[feed].meaning.label for feed in DRIVING))
            spaces = {space: file for file, space in self._id_spaces(instrument) if space}
            if len(spaces) > 1:
                raise InputError(
                    f"{spaces['trade'].meaning.label} holds trades and {spaces['aggregate'].meaning.label} aggregate "
                    f"trades of {instrument}: every trade would count twice. Leave out one kind."
                )

    def check_driven(self) -> None:
        """Check that there is something to make bars of, for each instrument.

        Raises:
            InputError: an instrument has neither trades nor klines.
        """
        if any(file.feed in DRIVING and file.instrument is None for file in self.files):
            return  # what is in their rows is not known yet
        for instrument in self.instruments:
            files = self._files_of(instrument)
            if not any(file.feed in DRIVING for file in files):
                others = [name for name in self.instruments if any(f.feed in DRIVING for f in self._files_of(name))]
                held = f" The other files are of {', '.join(others[:5])}." if others else ""
                raise InputError(
                    f"{files[0].meaning.label} holds {FEEDS[files[0].feed].noun} of {instrument}, but no file holds its trades "
                    f"or klines, of which bars are made.{held} Add such a file, or leave this one out."
                )

    def _files_of(self, instrument: str) -> list[FileInput]:
        return [file for file, head in zip(self.files, self.heads) if instrument in head]

    def _id_spaces(self, instrument: str) -> list[tuple[FileInput, str]]:
        return [(file, file.id_space) for file in self._files_of(instrument) if file.feed == TRADES]


def _check_order(file: FileInput, first: Block) -> None:
    """Check that the rows go on in time, over all instruments; a few that do not are for the intake to refuse.

    Raises:
        InputError: most of the first rows are a minute or more before one above them, as in a file with the newest row first.
    """
    times = first.rows["available_at"]
    if 2 * np.count_nonzero(times < np.maximum.accumulate(times) - MINUTE_NS) > len(times):
        raise InputError(
            f"{file.meaning.label} is not in the order of time: its rows go back, so most would be too late to use. "
            "Sort it by time, oldest row first."
        )


def two_drivers(instrument: str, trades: str, klines: str) -> InputError:
    """The error for an instrument whose bars could be made of trades and of klines, by the labels of such files."""
    return InputError(
        f"{trades} holds trades and {klines} klines of {instrument}: bars are made of one of them. Leave out one kind."
    )


def open_inputs(
    paths: Sequence[Path | str],
    layout: str | None = None,
    instrument: str | None = None,
    bad_rows: BadRows = "refuse",
    block_rows: int = BLOCK_ROWS,
    *,
    exchange: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Inputs:
    """Open the files of a run: recognise each by its beginning.

    Args:
        paths: CSV or JSON lines (plain, .gz, .zip), Parquet, Feather; each member of a zip counts as a file.
        layout: the layout of all files, a name of `LAYOUTS`; None: found for each.
        instrument: `exchange:BASE/QUOTE` of all files; None: they say it.
        bad_rows: `refuse`: the first row that cannot be used is an error; `dead-letter`: such rows go through,
            marked MALFORMED where a number could not be read, for the graph to sort out.
        block_rows: how many rows of a file are read at a time at most.
        exchange: that of the pairs which the names of the files, or their column `symbol`, show.
        columns: the columns of one's own files by role, such as `{"time": "ts", "price": "px"}`; roles that are left out
            are found by common names. Whether a file holds trades, bars or funding rates follows from the roles.

    Raises:
        InputError: a file is missing, damaged, empty, fits no layout, says no instrument or is not in the order of time.
    """
    if not paths:
        raise InputError("No input file. Name one or more files of trades or klines.")
    if layout is not None:
        check_layout(layout)
    if instrument is not None and exchange is not None:
        raise InputError("--instrument names the exchange too. Give --instrument or --exchange, not both.")
    if instrument is not None:
        check_instrument(instrument)
    if exchange is not None:
        check_exchange(exchange)
    check_columns(columns or {})
    if bad_rows not in ("refuse", "dead-letter"):
        raise InputError(f"--bad-rows {bad_rows!r} is not known. It is refuse or dead-letter.")
    files: list[FileInput] = []
    for at, path in enumerate(map(Path, paths)):
        if path.resolve() in (Path(former).resolve() for former in paths[:at]):
            raise InputError(f"{path} is named twice: every row would count twice. Name it once.")
        kind = kind_of(path)
        parts = members(path) if kind == "zip" else {None: path.stat().st_size}
        for member, size in parts.items():
            label = str(path) if member is None else f"{path}:{member}"
            asked = Asked(label, member or path.name, layout, columns or {})
            files.append(recognise(path, kind, member, size, asked, instrument, exchange))
    firsts = [file.first_block(bad_rows) for file in files]
    if bad_rows == "refuse":
        for file, first in zip(files, firsts):
            _check_order(file, first)
    inputs = Inputs(
        tuple(files),
        tuple(int(first.rows["available_at"][0]) for first in firsts),
        tuple(first.instruments for first in firsts),
        bad_rows,
        block_rows,
    )
    inputs.check()
    return inputs
