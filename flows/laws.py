"""`tidewax laws`: the laws over everything that a plugin file declares, on generated markets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from config import Settings, load
from config.settings import PRESETS
from events.errors import SettingsError
from events.frames import Array
from events.times import MINUTE_NS
from flows.laws_indicators import IndicatorLaws, scaling
from flows.laws_markets import bars_of, markets
from flows.laws_rows import RuleLaws, ScoreLaws
from flows.plan import Plan
from flows.plugin_faults import NOBODY_MAKES
from flows.plugins import load_plugins
from operators.analysis import Analysis
from operators.dimensions import Score
from operators.indicators import Indicator
from operators.rules import Rule

_LEAST_MINUTES: Final = 1_500
_RULE_MINUTES: Final = 4_000
_LAWS: Final = {
    "indicator": "length, finite, prefix, repeat, memory, split, restart, start",
    "score": "range, row-wise, repeat, split, restart",
    "rule": "direction, row-wise, repeat, missing, split, restart",
}


@dataclass
class Judged:
    """What was found of one declaration.

    Attributes:
        name: of the indicator, score or rule.
        kind: which of them.
        bars: how many it was judged on, all markets together.
        seen: how many values had which status, or which direction.
        faults: a sentence for each broken law.
        notes: what is worth knowing, and no fault.
    """

    name: str
    kind: str
    bars: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def judge(file: Path, config: str | None = None) -> list[Judged]:
    """Run the laws over all that `file` declares; in the order in which it is computed.

    Args:
        file: the plugin.
        config: a settings file or profile: what else it needs, and its parameters; the defaults, if not given.

    Raises:
        SettingsError: the settings are wrong, or the file cannot be run, declares nothing or needs what nobody makes.
    """
    plan, place = _plan(file, load(config))
    mine = {plugin.name: plugin.made for plugin in plan.plugins.found if plugin.place == place}
    indicators = {plugin.name: plugin.made for plugin in plan.plugins.found if isinstance(plugin.made, Indicator)}
    order = {column: k for k, i in enumerate(plan.analysis.indicators) for column in i.columns}
    ranked = sorted(mine, key=lambda name: order.get(_first(mine[name]), len(order)))
    history = max((made.history for made in mine.values() if isinstance(made, Indicator)), default=0)
    seen = {
        name: (trades, bars_of(trades, (("1m", MINUTE_NS),))["bars.1m"])
        for name, trades in markets(max(_LEAST_MINUTES, 3 * history + 300)).items()
    }
    refused: set[str] = set()
    found = []
    for name in ranked:
        made = mine[name]
        upstream = {n for n in refused if _needs(made, plan) & set(indicators[n].columns)}
        if isinstance(made, Indicator):
            judged = _indicator(name, made, plan, seen)
        elif isinstance(made, Score):
            judged = _score(name, made, plan, seen)
        else:
            judged = _rule(name, made, _for_rule(made, plan))
        if upstream and judged.faults:
            judged.faults = [f"not judged: it needs what {', '.join(sorted(upstream))} makes, which was refused"]
        if judged.faults and isinstance(made, Indicator):
            refused.add(name)
        found.append(judged)
    return found


def print_laws(file: Path, found: list[Judged], console: Console) -> bool:
    """A table of what held, and a sentence for each fault; whether all laws held."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("declared", "kind", "bars", "seen", "laws"):
        table.add_column(column, overflow="fold", justify="right" if column == "bars" else "left")
    for judged in found:
        told = ", ".join(f"{n:,} {name}" for name, n in judged.seen.items()) or "nothing"
        laws = f"{len(judged.faults)} broken" if judged.faults else f"held: {_LAWS[judged.kind]}"
        table.add_row(judged.name, judged.kind, f"{judged.bars:,}", told, laws)
    console.print(table)
    for judged in found:
        for note in judged.notes:
            console.print(f"note: {judged.name}: {note}", soft_wrap=True)
        for fault in judged.faults:
            console.print(f"refused: {judged.name}: {fault}", soft_wrap=True)
    held = not any(judged.faults for judged in found)
    console.print(f"{file}: {'all laws hold' if held else 'refused'}", soft_wrap=True)
    return held


def _plan(file: Path, settings: Settings) -> tuple[Plan, int]:
    """The settings with the file among their plugins, and its place there; dimensions of its own get a weight if they have none."""
    files = settings.plugins.files
    known = [place for place, name in enumerate(files) if Path(name).resolve() == file.resolve()]
    place = known[0] if known else len(files)
    if not known:
        plugins = settings.plugins.model_copy(update={"files": (*files, str(file))})
        settings = settings.model_copy(update={"plugins": plugins})
    presets = settings.for_feeds().presets
    voting = {*settings.dimensions.weights, *(name for preset in presets for name in PRESETS[preset])}
    scores = [plugin.made for plugin in load_plugins(settings).found if isinstance(plugin.made, Score)]
    missing = {score.dimension: 0.1 for score in scores if score.dimension not in voting}
    both = {**settings.dimensions.weights, **missing}
    dimensions = settings.dimensions.model_copy(update={"weights": both, "disabled": ()})
    plan = Plan(settings.model_copy(update={"dimensions": dimensions}))
    try:
        _ = plan.plugins, plan.analysis
    except SettingsError as error:
        more = "\nSettings with the plugins that make it are given by --config" if NOBODY_MAKES in str(error) else ""
        raise SettingsError(f"{error}{more}") from None
    return plan, place


