"""How covered each dimension of a run was, and why one was not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from connectors.segments import read_stream
from events.frames import Array
from events.schema import COLD, SILENT, STATUS_NAMES
from events.streams import Columns
from flows.plan import Plan
from flows.report_figures import percent

THIN = 0.5
"""Below this coverage a dimension says why."""


def dimensions(directory: Path, plan: Plan, key: str, scores: Array) -> dict[str, dict[str, Any]]:
    """How covered the dimensions of an instrument's preset were, by name.

    `covered` is the mean q of the base bars on which one was not silent: None if it always was, or is not applicable. `why` is a
    phrase where it is not applicable or covered less than half.

    Args:
        directory: of the run.
        plan: of the run.
        key: the instrument.
        scores: its confluence rows.
    """
    found: dict[str, dict[str, Any]] = {}
    names = [name for name, _ in plan.dimensions]
    for name in plan.electorate.weights_of(plan.electorate.preset_of(key)):
        why = plan.electorate.why_not(key, name)
        if why is not None:
            found[name] = {"covered": None, "why": why}
            continue
        place = names.index(name)
        spoke = scores["status"][:, place] != SILENT
        covered = float(scores["q"][spoke, place].mean()) if spoke.any() else None
        thin = covered is not None and covered < THIN
        found[name] = {"covered": covered, "why": _thin(directory, plan, key, name) if thin else None}
    return found


def _thin(directory: Path, plan: Plan, key: str, dimension: str) -> str | None:
    """What most base bars lacked of each score beside the features that did not vote on them."""
    told = []
    silent = plan.confluence.voters_of(key).silent
    for beside in plan.beside:
        scores = [s for s in beside.scores if s.dimension == dimension and s.column not in silent]
        if not scores:
            continue
        stream = plan.streams[f"{beside.name}.{plan.timeframes[0][0]}"]
        assert isinstance(stream, Columns)
        rows = read_stream(directory, stream, key)
        for score in scores:
            statuses = rows["status"][:, beside.columns.index(score.column)]
            ((status, n),) = Counter(np.asarray(statuses).tolist()).most_common(1) or ((COLD, 0),)
            if not n:
                told.append(f"{score.name} never came")
            elif status >= COLD and status != SILENT:
                told.append(f"{score.name} {STATUS_NAMES[status]} on {percent(n / len(rows))} of bars")
    return ", ".join(told) or None


def dimensions_line(told: dict[str, dict[str, Any]]) -> str:
    """What took part and how far, in a line.

    >>> dimensions_line({"liquidity": {"covered": 0.972, "why": None}, "ml": {"covered": None, "why": "it is off"}})
    'dimensions: liquidity covered 97 %; ml not applicable: it is off'
    """
    parts = []
    for name, dimension in told.items():
        covered, why = dimension["covered"], dimension["why"]
        if covered is not None:
            parts.append(f"{name} covered {percent(covered)}{f' ({why})' if why else ''}")
        else:
            parts.append(f"{name} {f'not applicable: {why}' if why else 'silent throughout'}")
    return f"dimensions: {'; '.join(parts)}"
