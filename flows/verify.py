"""Whether two runs agree: by their digests, and where they do not, by the first row that differs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from connectors.segments import read_stream, recount
from events.errors import RunError
from events.streams import Columns, Stream
from events.times import iso
from flows.plan import plan_of_run
from flows.rundir import WHOLE, changed_plugins, first_difference, other_lateness, read_run

RELATIVE = 1e-9
"""Within what runs on different platforms agree."""


class Verdict:
    """What a comparison found: `differences` (empty: the runs agree), `notes`, and how many digests and rows were compared."""

    def __init__(self) -> None:
        self.differences: list[str] = []
        self.notes: list[str] = []
        self.digests = self.rows = 0


def verify(a: Path, b: Path) -> Verdict:
    """Compare two runs that are finished, or live and stopped; digests are computed afresh from their files.

    Raises:
        RunError: one of them is no finished run.
    """
    runs = [_finished(path) for path in (a, b)]
    verdict = Verdict()
    if runs[0]["schema_v"] != runs[1]["schema_v"]:
        verdict.differences.append(f"schema versions differ: {runs[0]['schema_v']} and {runs[1]['schema_v']}")
        return verdict
    if runs[0]["analysis_hash"] != runs[1]["analysis_hash"]:
        setting = first_difference(runs[0]["analysis"], runs[1]["analysis"])
        verdict.differences.append(f"the analyses differ ({a} against {b}): {setting}".replace("it was", "there it is"))
        return verdict
    if runs[0]["platform"] != runs[1]["platform"]:
        what = first_difference(runs[0]["platform"], runs[1]["platform"])
        verdict.notes.append(
            f"the platforms differ ({what}), so values are compared to {RELATIVE:g}, not byte for byte"
        )
    if late := other_lateness(*runs):
        said = late.replace("it was", "there it is")
        verdict.notes.append(
            f"the allowed lateness differs ({a} against {b}): {said}; where rows came late, so may results"
        )
    for file in changed_plugins(*runs):
        verdict.notes.append(f"the plugin {file} was another file in {b}, of the same version; its values may differ")
    streams = plan_of_run(runs[0]).streams
    found = [recount(path, streams) for path in (a, b)]
    for path, run, result in zip((a, b), runs, found):
        if result.digests != run["digests"]:
            verdict.differences.append(f"{path}: its files are not those of its run.json, they were changed since")
    for name, stream in streams.items():
        ours, theirs = found[0].digests.get(name, {}), found[1].digests.get(name, {})
        verdict.rows += sum(found[0].counts[name].values()) if name in found[0].digests else 0
        for key in sorted({*ours, *theirs}):
            days = sorted({*ours.get(key, {}), *theirs.get(key, {})})
            verdict.digests += len(days)
            different = [day for day in days if ours.get(key, {}).get(day) != theirs.get(key, {}).get(day)]
            if different:
                row = _first_row(a, b, stream, key, tolerant=runs[0]["platform"] != runs[1]["platform"])
                if row:
                    verdict.differences.append(f"{name} of {key} on {different[0]}: {row}")
    return verdict


def _finished(path: Path) -> dict[str, Any]:
    run = read_run(path)
    if run.get("state") not in WHOLE:
        raise RunError(f"{path} holds an unfinished run: run the same command again to finish it, then verify")
    return run


def _first_row(a: Path, b: Path, stream: Stream, key: str, tolerant: bool) -> str | None:
    """The first row that differs, as a phrase; None where all are within the tolerance."""
    if isinstance(stream, Columns):
        ours, theirs = (stream.pack(read_stream(path, stream, key)) for path in (a, b))
        n = min(len(ours), len(theirs))
        whole = np.dtype((np.void, ours.dtype.itemsize))
        for i in np.flatnonzero(ours[:n].view(whole) != theirs[:n].view(whole)):
            for column in ours.dtype.names or ():
                x, y = ours[i][column], theirs[i][column]
                if x.tobytes() != y.tobytes() and not (tolerant and _close(x, y)):
                    ts = ours[i]["ts_close" if "ts_close" in (ours.dtype.names or ()) else "ts"]
                    return f"row {i} at {iso(int(ts))}: {column} is {x.item()!r} in {a} and {y.item()!r} in {b}"
    else:
        texts = [[record.canonical() for record in read_stream(path, stream, key)] for path in (a, b)]
        for k, (x, y) in enumerate(zip(*texts)):
            first = json.loads(x)
            for name, p, q in _leaves(first, json.loads(y)) if x != y else ():
                if not (tolerant and isinstance(p, float) and np.isclose(p, q, rtol=RELATIVE, atol=0.0)):
                    at = f"record {k} at {iso(first['ts'])}"
                    return f"{at}: {name} is {p!r} in {a} and {q!r} in {b}"
        ours, theirs = texts  # type: ignore[assignment]
    if len(ours) != len(theirs):
        return f"{len(ours)} rows in {a} and {len(theirs)} in {b}"
    return None


def _leaves(x: Any, y: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ, with the values there.

    >>> list(_leaves({"a": [1, 2], "b": 3}, {"a": [1, 5], "b": 4}))
    [('a.1', 2, 5), ('b', 3, 4)]
    """
    if isinstance(x, dict) and isinstance(y, dict) and x.keys() == y.keys():
        for part in x:
            yield from _leaves(x[part], y[part], f"{name}.{part}".lstrip("."))
    elif isinstance(x, list) and isinstance(y, list) and len(x) == len(y):
        for i, (ours, theirs) in enumerate(zip(x, y)):
            yield from _leaves(ours, theirs, f"{name}.{i}".lstrip("."))
    elif x != y:
        yield name, x, y


def _close(x: Any, y: Any) -> bool:
    return bool(x.dtype.kind == "f" and np.isclose(x, y, rtol=RELATIVE, atol=0.0, equal_nan=True))
