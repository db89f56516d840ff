"""What a finished run says of itself: counts, reasons, what blocked, what is still cold; and the tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from connectors.segments import read_keys, read_stream
from events.feeds import KLINES, RATES, TRADES
from events.records import IntakeCounts, Outcome, Signal
from events.schema import COLD, PARTIAL
from events.streams import Columns, Records, Stream
from events.times import DAY_NS, iso
from flows.plan import Plan
from flows.report_components import component_lines, read_outages, summary
from flows.report_dimensions import dimensions, dimensions_line
from flows.report_failures import FAILURES, dead_letters, failures_table
from flows.report_figures import FEWEST, between, figures, percent, rate_between, signed, synthetic_note
from flows.report_market import market_of, shut_by_market
from flows.report_reconcile import reconcile_lines, reconciled
from flows.report_runs import lived, read_records
from flows.report_yardsticks import buy_and_hold, coin_flip
from operators.confluence import GATES


def summarise(directory: Path, plan: Plan, counts: dict[str, dict[str, int]]) -> dict[str, Any]:
    """The part of run.json that is worked out of the files of a run."""
    confluence = plan.streams["confluence"]
    assert isinstance(confluence, Columns)
    intake, reasons, dead, failed = refusals(directory, plan.streams)
    # a recording that was cut short says no END, and its intake has counted nothing yet
    keys = sorted({record.key for record in intake} | counts[f"bars.{plan.timeframes[0][0]}"].keys())
    reordered: Counter[str] = Counter()
    for record in intake:
        reordered[record.key] += record.reordered
    return {
        **{
            noun: _accepted(intake, feed) for noun, feed in (("trades", TRADES), ("klines", KLINES), ("funding", RATES))
        },
        "reordered": {key: n for key, n in reordered.items() if n},
        "reasons": dict(sorted(reasons.items())),
        "signals": sum(counts["signals"].values()),
        "entries": {key: _entries(directory, plan, key) for key in read_keys(directory, confluence)},
        "dead_letters": dict(sorted(dead.items())),
        "failed": failed,
        "reconcile": reconciled(directory, plan.streams),
        "components": summary(read_outages(directory, plan.streams)),
        "results": {key: _results(directory, plan, key) for key in keys},
        "cold": {key: cold for key in keys if (cold := _cold(directory, plan, key))},
    }


def refused_line(reasons: Mapping[str, int]) -> str:
    """What was refused, in words.

    >>> refused_line({"LATE": 1200})
    'refused: 1,200 LATE (rows below later ones: is each file sorted by time, over all its instruments?)'
    """
    hint = (
        " (rows below later ones: is each file sorted by time, over all its instruments?)" if "LATE" in reasons else ""
    )
    return "refused: " + ", ".join(f"{n:,} {reason}" for reason, n in reasons.items()) + hint


def refusals(
    directory: Path, streams: Mapping[str, Stream]
) -> tuple[list[IntakeCounts], Counter[str], Counter[str], list[dict[str, Any]]]:
    """Of the files of a run: what the intake counted, what was refused or failed by reason, dead letters by reason, and which
    columns failed.
    """
    told = streams["counts"]
    assert isinstance(told, Records)
    keys = read_keys(directory, told)
    intake = [
        record for key in keys for record in read_stream(directory, told, key) if isinstance(record, IntakeCounts)
    ]
    reasons: Counter[str] = Counter()
    for record in intake:
        reasons.update(record.rejected)
    with (directory / "dead_letters.jsonl").open(encoding="utf-8") as lines:
        dead, failed = dead_letters(lines)
    for reason in FAILURES:
        if dead[reason]:
            reasons[reason] += dead[reason]
    return intake, reasons, dead, failed


def _accepted(intake: list[IntakeCounts], feed: str) -> dict[str, int]:
    """Rows of a stream that were taken in, by instrument; of every instrument that the run had the stream for."""
    return {record.key: record.accepted for record in intake if record.name == feed}


def _results(directory: Path, plan: Plan, key: str) -> dict[str, Any]:
    """Of one instrument: its base bars in days, signals, mean coverage, dimensions, the figures of its outcomes, yardsticks."""
    bars, scores = lived(directory, plan, key)
    signals = read_records(directory, plan, Signal, key)
    outcomes = read_records(directory, plan, Outcome, key)
    days = (int(bars["ts_close"][-1]) - int(bars["ts_open"][0])) / DAY_NS if len(bars) else 0.0
    return {
        "base_bars": len(bars),
        "days": days,
        "signals": len(signals),
        "long": sum(signal.side == "LONG" for signal in signals),
        "signals_per_day": len(signals) / days if days else None,
        "coverage": float(scores["coverage"].mean()) if len(scores) else None,
        "dimensions": dimensions(directory, plan, key, scores),
        "outcomes": figures(outcomes),
        "coin_flip": coin_flip(signals, outcomes, bars, scores, plan.signals),
        "buy_and_hold": buy_and_hold(signals, outcomes, bars),
    }


def _entries(directory: Path, plan: Plan, key: str) -> dict[str, Any]:
    """Of one instrument: base bars beyond the threshold, how often each gate was shut on them, and how far the score went."""
    rows = lived(directory, plan, key)[1]
    wanted = rows["state"] != 0
    reach = np.abs(rows["m"]) * 50
    scored = ~np.isnan(reach)
    farthest = int(np.nanargmax(reach)) if scored.any() else None
    blocked = {gate: int((wanted & (rows["gates"][:, k] == 0)).sum()) for k, gate in enumerate(GATES)}
    if plan.cross.compared and market_of(directory) is not None:
        blocked["market"] = int(np.count_nonzero(shut_by_market(directory, plan, rows)))
    return {
        "base_bars": len(rows),
        "scored": int(scored.sum()),
        "beyond_theta": int(wanted.sum()),
        "blocked": blocked,
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
                    found.setdefault(name, {})[column] = iso(first + (plan.analysis.lookback[column] + 1) * length)
    return found


def print_report(run: dict[str, Any], directory: Path, plan: Plan, console: Console) -> None:
    """The tables at the end of a backtest, and a sentence for each thing worth knowing; readable from 80 columns on."""
    base = plan.timeframes[0][0]
    console.print(_market_table(run, base))
    console.print(_results_table(run["results"]))
    for key, results in run["results"].items():
        for line in _lines(results, run["entries"].get(key), plan):
            if line:
                console.print(f"{key}: {line}", soft_wrap=True)
    if note := synthetic_note(run["results"]):
        console.print(note, soft_wrap=True)
    if any(0 < results["outcomes"]["n"] < FEWEST for results in run["results"].values()):
        console.print(f"fewer than {FEWEST} closed signals are too few to judge by", soft_wrap=True)
    if run["reasons"]:
        console.print(refused_line(run["reasons"]), soft_wrap=True)
    if run["dead_letters"]:
        told = ", ".join(f"{n:,} {reason}" for reason, n in run["dead_letters"].items())
        console.print(f"dead letters, with reason and row in dead_letters.jsonl: {told}", soft_wrap=True)
    for line in (*reconcile_lines(run["reconcile"]), *component_lines(run["components"])):
        console.print(line, soft_wrap=True, markup=False)
    if run["failed"]:
        console.print(failures_table(run["failed"]))
    for key, entries in run["entries"].items():
        if not run["rows"]["signals"].get(key):
            console.print(_why_none(key, entries, plan), soft_wrap=True)
    for key, by_timeframe in run["cold"].items():
        for name, columns in by_timeframe.items():
            console.print(f"{key} {name}: still cold: {_until(columns)}", soft_wrap=True)
    lists = f"; `tidewax explain {directory}` lists the signals" if any(run["rows"]["signals"].values()) else ""
    console.print(f"{directory}: run.json, one Parquet file per stream, tidewax.sqlite{lists}", soft_wrap=True)


def narrow_table(title: str, first: str, *columns: str) -> Table:
    """A table of figures whose first column wraps where 80 columns are not enough; the others never do."""
    table = Table(
        box=SIMPLE,
        title=f"\n{title}",
        title_style="dim",
        title_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _market_table(run: dict[str, Any], base: str) -> Table:
    seen = {**run["trades"], **run["klines"]}
    noun = " or ".join(noun for noun in ("trades", "klines") if run[noun]) or "trades"
    table = narrow_table(
        "what was seen", "instrument", noun, f"{base} bars", "days", "signals", "long", "a day", "mean\ncoverage"
    )
    for key, results in run["results"].items():
        a_day = results["signals_per_day"]
        table.add_row(
            key,
            f"{seen[key]:,}" if key in seen else "-",
            f"{results['base_bars']:,}",
            f"{results['days']:.1f}",
            str(results["signals"]),
            str(results["long"]),
            "-" if a_day is None else f"{a_day:.1f}",
            "-" if results["coverage"] is None else f"{results['coverage']:.2f}",
        )
    return table


def _results_table(by_key: dict[str, Any]) -> Table:
    table = narrow_table(
        "paper results net of costs, 95 % intervals; they predict nothing",
        "instrument", "closed", "hit rate", "expectancy R", "profit\nfactor", "best R", "worst R",
    )  # fmt: skip
    for key, results in by_key.items():
        found = results["outcomes"]
        if not found["n"]:
            table.add_row(key, "0", *["-"] * 5)
            continue
        factor = found["profit_factor"]
        table.add_row(
            key,
            str(found["n"]),
            f"{percent(found['win_rate'])}\n{rate_between(found['win_rate_interval'])}",
            f"{signed(found['mean_r'])}\n{between(found['mean_r_interval'])}",
            "-" if factor is None else f"{factor:.2f}",
            signed(found["best_r"]),
            signed(found["worst_r"]),
        )
    return table


def _gates(entries: dict[str, Any] | None, plan: Plan) -> str | None:
    """Which gates blocked, as a phrase; None where no bar got so far."""
    if not entries or not entries["beyond_theta"]:
        return None
    beyond = entries["beyond_theta"]
    shut = [f"{gate} {n:,} ({percent(n / beyond)})" for gate, n in entries["blocked"].items() if n]
    where = "beyond theta" if plan.rule is None else f"on a side by the rule {plan.rule.name}"
    return f"{beyond:,} base bars were {where}; gates that blocked them: {', '.join(shut) or 'none'}"


def _lines(results: dict[str, Any], entries: dict[str, Any] | None, plan: Plan) -> Iterator[str | None]:
    """What is said of one instrument below the tables."""
    yield _gates(entries, plan) if results["signals"] else None
    yield dimensions_line(results["dimensions"])
    yield from _yardsticks(results)


def _yardsticks(results: dict[str, Any]) -> list[str]:
    """The comparisons of one instrument, as phrases."""
    coin, hold, said = results["coin_flip"], results["buy_and_hold"], []
    if coin["n"]:
        low_high = coin["difference_interval"]
        verdict = ""
        if low_high is not None:
            told_apart = not low_high[0] <= 0 <= low_high[1]
            verdict = f" ({between(low_high)})" + ("" if told_apart else ", not told apart from the coin")
        left = f", {coin['left_out']} left out" if coin["left_out"] else ""
        said.append(
            f"against a coin flip for the side, same entries, risk and costs, n {coin['n']}{left}: the coin "
            f"{signed(coin['coin_r'])} R, the signals {signed(coin['signals_r'])} R, difference "
            f"{signed(coin['difference_r'])} R{verdict}"
        )
    if hold["n"]:
        said.append(
            f"against holding the instrument over the same bars at the same notional, without costs: "
            f"{signed(hold['mean_r'])} R ({between(hold['interval'])}) a signal"
        )
    return said


def _until(columns: dict[str, str]) -> str:
    """Columns that warm up together, and when."""
    together: dict[str, list[str]] = {}
    for column, at in columns.items():
        together.setdefault(at, []).append(column)
    return "; ".join(f"{', '.join(names)} until {at}" for at, names in sorted(together.items()))


def _why_none(key: str, entries: dict[str, Any], plan: Plan) -> str:
    blocked = ", ".join(f"{gate} {n}" for gate, n in entries["blocked"].items() if n) or "none"
    if entries["largest_score"] is None:
        return f"{key}: no signal: no base bar of {entries['base_bars']} has a score, all dimensions were missing"
    if plan.rule is not None:
        return (
            f"{key}: no signal: the rule {plan.rule.name} took a side on {entries['beyond_theta']} of {entries['base_bars']} "
            f"base bars, gates that blocked them: {blocked}"
        )
    return (
        f"{key}: no signal: the score went {entries['largest_score']} points from 50, the threshold there was {entries['theta']}; "
        f"{entries['beyond_theta']} base bars were beyond it, gates that blocked them: {blocked}"
    )
