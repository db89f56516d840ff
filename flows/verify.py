"""Whether two runs agree: by their digests, and where they do not, by the first row that differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from connectors.segments import read_stream, recount
from events.errors import RunError
from events.streams import Columns, Stream
from events.times import iso
from flows.plan import plan_of_run
from flows.rundir import WHOLE, changed_plugins, directories_of, first_difference, other_lateness, read_run

RELATIVE = 1e-9
"""Within what runs on different platforms agree."""


class Verdict:
    """What a comparison found: `differences` (empty: the runs agree), `notes`, and how many digests and rows were compared."""

    def __init__(self) -> None:
        self.differences: list[str] = []
        self.notes: list[str] = []
        self.digests = self.rows = 0


class _Run:
    """A run to compare: one directory, or where it ran in shards, those of all together.

    Attributes:
        path: as the user named it.
        runs: what run.json says, of each directory.
        digests: by stream, instrument and day, computed afresh.
        counts: rows by stream and instrument.
        faults: what is wrong with it as such, as sentences.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.faults = path, list[str]()
        self._directories = directories_of(path)
        self.runs = [_finished(directory) for directory in self._directories]
        self.digests: dict[str, dict[str, dict[str, str]]] = {}
        self.counts: dict[str, dict[str, int]] = {}
        self._home: dict[tuple[str, str], Path] = {}

    def differs(self) -> str | None:
        """Where its shards are not of one analysis: the first setting, as a sentence."""
        for directory, run in zip(self._directories[1:], self.runs[1:]):
            if said := _other_analysis(self._directories[0], self.runs[0], directory, run):
                return said
        return None

    def recount(self, streams: Mapping[str, Stream]) -> None:
        """Read the files."""
        for directory, run in zip(self._directories, self.runs):
            found = recount(directory, {name: stream for name, stream in streams.items() if name in run["rows"]})
            if found.digests != run["digests"]:
                self.faults.append(f"{directory}: its files are not those of its run.json, they were changed since")
            for name, by_key in found.digests.items():
                for key, days in by_key.items():
                    first = self._home.setdefault((name, key), directory)
                    if first != directory:
                        self.faults.append(f"{name} of {key} is in {first} and in {directory}; it belongs to one shard")
                    self.digests.setdefault(name, {})[key] = days
                    self.counts.setdefault(name, {})[key] = found.counts[name][key]

    def rows(self, stream: Stream, key: str) -> Any:
        """The rows or records of an instrument; none where no directory has any."""
        home = self._home.get((stream.name, key))
        if home is None:
            return np.empty(0, stream.dtype) if isinstance(stream, Columns) else ()
        return read_stream(home, stream, key)


def verify(a: Path, b: Path) -> Verdict:
    """Compare two runs that are finished, or live and stopped; digests are computed afresh from their files. A run in shards is
    all its shards together, in which every instrument has to be once.

    Raises:
        RunError: one of them is no finished run, or shards of it are missing.
    """
    ours, theirs = _Run(a), _Run(b)
    headers, verdict = (ours.runs[0], theirs.runs[0]), Verdict()
    if headers[0]["schema_v"] != headers[1]["schema_v"]:
        verdict.differences.append(f"schema versions differ: {headers[0]['schema_v']} and {headers[1]['schema_v']}")
        return verdict
    if other := ours.differs() or theirs.differs() or _other_analysis(a, headers[0], b, headers[1]):
        verdict.differences.append(other)
        return verdict
    platforms = [run["platform"] for run in (*ours.runs, *theirs.runs)]
    if others := [platform for platform in platforms if platform != platforms[0]]:
        what = first_difference(platforms[0], others[0])
        verdict.notes.append(
            f"the platforms differ ({what}), so values are compared to {RELATIVE:g}, not byte for byte"
        )
    if late := other_lateness(*headers):
        said = late.replace("it was", "there it is")
        verdict.notes.append(
            f"the allowed lateness differs ({a} against {b}): {said}; where rows came late, so may results"
        )
    for file in changed_plugins(*headers):
        verdict.notes.append(f"the plugin {file} was another file in {b}, of the same version; its values may differ")
    kinds = {
        tuple(run["streams"]): run for run in (*ours.runs, *theirs.runs)
    }  # shards leave out what is of all instruments
    streams = {name: stream for run in kinds.values() for name, stream in plan_of_run(run).streams.items()}
    for run in (ours, theirs):
        run.recount(streams)
        verdict.differences += run.faults
    for name, stream in streams.items():
        x, y = ours.digests.get(name, {}), theirs.digests.get(name, {})
        verdict.rows += sum(ours.counts.get(name, {}).values())
        for key in sorted({*x, *y}):
            days = sorted({*x.get(key, {}), *y.get(key, {})})
            verdict.digests += len(days)
            different = [day for day in days if x.get(key, {}).get(day) != y.get(key, {}).get(day)]
            if different:
                row = _first_row(ours, theirs, stream, key, tolerant=bool(others))
                if row:
                    verdict.differences.append(f"{name} of {key} on {different[0]}: {row}")
    return verdict


def _finished(path: Path) -> dict[str, Any]:
    run = read_run(path)
    if run.get("state") not in WHOLE:
        raise RunError(f"{path} holds an unfinished run: run the same command again to finish it, then verify")
    return run


def _other_analysis(a: Path, ours: dict[str, Any], b: Path, theirs: dict[str, Any]) -> str | None:
    """The first setting in which two analyses differ, as a sentence; None where they are the same."""
    if ours["analysis_hash"] == theirs["analysis_hash"]:
        return None
    setting = first_difference(ours["analysis"], theirs["analysis"])
    return f"the analyses differ ({a} against {b}): {setting}".replace("it was", "there it is")


def _first_row(one: _Run, other: _Run, stream: Stream, key: str, tolerant: bool) -> str | None:
    """The first row that differs, as a phrase; None where all are within the tolerance."""
    a, b = one.path, other.path
    if isinstance(stream, Columns):
        ours, theirs = (stream.pack(run.rows(stream, key)) for run in (one, other))
        n = min(len(ours), len(theirs))
        whole = np.dtype((np.void, ours.dtype.itemsize))
        for i in np.flatnonzero(ours[:n].view(whole) != theirs[:n].view(whole)):
            for column in ours.dtype.names or ():
                x, y = ours[i][column], theirs[i][column]
                if x.tobytes() != y.tobytes() and not (tolerant and _close(x, y)):
                    ts = ours[i]["ts_close" if "ts_close" in (ours.dtype.names or ()) else "ts"]
                    return f"row {i} at {iso(int(ts))}: {column} is {x.item()!r} in {a} and {y.item()!r} in {b}"
    else:
        texts = [[record.canonical() for record in run.rows(stream, key)] for run in (one, other)]
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
