"""The reliability table: how often signals like this one closed with a gain, counted from stored paper outcomes and nothing else.

Section 8 of the specification of confluence; `operators.reliability` reads the table.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from connectors.segments import recount
from events.errors import RunError
from events.identity import canonical_json
from events.records import Outcome
from flows.report_figures import FEWEST, wilson
from flows.report_runs import FinishedRun
from flows.rundir import first_difference
from operators.reliability import Bucket, bucket_of, reliability

TABLE_VERSION: Final = 1
FEWEST_TO_CALIBRATE: Final = 200
BINS: Final = 10


def brier(predicted: Sequence[float], won: Sequence[bool]) -> float:
    """Mean squared difference of predicted rate and what happened, 0 or 1 (Brier 1950).

    >>> round(brier([0.7, 0.6, 0.55, 0.4], [True, False, True, False]), 12)
    0.203125
    """
    return fmean((p - w) ** 2 for p, w in zip(predicted, won))


def tabulate(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Totals and buckets of these outcomes, in rising order of the buckets."""
    of_all: Counter[Bucket] = Counter()
    won: Counter[Bucket] = Counter()
    for outcome in outcomes:
        bucket = bucket_of(outcome.score, outcome.agreement, outcome.regime)
        of_all[bucket] += 1
        won[bucket] += outcome.r_net > 0
    rows = [
        {"strength": strength, "tercile": tercile, "regime": regime, "n_b": of_all[bucket], "wins_b": won[bucket]}
        for bucket in sorted(of_all, key=lambda b: (b[0], b[1], b[2] or ""))
        for strength, tercile, regime in [bucket]
    ]
    return {
        "ts_from": min(o.ts_close for o in outcomes),
        "ts_to": max(o.ts_close for o in outcomes),
        "n": len(outcomes),
        "wins": sum(won.values()),
        "buckets": rows,
    }


def diagram(predicted: Sequence[float], won: Sequence[bool]) -> list[dict[str, Any]]:
    """The reliability diagram: up to ten bins of equal count by rising prediction, each with n, the mean `predicted` and the
    `observed` rate with its 95 % `interval`.

    >>> [(b["n"], b["predicted"], b["observed"]) for b in diagram([0.25, 0.75], [False, True])]
    [(1, 0.25, 0.0), (1, 0.75, 1.0)]
    """
    pairs = sorted(zip(predicted, won), key=lambda pair: pair[0])
    bins, n = min(BINS, len(pairs)), len(pairs)
    found = []
    for k in range(bins):
        part = pairs[k * n // bins : (k + 1) * n // bins]
        wins = sum(w for _, w in part)
        found.append(
            {
                "n": len(part),
                "predicted": fmean(p for p, _ in part),
                "observed": wins / len(part),
                "interval": wilson(wins, len(part)),
            }
        )
    return found


def out_of_sample(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """How a table of the first three quarters of the time span does on the signals of the last.

    The cut is ts_from + 3/4 (ts_to - ts_from). Signals filled before it and closed after are in neither part.

    Returns:
        ts_cut, trained_on, left_out, n; and `brier`, `brier_of_base_rate` (of predicting the rate of the first part throughout: a
        table that is worth something is below it) and `diagram`, or a `note` where n is below 30.
    """
    ordered = sorted(outcomes, key=lambda o: (o.ts_close, o.key, o.signal_id))
    first, last = ordered[0].ts_close, ordered[-1].ts_close
    cut = first + (last - first) * 3 // 4
    before, after = [o for o in ordered if o.ts_close < cut], [o for o in ordered if o.ts_open >= cut]
    found: dict[str, Any] = {
        "ts_cut": cut,
        "trained_on": len(before),
        "left_out": len(ordered) - len(before) - len(after),
        "n": len(after),
    }
    if not before or len(after) < FEWEST:
        return found | {
            "note": f"n too small: {len(after)} outcomes in the last quarter of the time, {FEWEST} are needed"
        }
    table, won = tabulate(before), [o.r_net > 0 for o in after]
    predicted = [reliability(table, o.score, o.agreement, o.regime) for o in after]
    base = table["wins"] / table["n"]
    return found | {
        "brier": brier(predicted, won),
        "brier_of_base_rate": brier([base] * len(won), won),
        "diagram": diagram(predicted, won),
    }


def calibrate(directories: Sequence[Path], file: Path) -> dict[str, Any]:
    """Make the reliability table of all outcomes of these runs, as canonical JSON in `file`, whole or not at all.

    Returns:
        table; sha256 of the bytes of the file; out_of_sample, see `out_of_sample`.

    Raises:
        RunError: fewer than 200 outcomes, runs of different analyses, files changed since the run, or `file` cannot be written.
    """
    runs = [FinishedRun(path) for path in directories]
    outcomes = one_analysis(runs)
    if len(outcomes) < FEWEST_TO_CALIBRATE:
        raise RunError(
            f"{len(outcomes)} outcomes are too few to calibrate by: {FEWEST_TO_CALIBRATE} are needed. "
            "Run over more data, or name more run directories of the same settings"
        )
    digests = []
    for run in runs:
        found = recount(run.path, {"outcomes": run.plan.streams["outcomes"]}).digests.get("outcomes", {})
        if found != run.run["digests"].get("outcomes", {}):
            raise RunError(f"{run.path}: its outcomes are not those of its run.json, they were changed since")
        digests.append(found)
    made_by = {"analysis_hash": runs[0].run["analysis_hash"], "outcomes": digests}
    table = {"table_v": TABLE_VERSION, "made_by": made_by} | tabulate(outcomes)
    text = (canonical_json(table) + "\n").encode()
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_bytes(text)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RunError(f"the table {file} cannot be written: {error.strerror or error}") from None
    return {"table": table, "sha256": hashlib.sha256(text).hexdigest(), "out_of_sample": out_of_sample(outcomes)}


def one_analysis(runs: Sequence[FinishedRun]) -> list[Outcome]:
    """All outcomes of runs of one analysis, each signal once, by the order of the runs.

    Raises:
        RunError: the runs are of different analyses, or there are none.
    """
    if not runs:
        raise RunError("name at least one run directory")
    for other in runs[1:]:
        if other.run["analysis_hash"] != runs[0].run["analysis_hash"]:
            what = first_difference(runs[0].run["analysis"], other.run["analysis"])
            raise RunError(
                f"one table is of one analysis, {runs[0].path} and {other.path} differ: {what}".replace(
                    "it was", "there it is"
                )
            )
    once: dict[str, Outcome] = {}
    for run in runs:
        for key in run.keys:
            for outcome in run.records(Outcome, key):
                once.setdefault(outcome.signal_id, outcome)
    return list(once.values())
