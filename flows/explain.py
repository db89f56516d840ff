"""Why a signal was made, and what became of it: the text of `tidewax explain`, read from the files of a run alone."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap

import numpy as np

from events.errors import RunError
from events.frames import Array
from events.records import ALL, Outcome, Signal, SignalUpdate
from events.schema import BAR_FLAG_NAMES, NEVER, STATUS_NAMES
from events.times import iso
from flows.explain_features import Features
from flows.reasons import because, price, threshold
from flows.report_components import component_lines, outage_line, read_outages
from flows.report_figures import signed
from flows.report_market import market_before, market_line, shut_by_market
from flows.report_runs import FinishedRun
from operators.confluence import GATES, THETA_SOURCES

_WIDTH = 100
_NEAR = 5
_SHORTEST_PREFIX = 2
_WORDS = {
    "no_equity": "no size: signals.equity is not set",
    "below_minimum": "no size: it would be below the smallest quantity",
}


def explain(directory: Path, signal_id: str) -> str:
    """What was signalled, why, on what bar, with which plan, and how it ended; plain text in lines of about 100 characters.

    A value that is not there is shown as a dash with its status, never as a number.

    Raises:
        RunError: the directory holds no finished run, or the run has no such signal; then up to five ids near it are named.
    """
    run = FinishedRun(directory)
    by_id = {signal.signal_id: signal for key in run.keys for signal in run.records(Signal, key)}
    if signal_id not in by_id:
        raise RunError(f"{directory} has no signal {signal_id}: {_near(signal_id, sorted(by_id))}")
    signal = by_id[signal_id]
    scores = run.rows("confluence", signal.key)
    score = scores[np.searchsorted(scores["available_at"], signal.ts)]
    sections = [
        _what(run, signal, score),
        _dimensions(run, signal, score),
        Features(run, signal).lines(),
        _gates(run, signal, score, scores),
        _bar(run, signal) + _outages(run, signal),
        _planned(signal),
        _became(run, signal),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def list_signals(directory: Path) -> str:
    """A line per signal of a run, by instrument and time: id, instrument, time, side, score, how it ended and its net R; without
    an end, its state (active, pending; expired if it was never filled). Below, of a live run, what was degraded or down.

    Raises:
        RunError: the directory holds no finished run.
    """
    run, lines = FinishedRun(directory), []
    for key in run.keys:
        ended = {outcome.signal_id: outcome for outcome in run.records(Outcome, key)}
        last = {update.signal_id: update.to.lower() for update in run.records(SignalUpdate, key)}
        for signal in run.records(Signal, key):
            outcome = ended.get(signal.signal_id)
            end = f"{outcome.exit_reason:10} {signed(outcome.r_net)} R" if outcome else last[signal.signal_id]
            lines.append(f"{signal.signal_id}  {key}  {iso(signal.ts)}  {signal.side:5}  {signal.score:5.1f}  {end}")
    lines = lines or [f"{directory} has no signals"]
    return "\n".join([*lines, *component_lines(run.run.get("components", {}))]) + "\n"


def _near(signal_id: str, ids: list[str]) -> str:
    for length in range(len(signal_id), _SHORTEST_PREFIX - 1, -1):
        near = [known for known in ids if known.startswith(signal_id[:length])]
        if near:
            more = f" and {len(near) - _NEAR} more" if len(near) > _NEAR else ""
            return f"ids near it are {', '.join(near[:_NEAR])}{more}"
    return f"the run has {len(ids)} signals, which `tidewax explain` lists if no id is given"


def _what(run: FinishedRun, signal: Signal, score: Array) -> list[str]:
    source = THETA_SOURCES[int(score["theta_source"])]
    rule = run.plan.rule
    why = f"score {signal.score:.1f} {threshold(signal)}, that is 50 {'+' if signal.side == 'LONG' else '-'} theta "
    if rule is not None:
        why = f"the rule {rule.name} says {signal.side}; score {signal.score:.1f}, theta "
    agreement = "-" if signal.agreement is None else f"{signal.agreement:.2f}"
    sample = ", in sample: the table knows of later outcomes" if signal.in_sample else ""
    reliability = "uncalibrated" if signal.reliability is None else f"{signal.reliability:.2f}{sample}"
    return [
        f"{signal.side} {signal.key} at {iso(signal.ts)}, close of the {run.base} bar at {price(signal.price)}",
        f"signal {signal.signal_id}, preset {run.plan.electorate.preset_of(signal.key)}, analysis {signal.analysis_hash}",
        "paper: simulated on closed bars, no order was placed, nothing here predicts anything",
        f"{why}{signal.theta:g} ({source}); reliability {reliability}",
        f"agreement {agreement}, coverage {signal.coverage:.2f}, dispersion {signal.dispersion:.3f}, "
        f"regime {signal.regime or '-'}{', warming: some values are young' if signal.warming else ''}",
        *_market(run, signal),
        *wrap(f"because {because(signal)}", _WIDTH, subsequent_indent="  "),
    ]


def _market(run: FinishedRun, signal: Signal) -> list[str]:
    """What was known of the whole market, where the run compared its instruments."""
    if not run.plan.cross.compared:
        return []
    (row,) = market_before(run.path, run.plan, np.array([signal.ts]))
    return wrap(market_line(row), _WIDTH, subsequent_indent="  ")


def _dimensions(run: FinishedRun, signal: Signal, score: Array) -> list[str]:
    lines = [f"{'dimension':<16}{'u':>8}{'weight':>8}{'q':>7}{'contribution':>14}  status"]
    for k, (name, _) in enumerate(run.plan.dimensions):
        u, contribution = float(score["u"][k]), float(score["contribution"][k])
        status = STATUS_NAMES[int(score["status"][k])] if score["weight"][k] > 0 else "not applicable"
        shown = ("-", "-") if np.isnan(u) else (f"{u:+.3f}", f"{contribution:+.4f}")
        lines.append(
            f"{name:<16}{shown[0]:>8}{score['weight'][k]:>8.2f}{score['q'][k]:>7.2f}{shown[1]:>14}  "
            f"{'votes' if status == STATUS_NAMES[0] else status}"
        )
    return [*lines, f"{'score - 50':<39}{signal.score - 50:>+14.4f}"]


def _gates(run: FinishedRun, signal: Signal, score: Array, scores: Array) -> list[str]:
    passed = [name for name, is_open in zip(GATES, score["gates"]) if is_open]
    shut = [name for name, is_open in zip(GATES, score["gates"]) if not is_open]
    lines = [f"gates passed: {', '.join(passed) or 'none'}; failed: {', '.join(shut) or 'none'}"]
    since = int(score["state_since"])
    if since < signal.ts:
        times = scores["available_at"]
        waited = scores[np.searchsorted(times, since) : np.searchsorted(times, signal.ts)]
        shut_by = {name: int(n) for name, n in zip(GATES, (waited["gates"] == 0).sum(axis=0))}
        shut_by["market"] = int(np.count_nonzero(shut_by_market(run.path, run.plan, waited)))
        blocked = [f"{name} on {n}" for name, n in shut_by.items() if n]
        lines.append(
            f"the score turned at {iso(since)}; {len(waited)} bars waited for gates: {', '.join(blocked) or 'none'}"
        )
    return lines


def _bar(run: FinishedRun, signal: Signal) -> list[str]:
    bars = run.rows(f"bars.{run.base}", signal.key)
    bar = bars[np.searchsorted(bars["ts_close"], signal.ts)]
    flags = [name for flag, name in BAR_FLAG_NAMES.items() if int(bar["flags"]) & flag]
    prices = ", ".join(f"{name} {price(float(bar[name]))}" for name in ("open", "high", "low", "close"))
    count = "" if bar["n_trades"] == NEVER else f", {int(bar['n_trades'])} trades"
    return [f"base bar {iso(int(bar['ts_open']))}: {prices}{count}, flags: {', '.join(flags) or 'none'}"]


def _outages(run: FinishedRun, signal: Signal) -> list[str]:
    """What was not up of its exchange between the opening of its bar and its end."""
    ends = [update.ts for update in run.records(SignalUpdate, signal.key) if update.signal_id == signal.signal_id]
    until, since = max(ends, default=signal.ts), signal.ts - run.plan.timeframes[0][1]
    exchange = f"exchange.{signal.key.partition(':')[0]}"
    return [
        outage_line(outage)
        for outage in read_outages(run.path, run.plan.streams, ALL, signal.key)
        if outage.name in (exchange, signal.key)
        and outage.since <= until
        and (outage.until is None or outage.until > since)
    ]


def _planned(signal: Signal) -> list[str]:
    entry = signal.entry_type.replace("_", " ")
    targets = ", ".join(f"{price(t)} ({s:.0%})" for t, s in zip(signal.targets, signal.target_sizes))
    size = _WORDS.get(signal.size_reason or "", f"no size: {signal.size_reason or '-'}")
    if signal.size is not None:
        size = f"size {signal.size.qty:g} for {signal.size.notional:.2f}, at risk {signal.size.risk:.2f} (quote units; advisory)"
    return [
        f"plan: entry at the {entry} within {signal.valid_bars} base bar{'s' if signal.valid_bars > 1 else ''}",
        f"  stop {price(signal.stop)} ({signal.stop_source}, {signal.risk_pct:.2%} away; ATR of {signal.tf} {price(signal.atr)})",
        f"  targets {targets}, {signal.rr:.2f} R if all are reached",
        f"  {size}",
    ]


def _funding(outcome: Outcome) -> str:
    if outcome.funding is None:
        return "- (no rates)"
    return f"{price(outcome.funding)} of {len(outcome.settlements)} settlements"


def _became(run: FinishedRun, signal: Signal) -> list[str]:
    lines = ["what became of it"]
    updates = [u for u in run.records(SignalUpdate, signal.key) if u.signal_id == signal.signal_id]
    for update in sorted(updates, key=lambda u: u.seq):
        where = "" if update.price is None else f" at {price(update.price)}"
        closed = f", {update.size_closed:.0%} closed" if update.size_closed else ""
        so_far = "" if update.r_net is None else f", {signed(update.r_net)} R net so far"
        lines.append(f"  {iso(update.ts)} {update.to} ({update.reason}){where}{closed}{so_far}")
    ended = [o for o in run.records(Outcome, signal.key) if o.signal_id == signal.signal_id]
    for o in ended:
        lines += [
            f"outcome (paper): {signed(o.r_net)} R net, {signed(o.r_gross)} R gross, ended by {o.exit_reason} after "
            f"{o.bars_held} base bars",
            f"  best {signed(o.mfe)} R, worst {signed(-o.mae)} R on the way; fees {price(o.fees)}, slippage {price(o.slippage)}, "
            f"funding {_funding(o)}, per unit; regime {o.regime or '-'}",
        ]
    if not ended:
        last = updates[-1].to if updates else "PENDING"
        still = "it was still open at the end of the run" if last in ("PENDING", "ACTIVE") else "it was never filled"
        lines.append(f"no outcome: {still}")
    return lines
