"""One file: what it is, and its rows block by block."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.files.beside import BesideDecoder
from connectors.files.binance_beside import beside_pieces
from connectors.files.binance_capture import BINDINGS, LAYOUT, Capture, look
from connectors.files.binance_stream import Names, is_stream, stream_pieces
from connectors.files.csv_text import CsvHead, csv_head, csv_pieces
from connectors.files.decode import BadRows, Block, Decoder, Meaning, Piece
from connectors.files.funding import FundingDecoder
from connectors.files.instruments import EVERY, binance_dump_instrument, instrument_of_exchange
from connectors.files.json_lines import json_columns, json_pieces
from connectors.files.klines import KlineDecoder
from connectors.files.layouts import LAYOUTS, Asked, Binding, bind
from connectors.files.storage import line_chunks
from connectors.files.tables import table_columns, table_pieces
from connectors.files.trades import TradeDecoder
from events.errors import InputError
from events.feeds import CONTEXT, KLINES, RATES, TRADES
from events.times import SECOND_NS

BLOCK_ROWS: Final = 131_072
_HEAD_BYTES: Final = 1 << 16
_HEAD_ROWS: Final = 1_024
_DECODERS: Final[dict[str, type[Decoder]]] = {TRADES: TradeDecoder, KLINES: KlineDecoder, RATES: FundingDecoder}
_DAY: Final = re.compile(r"(?<!\d)(20\d\d)(\d\d)(\d\d)(?!\d)")


@dataclass(frozen=True)
class FileInput:
    """One file, recognised but not read. A member of a zip is a file of its own.

    Attributes:
        path: where it is.
        member: its name in a zip.
        kind: gzip, zip, parquet, arrow or text.
        size: its bytes, as they are stored.
        meaning: how it is to be understood.
        text: csv, json or stream for text, empty for tables.
        csv: what a CSV file's beginning says.
        capture: what a Binance recording holds, of which this is one stream.
        only: the one instrument of a recording.
    """

    path: Path
    member: str | None
    kind: str
    size: int
    meaning: Meaning
    text: str = ""
    csv: CsvHead | None = None
    capture: Capture | None = None
    only: str | None = None

    @property
    def layout(self) -> str:
        """The name of its layout."""
        return self.meaning.binding.layout

    @property
    def feed(self) -> str:
        """The stream of its rows."""
        return self.meaning.binding.feed

    @property
    def id_space(self) -> str:
        """`trade` or `aggregate` if its ids are consecutive integers by promise of the layout, else empty."""
        aggregate = self.capture is not None and self.capture.events == "aggTrade"
        return "aggregate" if aggregate else LAYOUTS[self.layout].id_space

    @property
    def instrument(self) -> str | None:
        """The one instrument that it holds, None if its rows say of which they are."""
        return self.meaning.given or self.only or (None if self.meaning.by_row else self.meaning.by_name)

    def blocks(
        self, bad_rows: BadRows, block_rows: int = BLOCK_ROWS, ahead: bool = False
    ) -> Generator[Block, None, None]:
        """Its rows in its own order, in blocks of at most `block_rows`.

        Raises:
            InputError: the file is damaged or holds what cannot be used; found where it is reached.
        """
        decoder = _DECODERS.get(self.feed, BesideDecoder)(self.meaning, bad_rows)
        pieces = self._pieces(block_rows)
        for piece in _ahead(pieces) if ahead else pieces:
            block = decoder.decode(piece)
            for at in range(0, len(block.rows), block_rows):
                yield block.cut(at, at + block_rows)

    def first_block(self, bad_rows: BadRows) -> Block:
        """The first few rows.

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
        assert self.capture is not None
        names = Names(self.meaning.given, label)
        if self.feed == TRADES:
            return stream_pieces(chunks, self.capture.events, names, label)
        return beside_pieces(chunks, self.feed, names, self.capture.clock_ns, label)


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
    path: Path,
    kind: str,
    member: str | None,
    size: int,
    asked: Asked,
    instrument: str | None,
    exchange: str | None,
    feeds: Collection[str] | None = None,
    delays_ns: Mapping[str, int] | None = None,
) -> list[FileInput]:
    """What a file is, by its beginning; one input for each stream of it.

    Args:
        path: where it is.
        kind: gzip, zip, parquet, arrow or text.
        member: its name in a zip.
        size: its bytes, as they are stored.
        asked: the layout or the columns that it must have.
        instrument: that of its rows, where they do not say it.
        exchange: that of the pair that its name or its rows show.
        feeds: the streams that are wanted; None: all. A file of no such stream gives none.
        delays_ns: how long after their times rows are published, by stream.

    Raises:
        InputError: it is damaged, empty, or fits no layout or not the one asked for.
    """
    label, name = asked.label, asked.name

    def understood(binding: Binding) -> Meaning:
        dump = binding.layout.startswith("binance-") and binding.layout != LAYOUT
        by_name = binance_dump_instrument(path, member) if dump else None
        if exchange is not None and by_name is not None:
            by_name = f"{exchange}:{by_name.split(':', 1)[1]}"
        elif exchange is not None:
            by_name = instrument_of_exchange(exchange, name) or instrument_of_exchange(exchange, path.name)
        if binding.feed == CONTEXT and binding.columns.keys().isdisjoint(("instrument", "symbol")):
            by_name = by_name or EVERY
        midnight_ns = _day_of(name, label) if binding.layout == "lean-bars" else None
        delay_ns = (delays_ns or {}).get(binding.feed, 0)
        return Meaning(label, name, binding, instrument, by_name, exchange, midnight_ns, delay_ns)

    def wanted(binding: Binding, columns: Sequence[str]) -> list[Meaning]:
        found, other = [binding], LAYOUTS[binding.layout].with_it
        if other and not asked.layout:
            found.append(bind(columns, Asked(label, name, other)))
        return [understood(one) for one in found if feeds is None or one.feed in feeds]

    if kind in ("parquet", "arrow"):
        columns = table_columns(path, kind)
        return [FileInput(path, member, kind, size, meaning) for meaning in wanted(bind(columns, asked), columns)]
    head = next(line_chunks(path, kind, member, label, _HEAD_BYTES), (b"", 0))[0]
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise InputError(f"{label} is empty.")
    if start.startswith(b"["):
        raise InputError(f"{label} is a JSON list. Store one JSON object a line (JSON lines).")
    if asked.layout == LAYOUT or (asked.layout is None and not asked.columns and is_stream(head)):
        capture = look(line_chunks(path, kind, member, label, 1 << 20), head, feeds, label)
        parts = [understood(BINDINGS[feed]) for feed in capture.feeds]
        return [FileInput(path, member, kind, size, meaning, "stream", capture=capture) for meaning in parts]
    if start.startswith(b"{"):
        columns = json_columns(head, label)
        binding = bind(columns, asked)
        return [FileInput(path, member, kind, size, meaning, "json") for meaning in wanted(binding, columns)]
    csv = csv_head(head, asked)
    meanings = wanted(csv.binding, csv.names)
    heads = [
        csv if one.binding == csv.binding else csv_head(head, Asked(label, name, one.binding.layout))
        for one in meanings
    ]
    return [FileInput(path, member, kind, size, one, "csv", csv=of) for one, of in zip(meanings, heads)]


def _day_of(name: str, label: str) -> int:
    """The midnight of the day that a file name says as YYYYMMDD."""
    found = _DAY.search(name)
    try:
        day = dt.datetime.strptime("".join(found.groups()) + "Z", "%Y%m%d%z") if found else None
    except ValueError:
        day = None
    if day is None:
        raise InputError(
            f"{label}: its times count from midnight, but its name does not say the day. Name it as LEAN does, such as "
            "20161007_trade.csv, or store times since 1970."
        )
    return round(day.timestamp()) * SECOND_NS
