"""What the head of every segment of a tape says: whose it is, and what may be on it."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from events.errors import InputError
from events.feeds import FEEDS
from events.schema import SCHEMA_VERSION

_MAGIC: Final = b"TIDETAPE"
_PREFIX: Final = struct.Struct("<8sII")  # magic, bytes of the JSON, their checksum


@dataclass(frozen=True)
class Universe:
    """What a tape may hold, known before its first frame: all that the plan of a run over it has to know.

    Attributes:
        instruments: `exchange:SYMBOL`, in the order of the run.
        sequenced: those whose trades have consecutive integer ids.
        feeds: the streams of the run, names of `events.feeds.FEEDS`.
        lacking: those of them that an instrument does not have, where there are any.
    """

    instruments: tuple[str, ...]
    sequenced: frozenset[str]
    feeds: frozenset[str]
    lacking: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def tree(self) -> dict[str, Any]:
        """It as plain data, the same for the same.

        >>> made = Universe(("x:A/B",), frozenset(), frozenset({"trades", "book"}), {"x:A/B": frozenset({"book"})})
        >>> made.tree["feeds"], Universe.of(made.tree) == made
        (['book', 'trades'], True)
        """
        lacking = {name: sorted(feeds) for name, feeds in self.lacking.items()}
        sets = {"sequenced": sorted(self.sequenced), "feeds": sorted(self.feeds)}
        return {"instruments": list(self.instruments), **sets, "lacking": lacking}

    @staticmethod
    def of(tree: Mapping[str, Any]) -> Universe:
        """The one of which this is the plain data."""
        lacking = {name: frozenset(feeds) for name, feeds in tree.get("lacking", {}).items()}
        return Universe(tuple(tree["instruments"]), frozenset(tree["sequenced"]), frozenset(tree["feeds"]), lacking)


@dataclass(frozen=True)
class Header:
    """The head of a segment.

    Attributes:
        tape: id of the tape, the same in all of its segments.
        first: offset of the first record of the segment.
        created_ns: when the segment was begun, by the clock of the machine.
        universe: of the run that wrote it.
        created_by: the version of Tidewax.
        schema_v: of the row types.
    """

    tape: str
    first: int
    created_ns: int
    universe: Universe
    created_by: str
    schema_v: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The header as JSON."""
        return json.dumps(asdict(self) | {"universe": self.universe.tree}, sort_keys=True)

    def to_bytes(self) -> bytes:
        """The header as it stands at the beginning of a segment; a multiple of 8 bytes."""
        text = self.to_json().encode()
        text = text.ljust(-(-len(text) // 8) * 8)
        return _PREFIX.pack(_MAGIC, len(text), crc32(text)) + text

    def at(self, first: int, created_ns: int) -> Header:
        """The header of another segment of the same tape."""
        return replace(self, first=first, created_ns=created_ns)


def new_header(tape: str, universe: Universe, created_ns: int) -> Header:
    """The header of the first segment of a new tape."""
    try:
        created_by = version("tidewax")
    except PackageNotFoundError:
        created_by = "of no release"
    return Header(tape, 0, created_ns, universe, created_by)


def read_header(path: Path) -> tuple[Header, int]:
    """The header at the beginning of a segment, and how many bytes it takes.

    Raises:
        InputError: the file is not a segment of a tape, is damaged, or is of another version.
    """
    with path.open("rb") as file:
        prefix = file.read(_PREFIX.size)
        magic, length, checksum = _PREFIX.unpack(prefix) if len(prefix) == _PREFIX.size else (b"", 0, 0)
        if magic != _MAGIC:
            raise InputError(f"{path} is not a segment of a tape. Name the directory of a tape that a live run wrote.")
        text = file.read(length)
    if len(text) != length or crc32(text) != checksum:
        raise InputError(f"The head of {path} is damaged. Bring the file back from a copy.")
    return header_of(path, text.decode()), _PREFIX.size + length


def header_of(path: Path, text: str) -> Header:
    """The header of which this is the JSON.

    Raises:
        InputError: it is of another version.
    """
    tree = json.loads(text)
    schema_v, feeds = tree["schema_v"], tree["universe"]["feeds"]
    unknown = [name for name in feeds if name not in FEEDS]
    if schema_v != SCHEMA_VERSION or unknown:
        why = f"holds streams that this one does not know ({', '.join(unknown)})" if unknown else "has other row types"
        raise InputError(
            f"{path} was written by Tidewax {tree['created_by']} (schema version {schema_v}; this one has {SCHEMA_VERSION}) and "
            f"{why}. Replay it with the version that wrote it."
        )
    return Header(**tree | {"universe": Universe.of(tree["universe"])})
