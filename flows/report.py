"""What a finished run says of itself: counts, reasons, what blocked, what is still cold; and the table for people."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from connectors.segments import read_keys, read_stream
from events.records import IntakeCounts, Outcome, Signal
from events.schema import COLD, PARTIAL
from events.streams import Columns, Records
from events.times import iso
from flows.plan import Plan
from operators.confluence import GATES


def summarise(directory: Path, plan: Plan, counts: dict[str, dict[str, int]]) -> dict[str, Any]:
    """The part of run.json that is worked out of the files of a run."""
    streams = plan.streams
    told, confluence = streams["counts"], streams["confluence"]
    assert isinstance(told, Records)
    assert isinstance(confluence, Columns)
    keys = read_keys(directory, told)
    intake = [
        record for key in keys for record in read_stream(directory, told, key) if isinstance(record, IntakeCounts)
    ]
    reasons: Counter[str] = Counter()
    for record in intake:
        reasons.update(record.rejected)
    with (directory / "dead_letters.jsonl").open(encoding="utf-8") as lines:
        reasons.update(reason for line in lines if (reason := json.loads(line)["reason"]) == "INDICATOR")
    return {
        "trades": {record.key: record.accepted for record in intake if record.name == "trades"},
        "reordered": {record.key: record.reordered for record in intake if record.reordered},
        "reasons": dict(sorted(reasons.items())),
        "signals": sum(counts["signals"].values()),
        "entries": {key: _entries(read_stream(directory, confluence, key)) for key in read_keys(directory, confluence)},
        "cold": {key: cold for key in keys if (cold := _cold(directory, plan, key))},
    }


def _entries(rows: Any) -> dict[str, Any]:
    """Of one instrument: base bars beyond the threshold, how often each gate was shut on them, and how far the score went."""
    wanted = rows["state"] != 0
    reach = np.abs(rows["m"]) * 50
    scored = ~np.isnan(reach)
    farthest = int(np.nanargmax(reach)) if scored.any() else None
    return {
        "base_bars": len(rows),
        "scored": int(scored.sum()),
        "beyond_theta": int(wanted.sum()),
        "blocked": {gate: int((wanted & (rows["gates"][:, k] == 0)).sum()) for k, gate in enumerate(GATES)},
        "largest_score": None if farthest is None else round(float(reach[farthest]), 2),
        "theta": None if farthest is None else float(rows["theta"][farthest]),
    }


def _cold(directory: Path, plan: Plan, key: str) -> dict[str, dict[str, str]]:
    """By timeframe the columns that have no value yet at the end of the run, and when they have enough bars."""
    base = plan.streams[f"bars.{plan.timeframes[0][0]}"]
    assert isinstance(base, Columns)
    bars = read_stream(directory, base, key)
    whole = bars[bars["flags"] & PARTIAL == 0]
    if not len(whole):
        return {}
    found: dict[str, dict[str, str]] = {}
    for name, length in plan.timeframes:
        stream = plan.streams[f"features.{name}"]
        assert isinstance(stream, Columns)
        rows = read_stream(directory, stream, key)
        first = int(rows["ts_open"][0]) if len(rows) else -(-int(whole["ts_open"][0]) // length) * length
        for indicator in plan.analysis.indicators:
            for column in indicator.columns:
                if not len(rows) or rows["status"][-1][plan.analysis.index[column]] == COLD:
                    found.setdefault(name, {})[column] = iso(first + (indicator.lookback + 1) * length)
    return found


def print_report(run: dict[str, Any], directory: Path, plan: Plan, console: Console) -> None:
    """The table at the end of a backtest, and a sentence for each thing worth knowing."""
    base = plan.timeframes[0][0]
    table = Table(
        box=SIMPLE, title="paper results: nothing here predicts anything", title_style="dim", title_justify="left"
    )
    table.add_column("instrument", no_wrap=True)
    for column in ("trades", f"{base} bars", "signals", "long", "closed", "mean R"):
        table.add_column(column, justify="right", no_wrap=True)
    for key in sorted(run["trades"]):
        signals, outcomes = _records(directory, plan, "signals", key), _records(directory, plan, "outcomes", key)
        net = [o.r_net for o in outcomes if isinstance(o, Outcome)]
        table.add_row(
            key,
            f"{run['trades'][key]:,}",
            f"{run['rows'][f'bars.{base}'].get(key, 0):,}",
            str(len(signals)),
            str(sum(isinstance(s, Signal) and s.side == "LONG" for s in signals)),
            str(len(net)),
            f"{sum(net) / len(net):+.2f}" if net else "-",
        )
    console.print(table)
    if run["reasons"]:
        console.print("refused: " + ", ".join(f"{n:,} {reason}" for reason, n in run["reasons"].items()))
    for key, entries in run["entries"].items():
        if not run["rows"]["signals"].get(key):
            console.print(_why_none(key, entries), soft_wrap=True)
    for key, by_timeframe in run["cold"].items():
        for name, columns in by_timeframe.items():
            console.print(f"{key} {name}: still cold: {_until(columns)}", soft_wrap=True)
    console.print(f"{directory}: run.json, one Parquet file per stream, tidewax.sqlite", soft_wrap=True)


def _until(columns: dict[str, str]) -> str:
    """Columns that warm up together, and when."""
    together: dict[str, list[str]] = {}
    for column, at in columns.items():
        together.setdefault(at, []).append(column)
    return "; ".join(f"{', '.join(names)} until {at}" for at, names in sorted(together.items()))


def _why_none(key: str, entries: dict[str, Any]) -> str:
    blocked = ", ".join(f"{gate} {n}" for gate, n in entries["blocked"].items() if n) or "none"
    if entries["largest_score"] is None:
        return f"{key}: no signal: no base bar of {entries['base_bars']} has a score, all dimensions were missing"
    return (
        f"{key}: no signal: the score went {entries['largest_score']} points from 50, the threshold there was {entries['theta']}; "
        f"{entries['beyond_theta']} base bars were beyond it, gates that blocked them: {blocked}"
    )


def _records(directory: Path, plan: Plan, name: str, key: str) -> tuple[Any, ...]:
    stream = plan.streams[name]
    assert isinstance(stream, Records)
    return read_stream(directory, stream, key)
