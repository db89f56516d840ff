"""What files hold, in numbers: digests and row counts by stream and key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa

from events.codec import packed_from_arrow
from events.digest import Digests
from events.streams import Columns, Stream, is_digested


def by_key(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The rows of each key of a batch that holds those of one key together."""
    keys = batch.column("key").dictionary_encode()
    codes = keys.indices.to_numpy(zero_copy_only=False)
    cuts = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    for first, end in pairwise(cuts):
        if end > first:
            yield keys.dictionary[codes[first]].as_py(), batch.slice(first, end - first)


@dataclass(frozen=True, slots=True)
class RollResult:
    """Digests `{stream: {key: {UTC day: hex}}}` and row counts `{stream: {key: rows}}` of what the files hold.

    Streams without rows have empty entries; streams that are not compared have no digests.
    """

    digests: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)


class Tally:
    """Counts and digests of one stream, fed with batches in the order of the file."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._digests: dict[str, Digests] = {}
        self._counts: dict[str, int] = {}

    def add(self, key: str, batch: pa.RecordBatch) -> None:
        """Feed rows of one key."""
        self._counts[key] = self._counts.get(key, 0) + batch.num_rows
        if not is_digested(self._stream.name):
            return
        if isinstance(self._stream, Columns):
            if key not in self._digests:
                self._digests[key] = Digests(self._stream.name, self._stream)
            self._digests[key].add_packed(packed_from_arrow(self._stream, batch))
        else:
            if key not in self._digests:
                self._digests[key] = Digests(self._stream.name)
            self._digests[key].add_records(batch.column("ts").to_pylist(), batch.column("json").to_pylist())

    def add_mixed(self, batch: pa.RecordBatch) -> None:
        """Feed rows of several keys, those of one key together."""
        for key, piece in by_key(batch):
            self.add(key, piece)

    def store(self, result: RollResult) -> None:
        """Write what was counted into a result."""
        name = self._stream.name
        result.counts[name] = dict(self._counts)
        if is_digested(name):
            result.digests[name] = {key: digests.by_day() for key, digests in self._digests.items()}
