"""What became of holding bars against the venue's own klines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from connectors.segments import read_keys, read_stream
from events.records import ReconcileCounts
from events.streams import Records, Stream


def reconciled(directory: Path, streams: Mapping[str, Stream]) -> dict[str, dict[str, int]]:
    """By instrument how many minutes were equal and different, flagged (not compared) and alone (klines without a bar)."""
    stream = streams[ReconcileCounts.stream]
    assert isinstance(stream, Records)
    found: dict[str, dict[str, int]] = {}
    for key in read_keys(directory, stream):
        counts: Counter[str] = Counter(equal=0, different=0, flagged=0, alone=0)
        for record in read_stream(directory, stream, key):
            if isinstance(record, ReconcileCounts):
                counts.update({name: getattr(record, name) for name in counts})
        found[key] = dict(counts)
    return found


def reconcile_lines(told: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The counts in words.

    >>> reconcile_lines({"x:A/B": {"equal": 9, "different": 1, "flagged": 2, "alone": 0}})
    ["x:A/B: 9 of 10 minutes equal the venue's klines; reconcile.parquet says what differs; 2 partial or with a hole left out"]
    """
    lines = []
    for key, of in told.items():
        said = [f"{of['equal']:,} of {of['equal'] + of['different']:,} minutes equal the venue's klines"]
        said += ["reconcile.parquet says what differs"] * (of["different"] > 0)
        said += [f"{of['flagged']:,} partial or with a hole left out"] * (of["flagged"] > 0)
        said += [f"{of['alone']:,} klines of minutes without a bar"] * (of["alone"] > 0)
        lines.append(f"{key}: {'; '.join(said)}")
    return lines