def _first(made: Indicator | Score | Rule) -> str:
    return made.columns[0] if isinstance(made, Indicator) else ""


def _needs(made: Indicator | Score | Rule, plan: Plan) -> set[str]:
    """All columns that it needs, directly or not."""
    takes = {column: i.inputs for i in plan.analysis.indicators for column in i.columns}
    takes |= {score.column: score.needs for score in plan.analysis.scores}
    direct = made.inputs if isinstance(made, Indicator) else made.needs
    waiting, found = [need.partition("@")[0] for need in direct], set[str]()
    while waiting:
        column = waiting.pop()
        if column in takes and column not in found:
            found.add(column)
            waiting += takes[column]
    return found


def _for_rule(rule: Rule, plan: Plan) -> Plan:
    """The settings with those plugins alone that a rule needs: others are judged by themselves."""
    needed = _needs(rule, plan)
    kept = tuple(plugin for plugin in plan.plugins.found if plugin.made is rule or needed & _columns(plugin.made))
    return Plan(plan.settings, plugins=replace(plan.plugins, found=kept))


def _columns(made: Indicator | Score | Rule) -> set[str]:
    return set(made.columns) if isinstance(made, Indicator) else {made.column} if isinstance(made, Score) else set()


def _closure(made: Indicator | Score, plan: Plan) -> Analysis:
    """It, and what it needs, on every timeframe."""
    needed = _needs(made, plan)
    taken = [i for i in plan.analysis.indicators if needed & set(i.columns) or i is made]
    everywhere = tuple(replace(indicator, timeframes=None) for indicator in taken)
    return Analysis(everywhere, (made,) if isinstance(made, Score) else ())


def _told(judged: Judged, faults: Iterator[str]) -> bool:
    """Add the faults of one market; whether there were any: one market is enough to refuse."""
    judged.faults += list(faults)
    return bool(judged.faults)


def _indicator(name: str, made: Indicator, plan: Plan, seen: dict[str, tuple[Array, Array]]) -> Judged:
    judged, analysis = Judged(name, "indicator"), _closure(made, plan)
    first: dict[str, int] = {}
    for market, (_, bars) in seen.items():
        laws = IndicatorLaws(made, analysis, market, bars)
        judged.bars += len(bars)
        judged.seen.update(laws.statuses())
        for k, column in enumerate(made.columns):
            at = laws.first_value(k)
            if at is not None:
                first[column] = min(at, first.get(column, at))
        if _told(judged, laws.faults()):
            return judged
    for column in made.columns:
        lookback = analysis.lookback[column]
        if column not in first:
            judged.faults.append(f"column {column} has no value in {judged.bars:,} bars")
        elif first[column] > lookback:
            judged.faults.append(
                f"column {column} has its first value at bar {first[column]}, its declaration says {lookback}: raise lookback"
            )
        elif first[column] < lookback:
            judged.notes.append(
                f"column {column} has a value from bar {first[column]} on, before its lookback of {lookback}"
            )
    how = scaling(made, seen["a walk"][1]) if not judged.faults else None
    judged.notes += [how] if how else []
    return judged


def _score(name: str, made: Score, plan: Plan, seen: dict[str, tuple[Array, Array]]) -> Judged:
    judged, analysis = Judged(name, "score"), _closure(made, plan)
    for market, (_, bars) in seen.items():
        laws = ScoreLaws(made, analysis, market, bars)
        judged.bars += len(bars)
        judged.seen.update(
            {"up": int((laws.u > 0).sum()), "down": int((laws.u < 0).sum()), "0": int((laws.u == 0).sum())}
        )
        if _told(judged, laws.faults()):
            return judged
    if not sum(judged.seen.values()):
        judged.faults.append(f"it has no value in {judged.bars:,} bars")
    return judged


def _rule(name: str, made: Rule, plan: Plan) -> Judged:
    judged = Judged(name, "rule")
    for market, trades in markets(_RULE_MINUTES).items():
        laws = RuleLaws(made, plan, market, trades)
        judged.bars += len(laws.bars)
        for word, state in (("LONG", 1), ("SHORT", -1), ("NEUTRAL", 0)):
            judged.seen[word] += int((laws.state == state).sum())
        if _told(judged, laws.faults()):
            return judged
    if not judged.seen["LONG"] + judged.seen["SHORT"]:
        judged.notes.append(f"it was NEUTRAL on all of {judged.bars:,} bars, so little was shown")
    return judged
