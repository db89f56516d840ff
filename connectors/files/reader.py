"""One file of trades: what it is, and its trades block by block."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.files.binance_stream import STREAM_BINDING, is_stream, stream_kind, stream_pieces
from connectors.files.csv_text import CsvHead, csv_head, csv_pieces
from connectors.files.decode import BadRows, Block, Decoder, Meaning, Piece
from connectors.files.instruments import binance_dump_instrument
from connectors.files.json_lines import json_columns, json_pieces
from connectors.files.layouts import LAYOUTS, Binding, bind
from connectors.files.storage import line_chunks
from connectors.files.tables import table_columns, table_pieces
from events.errors import InputError

BLOCK_ROWS: Final = 131_072
_HEAD_BYTES: Final = 1 << 16
_HEAD_ROWS: Final = 1_024


@dataclass(frozen=True)
class FileInput:
    """One file of trades, recognised but not read. A member of a zip is a file of its own.

    Attributes:
        path: where it is.
        member: its name in a zip.
        kind: gzip, zip, parquet, arrow or text.
        size: its bytes, as they are stored.
        meaning: how it is to be understood.
        text: csv, json or stream for text, empty for tables.
        csv: what a CSV file's beginning says.
        events: the events of a Binance recording that are its trades.
    """

    path: Path
    member: str | None
    kind: str
    size: int
    meaning: Meaning
    text: str = ""
    csv: CsvHead | None = None
    events: str = ""

    @property
    def layout(self) -> str:
        """The name of its layout."""
        return self.meaning.binding.layout

    @property
    def id_space(self) -> str:
        """`trade` or `aggregate` if its ids are consecutive integers by promise of the layout, else empty."""
        return "aggregate" if self.events == "aggTrade" else LAYOUTS[self.layout].id_space

    @property
    def instrument(self) -> str | None:
        """The one instrument that it holds, None if its rows say of which they are."""
        columns = self.meaning.binding.columns
        by_row = "instrument" in columns or ("exchange" in columns and "symbol" in columns)
        return self.meaning.given or (None if by_row else self.meaning.by_name)

    def blocks(
        self, bad_rows: BadRows, block_rows: int = BLOCK_ROWS, ahead: bool = False
    ) -> Generator[Block, None, None]:
        """Its trades in its own order, in blocks of at most `block_rows`.

        Raises:
            InputError: the file is damaged or holds what cannot be used; found where it is reached.
        """
        decoder = Decoder(self.meaning, bad_rows)
        pieces = self._pieces(block_rows)
        for piece in _ahead(pieces) if ahead else pieces:
            block = decoder.decode(piece)
            for at in range(0, len(block.rows), block_rows):
                yield block.cut(at, at + block_rows)

    def first_block(self, bad_rows: BadRows) -> Block:
        """The first few trades.

        Raises:
            InputError: as `blocks`; or there are none.
        """
        blocks = self.blocks(bad_rows, _HEAD_ROWS)
        try:
            for block in blocks:
                return block
        finally:
            blocks.close()
        raise InputError(f"{self.meaning.label} holds no rows.")

    def _pieces(self, block_rows: int) -> Iterator[Piece]:
        label, binding = self.meaning.label, self.meaning.binding
        if not self.text:
            return table_pieces(self.path, self.kind, sorted(set(binding.columns.values())), block_rows)
        chunks = line_chunks(self.path, self.kind, self.member, label, min(1 << 22, max(_HEAD_BYTES, 32 * block_rows)))
        if self.csv is not None:
            return csv_pieces(chunks, self.csv, label)
        if self.text == "json":
            return json_pieces(chunks, binding, label)
        return stream_pieces(chunks, self.events, self.meaning.given, label)


def _ahead(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same pieces, each read by another thread while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, pieces, None)
        try:
            while (piece := coming.result()) is not None:
                coming = pool.submit(next, pieces, None)
                yield piece
        finally:
            wait([coming])


def recognise(
    path: Path, kind: str, member: str | None, size: int, *, layout: str | None, instrument: str | None
) -> FileInput:
    """What a file is, by its beginning.

    Raises:
        InputError: it is damaged, empty, or fits no layout or not this one.
    """
    label = str(path) if member is None else f"{path}:{member}"
    name = member or path.name

    def understood(binding: Binding) -> Meaning:
        dump = binding.layout in ("binance-trades", "binance-aggtrades")
        return Meaning(label, name, binding, instrument, binance_dump_instrument(path, member) if dump else None)

    if kind in ("parquet", "arrow"):
        meaning = understood(bind(table_columns(path, kind), layout, label))
        return FileInput(path, member, kind, size, meaning)
    head = next(line_chunks(path, kind, member, label, _HEAD_BYTES), (b"", 0))[0]
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise InputError(f"{label} is empty.")
    if start.startswith(b"["):
        raise InputError(f"{label} is a JSON list. Store one JSON object a line (JSON lines).")
    if layout == "binance-stream" or (layout is None and is_stream(head)):
        chunks = line_chunks(path, kind, member, label, 1 << 20)
        return FileInput(
            path, member, kind, size, understood(STREAM_BINDING), "stream", events=stream_kind(chunks, label)
        )
    if start.startswith(b"{"):
        binding = bind(json_columns(head, label), layout, label)
        return FileInput(path, member, kind, size, understood(binding), "json")
    csv = csv_head(head, layout, label)
    return FileInput(path, member, kind, size, understood(csv.binding), "csv", csv=csv)
