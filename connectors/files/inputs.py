"""The files of a run: opened, recognised, and held against each other before anything is read."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from connectors.files.decode import BadRows, Block
from connectors.files.instruments import EVERY, check_exchange, check_instrument
from connectors.files.layouts import Asked, check_columns, check_layout
from connectors.files.reader import BLOCK_ROWS, FileInput, recognise
from connectors.files.storage import kind_of, members
from events.errors import InputError
from events.feeds import (
    BOOKS,
    CHECKS,
    CONTEXT,
    DRIVING,
    FEEDS,
    KLINES,
    LONG_SHORT,
    MEMBERS,
    OPEN_INTEREST,
    PRELOAD,
    TRADES,
    UNIVERSE,
)
from events.identity import id_of
from events.times import HOUR_NS, MINUTE_NS, SECOND_NS, iso

FILED: Final = tuple(name for name in FEEDS if name not in (PRELOAD, CHECKS, UNIVERSE, MEMBERS))
"""The streams that files can hold."""
_FULL_BLOCKS: Final = 16
"""So many instruments are read in full blocks; more of them share that memory."""
_FEWEST_ROWS: Final = 4_096
DELAYS_NS: Final = {OPEN_INTEREST: MINUTE_NS, LONG_SHORT: MINUTE_NS, CONTEXT: HOUR_NS}
"""How long after their times rows are published, by stream; at once in all others."""


@dataclass(frozen=True)
class Inputs:
    """The files of a run, whose heads have been read.

    Attributes:
        files: the files, one for each stream of a file; each member of a zip is a file.
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
        return tuple(dict.fromkeys(name for head in self.heads for name in head if name != EVERY))

    @cached_property
    def _traded(self) -> frozenset[str]:
        """The instruments whose bars are made of trades."""
        return frozenset(name for file, head in zip(self.files, self.heads) if file.feed == TRADES for name in head)

    def stream(self, feed: str, instrument: str) -> str:
        """As which stream rows of a feed come: klines of an instrument that is traded are there to check its bars by."""
        return CHECKS if feed == KLINES and instrument in self._traded else feed

    @cached_property
    def feeds(self) -> frozenset[str]:
        """The streams of the run."""
        return frozenset(self.stream(file.feed, name) for file, head in zip(self.files, self.heads) for name in head)

    @property
    def lacking(self) -> dict[str, frozenset[str]]:
        """The streams beside bars that an instrument has no file of, though the run has; empty while rows may bring them."""
        if any(file.instrument is None for file in self.files):
            return {}
        beside = self.feeds - set(DRIVING)
        found = {
            name: beside - {self.stream(file.feed, name) for file in self._files_of(name)} for name in self.instruments
        }
        return {name: feeds for name, feeds in found.items() if feeds}

    @property
    def notes(self) -> list[str]:
        """What is worth knowing of the files before the run, as sentences."""
        said = []
        for name in self.instruments:
            captures = [file for file in self._files_of(name) if file.feed == BOOKS and file.capture is not None]
            if captures and not any(file.capture.snapshot for file in captures if file.capture is not None):
                files = ", ".join(file.meaning.label for file in captures)
                said.append(
                    f"{files}: there is no snapshot of the book of {name}, only what changed in it, so the book stays unsynced: "
                    "add the file that the recording began with, or leave the book out with --feeds."
                )
        return said

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
                "feed": self.stream(file.feed, head[0]),
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

    def only(self, feeds: Collection[str]) -> Inputs:
        """The files of these streams alone.

        Raises:
            InputError: as `check_driven`.
        """
        self.check_driven()
        parts = zip(self.files, self.first_ns, self.heads)
        files, first_ns, heads = zip(*(part for part in parts if part[0].feed in feeds))
        return replace(self, files=files, first_ns=first_ns, heads=heads)

    def check(self) -> None:
        """Hold the files against each other.

        Raises:
            InputError: an instrument's trades come both as trades and as aggregate trades.
        """
        for instrument in self.instruments:
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
        return [file for file, head in zip(self.files, self.heads) if instrument in head or EVERY in head]

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


def check_feeds(names: Collection[str], where: str) -> None:
    """Check that these are streams.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if name not in FILED:
            near = difflib.get_close_matches(name, FILED, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise InputError(
                f"{where} names the stream {name!r}, which files cannot hold.{hint} They are {', '.join(FILED)}."
            )


def _check_wanted(files: Sequence[FileInput], feeds: Collection[str], paths: Sequence[Path | str]) -> None:
    held = {file.feed for file in files}
    if lacking := [FEEDS[name].noun for name in feeds if name not in held]:
        which = f"{paths[0]} holds" if len(paths) == 1 else "The files hold"
        raise InputError(f"{which} no {', no '.join(lacking)}, which --feeds names. Leave them out of --feeds.")


def _alone(file: FileInput, firsts: Sequence[Block], files: Sequence[FileInput]) -> FileInput:
    """The file, with its one instrument, if it is a recording of one symbol."""
    if file.capture is None or file.capture.symbol is None:
        return file
    parts = {name for other, first in zip(files, firsts) if other.capture is file.capture for name in first.instruments}
    return replace(file, only=next(iter(parts))) if len(parts) == 1 else file


def open_inputs(
    paths: Sequence[Path | str],
    layout: str | None = None,
    instrument: str | None = None,
    bad_rows: BadRows = "refuse",
    block_rows: int = BLOCK_ROWS,
    *,
    exchange: str | None = None,
    columns: Mapping[str, str] | None = None,
    feeds: Collection[str] | None = None,
    delay_s: Mapping[str, float] | None = None,
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
        feeds: the streams that are wanted, names of `events.feeds.FEEDS`; None: all that the files hold.
        delay_s: seconds from the time of a row to its publication by stream, where not those of `DELAYS_NS`.

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
    if feeds is not None:
        check_feeds(feeds, "--feeds")
    delays_ns = DELAYS_NS | {name: round(seconds * SECOND_NS) for name, seconds in (delay_s or {}).items()}
    check_feeds(delay_s or (), "input.delay")
    files: list[FileInput] = []
    for at, path in enumerate(map(Path, paths)):
        if path.resolve() in (Path(former).resolve() for former in paths[:at]):
            raise InputError(f"{path} is named twice: every row would count twice. Name it once.")
        kind = kind_of(path)
        parts = members(path) if kind == "zip" else {None: path.stat().st_size}
        for member, size in parts.items():
            label = str(path) if member is None else f"{path}:{member}"
            asked = Asked(label, member or path.name, layout, columns or {})
            files += recognise(path, kind, member, size, asked, instrument, exchange, feeds, delays_ns)
    if feeds is not None:
        _check_wanted(files, feeds, paths)
    firsts = [file.first_block(bad_rows) for file in files]
    if bad_rows == "refuse":
        for file, first in zip(files, firsts):
            _check_order(file, first)
    inputs = Inputs(
        tuple(_alone(file, firsts, files) for file in files),
        tuple(int(first.rows["available_at"][0]) for first in firsts),
        tuple(first.instruments for first in firsts),
        bad_rows,
        block_rows,
    )
    inputs.check()
    return inputs
