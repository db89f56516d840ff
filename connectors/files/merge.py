"""All files of a run as one sequence of blocks by time, in constant memory.

The key of a row within its file is the largest `available_at` of the file so far: a file keeps its own order, and a
row that comes late in it stays visibly late. A block holds the rows whose keys are below the horizon, the smallest
last key among the files that are being read, so that rows of one time come out together, whatever file they are in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np

from connectors.files.decode import Block
from connectors.files.inputs import Inputs
from connectors.files.instruments import EVERY
from connectors.files.kernels import in_order
from connectors.files.reader import FileInput
from events.errors import InputError
from events.feeds import BOOKS, CHECKS, DRIVING, FEEDS, KLINES, TRADES
from events.frames import Array, concat
from events.schema import NEVER
from events.times import iso

Source = tuple[str, str]
"""(instrument, stream)."""


class Merged(NamedTuple):
    """The next rows of the run.

    Attributes:
        rows: by instrument and stream, read-only; streams by rank, instruments of one in the order of their first files.
        horizon: no row below it is left, but for rows that are late in their file; None: no row is left.
        ended: instruments and streams of which no row is left, each named once, with their largest `available_at`, in the
            last block with that of the run.
    """

    rows: dict[Source, Array]
    horizon: int | None
    ended: tuple[tuple[Source, int], ...]


class _Reading:
    """A file that is being read: its blocks that are not handed out yet."""

    def __init__(self, index: int, blocks: Generator[Block, None, None]) -> None:
        self.index, self._blocks = index, blocks
        self._held: deque[Block] = deque()
        self.last = NEVER
        self.finished = False
        self.bytes_done = 0

    def load(self) -> None:
        """Read one more block."""
        block = next(self._blocks, None)
        if block is None:
            self.finished = True
            return
        self.last = int(block.keys[-1])
        self.bytes_done = block.bytes_done
        self._held.append(block)

    def take(self, horizon: int | None) -> Iterator[Block]:
        """The held rows with keys below the horizon."""
        while self._held:
            block = self._held[0]
            count = len(block.keys)
            cut = count if horizon is None else int(np.searchsorted(block.keys, horizon))
            if cut:
                yield block.cut(0, cut)
            if cut < count:
                self._held[0] = block.cut(cut, count)
                return
            self._held.popleft()

    @property
    def empty(self) -> bool:
        return not self._held

    def close(self) -> None:
        self._blocks.close()


class Merge:
    """Iterates over the merged blocks of a run.

    Attributes:
        bytes_done: bytes of the files read so far.
        newest_ns: largest `available_at` handed out so far, NEVER before the first.
        sources: what has or can have rows, as far as is known: each instrument with the stream that its bars are made of, and
            with every stream of the run that stands beside it.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._waiting = deque(sorted(range(len(inputs.files)), key=lambda i: (inputs.first_ns[i], i)))
        self._reading: list[_Reading] = []
        self._newest: dict[Source, int] = {}
        self._count: dict[Source, int] = {}
        self._beside = [feed for feed in FEEDS if feed in inputs.feeds and feed not in DRIVING]
        for name in inputs.instruments:
            for file, head in zip(inputs.files, inputs.heads):
                if name in head or EVERY in head:
                    self._meet(name, inputs.stream(file.feed, name))
        self._ended: set[Source] = set()
        self._finished_bytes = 0
        self._files_left = Counter((file.instrument, file.feed) for file in inputs.files)
        self._recordings: dict[tuple[str, int], tuple[int, int]] = {}
        self.bytes_done = 0
        self.newest_ns = NEVER

    @property
    def sources(self) -> tuple[Source, ...]:
        """See the class."""
        return tuple(self._newest)

    def _meet(self, instrument: str, stream: str) -> None:
        """Know an instrument, and that it has this stream.

        Raises:
            InputError: it has trades though its bars are made of klines.
        """
        if stream == TRADES and (instrument, KLINES) in self._newest:
            labels = [file.meaning.label for file in self._inputs.files if file.feed == TRADES]
            raise InputError(
                f"{labels[0]} holds trades of {instrument} only behind its beginning, when bars are made of klines already. Put "
                "the instrument's trades into a file of their own, or leave out the klines."
            )
        for name in (stream, *self._beside):
            self._newest.setdefault((instrument, name), NEVER)
            self._count.setdefault((instrument, name), 0)

    def __iter__(self) -> Iterator[Merged]:
        return self

    def __next__(self) -> Merged:
        """The next block, with one row or more.

        Raises:
            InputError: a file is damaged or holds what cannot be used.
        """
        while self._reading or self._waiting:
            horizon = self._advance()
            rows = self._collect(horizon)
            if rows:
                return Merged(rows, horizon, self._find_ended(horizon is None))
        raise StopIteration

    def close(self) -> None:
        """Close the files that are open."""
        for reading in self._reading:
            reading.close()
        self._reading.clear()
        self._waiting.clear()

    def _advance(self) -> int | None:
        """Read until the horizon can rise, open the files it reaches; the horizon."""
        low = min((r.last for r in self._reading if not r.finished), default=None)
        for reading in self._reading:
            if not reading.finished and reading.last == low:
                reading.load()
        while True:
            horizon = min((r.last for r in self._reading if not r.finished), default=None)
            if not self._waiting or (horizon is not None and self._inputs.first_ns[self._waiting[0]] >= horizon):
                break
            self._open(self._waiting.popleft())
        self._note_bytes()
        return horizon

    def _open(self, index: int) -> None:
        inputs = self._inputs
        reading = _Reading(index, inputs.files[index].blocks(inputs.bad_rows, inputs.rows_per_block, ahead=True))
        self._reading.append(reading)
        reading.load()

    def _note_bytes(self) -> None:
        self.bytes_done = self._finished_bytes + sum(reading.bytes_done for reading in self._reading)

    def _collect(self, horizon: int | None) -> dict[Source, Array]:
        parts: dict[Source, list[Block]] = {}
        for reading in sorted(self._reading, key=lambda reading: reading.index):
            file = self._inputs.files[reading.index]
            for block in reading.take(horizon):
                for name, part in _by_instrument(block):
                    self._check_part(reading.index, file, name, part)
                    for each in dict.fromkeys(known for known, _ in self._newest) if name == EVERY else (name,):
                        parts.setdefault((each, self._inputs.stream(file.feed, each)), []).append(part)
        for reading in self._reading:
            if reading.finished and reading.empty:
                reading.close()
                file = self._inputs.files[reading.index]
                self._finished_bytes += file.size
                self._files_left[file.instrument, file.feed] -= 1
        self._reading = [reading for reading in self._reading if not (reading.finished and reading.empty)]
        for source in parts:
            self._meet(*source)
        self._note_bytes()
        ranked = sorted(
            (source for source in self._newest if source in parts), key=lambda source: FEEDS[source[1]].rank
        )
        return {source: self._joined(source, parts[source]) for source in ranked}

    def _check_part(self, index: int, file: FileInput, instrument: str, part: Block) -> None:
        """Check what a recording can turn out to hold.

        Raises:
            InputError: it holds another instrument than at its beginning, or updates of a book that another one holds too.
        """
        if file.capture is None:
            return
        if file.instrument not in (None, instrument):
            raise InputError(
                f"{file.meaning.label} holds {FEEDS[file.feed].noun} of {instrument} behind its beginning, which is of "
                f"{file.instrument} alone. Split the file by instrument."
            )
        if file.feed != BOOKS:
            return
        first, last = int(part.keys[0]), int(part.keys[-1])
        first = self._recordings.get((instrument, index), (first, last))[0]
        self._recordings[instrument, index] = first, last
        for (name, other), (begun, ended) in self._recordings.items():
            if name == instrument and other != index and first < ended and begun < last:
                raise InputError(
                    f"{file.meaning.label} and {self._inputs.files[other].meaning.label} both hold updates of the book of "
                    f"{instrument} at {iso(max(first, begun))}: two recordings of one time are two books. Leave out one of "
                    "them, or its book with --feeds."
                )

    def _joined(self, name: Source, parts: list[Block]) -> Array:
        """The parts as one array in merged order, counters filled in."""
        keys = parts[0].keys if len(parts) == 1 else np.concatenate([part.keys for part in parts])
        rows = in_order(concat([part.rows for part in parts]), keys)
        if any(part.uncounted for part in parts):
            counted = rows["seq"] == NEVER
            if not rows.flags.writeable:
                rows = rows.copy()
            rows["seq"][counted] = self._count[name] + np.flatnonzero(counted)
        rows.flags.writeable = False
        self._count[name] += len(rows)
        self._newest[name] = max(self._newest[name], int(rows["available_at"].max()))
        self.newest_ns = max(self.newest_ns, self._newest[name])
        return rows

    def _find_ended(self, last: bool) -> tuple[tuple[Source, int], ...]:
        ended = [source for source in self._newest if source not in self._ended and (last or self._exhausted(source))]
        self._ended.update(ended)
        return tuple((source, self.newest_ns if last else self._newest[source]) for source in ended)

    def _exhausted(self, source: Source) -> bool:
        """Whether it had rows and no file is left with any; one without rows ends with the run."""
        instrument, stream = source
        feed = KLINES if stream == CHECKS else stream
        left = any(self._files_left[whose, feed] for whose in (instrument, EVERY, None))
        return not left and self._newest[source] != NEVER


def _by_instrument(block: Block) -> Iterator[tuple[str, Block]]:
    if block.codes is None:
        yield block.instruments[0], block
        return
    for code, name in enumerate(block.instruments):
        mine = np.flatnonzero(block.codes == code)
        if len(mine):
            yield name, block._replace(rows=block.rows[mine], keys=block.keys[mine], codes=None)
