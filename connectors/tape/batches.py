"""Records of a tape, as many at a time as a source hands out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from connectors.tape.records import Items
from events.errors import InputError

BATCH_ROWS: Final = 100_000
BATCH_FRAMES: Final = 1_000


def batches(records: Iterable[tuple[int, Items]]) -> Iterator[tuple[int, Items]]:
    """The frames of some records at a time, up to about 100,000 rows, with the offset after them.

    Raises:
        InputError: as reading the records does, once all that was before is handed out: a state never gets ahead of that.
    """
    records, ended = iter(records), False
    while not ended:
        out, rows, after, error = Items(), 0, 0, None
        try:
            while rows < BATCH_ROWS and len(out) < BATCH_FRAMES:
                after, items = next(records)
                out += items
                rows += sum(len(frame.rows) for _, frame in items)
        except StopIteration:
            ended = True
        except InputError as met:
            ended, error = True, met
        if out:
            yield after, out
        if error is not None:
            raise error
