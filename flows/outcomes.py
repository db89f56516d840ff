"""The calibration report: paper outcomes of finished runs by preset, side, regime and month, each cell with n and intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console

from events.errors import RunError
from events.frames import Array
from events.records import Outcome
from events.times import iso
from flows.report import narrow_table
from flows.report_calibration import FEWEST_TO_CALIBRATE, calibrate, out_of_sample
from flows.report_figures import FEWEST, between, figures, percent, rate_between, signed, synthetic_note
from flows.report_runs import FinishedRun, lived
from operators.confluence import GATES
from operators.indicators.regime import REGIMES

__all__ = ["GROUPS", "calibrate", "print_outcomes", "report"]

GROUPS: Final = ("preset", "side", "regime", "month")
"""What cells are grouped by; the month is the UTC month of the close."""
TOO_SMALL: Final = "n too small"
_SIDES: Final = {1: "LONG", -1: "SHORT", 0: "NEUTRAL"}
_BINS: Final = 10


class _Told(NamedTuple):
    preset: str
    outcome: Outcome

    def value(self, group: str) -> str | None:
        """The cell of one grouping that it falls into."""
        if group == "preset":
            return self.preset
        if group == "month":
            return iso(self.outcome.ts_close)[:7]
        value: str | None = getattr(self.outcome, group)
        return value


class _Bars(NamedTuple):
    """Counts of base bars of one preset, side of the entry state, month and regime."""

    preset: str
    side: str
    month: str
    regime: str | None
    blocked: Array  # by gate, of those in an entry state
    coverage: Array  # histogram over [0, 1]
    n: int


def report(directories: Sequence[Path]) -> dict[str, Any]:
    """The calibration report of finished runs, as plain data. All outcomes are simulated: `label` is "paper".

    A signal that is in several runs counts once, and so does a base bar of the same analysis.

    Returns:
        runs: what was read. n: outcomes.
        all: one cell. groups: by each of `GROUPS`, cells with their `value`. cells: the same by all four at once.
        A cell has the fields of `flows.report_figures.figures`, or below n = 30 only n and the note "n too small". Cells of
        `all` and `groups` also have `bars`: base bars beyond theta (entry state LONG or SHORT), the share of them that each gate
        blocked, and `coverage`, a histogram of all base bars in tenths.
        reliability: see `flows.report_calibration.out_of_sample`, or a note why there is none.

    Raises:
        RunError: a directory holds no finished run.
    """
    if not directories:
        raise RunError("name at least one run directory")
    runs = [FinishedRun(path) for path in directories]
    once: dict[str, _Told] = {}
    bars: list[_Bars] = []
    seen: dict[tuple[str, str], Array] = {}
    for run in runs:
        for key in run.keys:
            preset = run.plan.electorate.preset_of(key)
            for outcome in run.records(Outcome, key):
                once.setdefault(outcome.signal_id, _Told(preset, outcome))
            rows, of = lived(run.path, run.plan, key)[1], (run.run["analysis_hash"], key)
            fresh = rows[~np.isin(rows["available_at"], seen[of])] if of in seen else rows
            seen[of] = np.union1d(seen[of], fresh["available_at"]) if of in seen else rows["available_at"]
            bars += _count(preset, fresh)
    told = list(once.values())
    by_cell: dict[tuple[str | None, ...], list[_Told]] = {}
    for one in told:
        by_cell.setdefault(tuple(one.value(group) for group in GROUPS), []).append(one)
    return {
        "label": "paper",
        "runs": [
            {
                "directory": str(run.path),
                "analysis_hash": run.run["analysis_hash"],
                "presets": run.run["presets"],
                "outcomes": sum(run.run["rows"]["outcomes"].values()),
            }
            for run in runs
        ],
        "n": len(told),
        "all": _cell(told) | {"bars": _of_bars(bars)},
        "groups": {group: _grouped(group, told, bars) for group in GROUPS},
        "cells": [dict(zip(GROUPS, values)) | _cell(by_cell[values]) for values in sorted(by_cell, key=str)],
        "reliability": _reliability(runs, [one.outcome for one in told]),
    }


def _cell(told: Sequence[_Told]) -> dict[str, Any]:
    if len(told) < FEWEST:
        return {"n": len(told), "note": TOO_SMALL}
    return figures([one.outcome for one in told])


def _grouped(group: str, told: Sequence[_Told], bars: Sequence[_Bars]) -> list[dict[str, Any]]:
    cells = []
    for value in sorted({one.value(group) for one in told}, key=lambda v: v or ""):
        cell = {"value": value} | _cell([one for one in told if one.value(group) == value])
        cell["bars"] = _of_bars(part for part in bars if getattr(part, group) == value)
        cells.append(cell)
    return cells


def _count(preset: str, rows: Array) -> list[_Bars]:
    months = rows["available_at"].astype("datetime64[ns]").astype("datetime64[M]")
    found = []
    for month, code in sorted(set(zip(months.tolist(), rows["regime"].tolist()))):
        for state, side in _SIDES.items():
            part = rows[(months == np.datetime64(month, "M")) & (rows["regime"] == code) & (rows["state"] == state)]
            if len(part):
                blocked = (part["gates"] == 0).sum(axis=0)
                tenths = np.minimum((part["coverage"] * _BINS + 1e-9).astype(np.int64), _BINS - 1)
                coverage = np.bincount(tenths, minlength=_BINS)
                label = REGIMES.get(code)
                found.append(_Bars(preset, side, f"{month:%Y-%m}", label, blocked, coverage, len(part)))
    return found


def _of_bars(parts: Iterable[_Bars]) -> dict[str, Any]:
    every = list(parts)
    beyond = [part for part in every if part.side != "NEUTRAL"]
    n = sum(part.n for part in beyond)
    blocked = np.sum([part.blocked for part in beyond], axis=0).tolist() if beyond else [0] * len(GATES)
    return {
        "beyond_theta": n,
        "blocked": {gate: count / n if n else None for gate, count in zip(GATES, blocked)},
        "coverage": np.sum([part.coverage for part in every], axis=0).tolist() if every else [0] * _BINS,
    }


def _reliability(runs: Sequence[FinishedRun], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    if len({run.run["analysis_hash"] for run in runs}) > 1:
        return {"note": "the runs are of different analyses, a reliability table is of one"}
    if len(outcomes) < FEWEST_TO_CALIBRATE:
        return {"note": f"uncalibrated: {len(outcomes)} outcomes, {FEWEST_TO_CALIBRATE} are needed"}
    return out_of_sample(outcomes)


def print_outcomes(data: dict[str, Any], console: Console) -> None:
    """The report for people, readable from 80 columns on."""
    table = narrow_table(
        "paper outcomes net of costs, 95 % intervals; they predict nothing",
        "", "n", "win rate", "expectancy R\nmedian", "profit\nfactor", "max DD R\nhours", "MFE R\nMAE R",
    )  # fmt: skip
    table.add_row("all", *_shown(data["all"]))
    for group in GROUPS:
        for cell in data["groups"][group]:
            table.add_row(f"{group} {cell['value'] or 'unlabelled'}", *_shown(cell))
    console.print(table)
    bars = data["all"]["bars"]
    shares = ", ".join(f"{gate} {percent(share)}" for gate, share in bars["blocked"].items() if share is not None)
    if shares:
        console.print(f"{bars['beyond_theta']:,} base bars beyond theta, blocked by: {shares}", soft_wrap=True)
    n = sum(bars["coverage"])
    tenths = [f"{k / _BINS:.1f}-{(k + 1) / _BINS:.1f} {percent(c / n)}" for k, c in enumerate(bars["coverage"]) if c]
    console.print(f"coverage of {n:,} base bars: {', '.join(tenths) or 'none'}", soft_wrap=True)
    print_reliability(data["reliability"], console)
    if note := synthetic_note(key for run in data["runs"] for key in run["presets"]):
        console.print(note, soft_wrap=True)


def print_reliability(found: dict[str, Any], console: Console) -> None:
    """The out-of-sample part of a report or of `calibrate` for people."""
    if "brier" not in found:
        console.print(f"reliability out of sample: {found['note']}", soft_wrap=True)
        return
    console.print(
        f"reliability out of sample, from {iso(found['ts_cut'])} on, table of the {found['trained_on']} outcomes before, n "
        f"{found['n']}: Brier score {found['brier']:.4f}, of the base rate alone {found['brier_of_base_rate']:.4f}",
        soft_wrap=True,
    )
    table = narrow_table("reliability diagram", "predicted", "observed", "95 % interval", "n")
    for part in found["diagram"]:
        row = percent(part["observed"]), rate_between(part["interval"]), str(part["n"])
        table.add_row(percent(part["predicted"]), *row)
    console.print(table)


def _shown(cell: dict[str, Any]) -> list[str]:
    if "note" in cell:
        return [str(cell["n"]), cell["note"], "-", "-", "-", "-"]
    factor = cell["profit_factor"]
    return [
        str(cell["n"]),
        f"{percent(cell['win_rate'])}\n{rate_between(cell['win_rate_interval'])}",
        f"{signed(cell['expectancy_r'])}\n{between(cell['mean_r_interval'])}\n{signed(cell['median_r'])}",
        "-" if factor is None else f"{factor:.2f}",
        f"{cell['drawdown_r']:.1f}\n{cell['time_s'] / 3600:.1f}",
        f"{cell['mfe_r']:.2f}\n{cell['mae_r']:.2f}",
    ]
