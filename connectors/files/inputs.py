"""The files of a run: opened, recognised, and held against each other before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connectors.files.decode import BadRows
from connectors.files.instruments import check_instrument
from connectors.files.layouts import check_layout
from connectors.files.reader import BLOCK_ROWS, FileInput, recognise
from connectors.files.storage import kind_of, members
from events.errors import InputError
from events.identity import id_of
from events.times import iso

_FULL_BLOCKS: Final = 16
"""So many instruments are read in full blocks; more of them share that memory."""
_FEWEST_ROWS: Final = 4_096


@dataclass(frozen=True)
class Inputs:
    """The files of a run, whose heads have been read.

    Attributes:
        files: the files; each member of a zip is one.
        first_ns: the time of the first trade of each.
        heads: the instruments of the first trades of each.
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
        parts = [(file.member or file.path.name, file.meaning.given, ns) for file, ns in zip(self.files, self.first_ns)]
        return id_of("files", self.rows_per_block, *parts)

    def describe(self) -> list[dict[str, Any]]:
        """Per file: path, layout, instruments (of its head), size in bytes, time of its first trade."""
        return [
            {
                "path": file.meaning.label,
                "layout": file.layout,
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
            InputError: an instrument's trades come both as trades and as aggregate trades.
        """
        for instrument in self.instruments:
            spaces = {space: file for file, space in self._id_spaces(instrument) if space}
            if len(spaces) > 1:
                raise InputError(
                    f"{spaces['trade'].meaning.label} holds trades and {spaces['aggregate'].meaning.label} aggregate "
                    f"trades of {instrument}: every trade would count twice. Leave out one kind."
                )

    def _id_spaces(self, instrument: str) -> list[tuple[FileInput, str]]:
        return [(file, file.id_space) for file, head in zip(self.files, self.heads) if instrument in head]


def open_inputs(
    paths: Sequence[Path | str],
    layout: str | None = None,
    instrument: str | None = None,
    bad_rows: BadRows = "refuse",
    block_rows: int = BLOCK_ROWS,
) -> Inputs:
    """Open the files of a run: recognise each by its beginning.

    Args:
        paths: CSV or JSON lines (plain, .gz, .zip), Parquet, Feather; each member of a zip counts as a file.
        layout: the layout of all files, a name of `LAYOUTS`; None: found for each.
        instrument: `exchange:BASE/QUOTE` of all files; None: they say it.
        bad_rows: `refuse`: the first row that cannot be used is an error; `dead-letter`: such rows go through,
            marked MALFORMED where a number could not be read, for the graph to sort out.
        block_rows: how many rows of a file are read at a time at most.

    Raises:
        InputError: a file is missing, damaged, empty, fits no layout or says no instrument.
    """
    if not paths:
        raise InputError("No input file. Name one or more files of trades.")
    if layout is not None:
        check_layout(layout)
    if instrument is not None:
        check_instrument(instrument)
    if bad_rows not in ("refuse", "dead-letter"):
        raise InputError(f"--bad-rows {bad_rows!r} is not known. It is refuse or dead-letter.")
    files: list[FileInput] = []
    for path in map(Path, paths):
        kind = kind_of(path)
        parts = members(path) if kind == "zip" else {None: path.stat().st_size}
        files += [
            recognise(path, kind, member, size, layout=layout, instrument=instrument) for member, size in parts.items()
        ]
    firsts = [file.first_block(bad_rows) for file in files]
    inputs = Inputs(
        tuple(files),
        tuple(int(first.rows["available_at"][0]) for first in firsts),
        tuple(first.instruments for first in firsts),
        bad_rows,
        block_rows,
    )
    inputs.check()
    return inputs
