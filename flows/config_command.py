"""`tidewax config`: are the settings right, what is in force and why, and a schema for editors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from config import Resolved, Settings, resolve
from config.problems import Origin, Problem, in_order, meant
from config.schema import schema as settings_schema
from config.show import show as show_settings
from connectors.live import universe_of
from events.errors import SettingsError, TidewaxError
from events.times import DAY_NS, HOUR_NS, MINUTE_NS
from flows.plan import Plan, configured_indicators
from flows.plugin_faults import plugin_faults
from flows.plugins import load_plugins
from flows.recorder import instruments_of, streams_beside
from operators.indicators import BUILTIN, TALIB_FUNCTIONS, Indicator, talib_indicator

config_app = typer.Typer(no_args_is_help=True, help="Check settings, show what is in force, give editors a schema.")

Name = Annotated[
    str | None,
    typer.Argument(help="A settings file or a shipped profile; the defaults, if not given.", metavar="[FILE|PROFILE]"),
]


@config_app.command()
def check(name: Name = None) -> None:
    """Name everything that is wrong, by file and line (exit code 1), or say what the settings come to."""
    resolved = resolve(name)
    problems = in_order([*resolved.problems, *_plan_problems(resolved)])
    for problem in problems:
        typer.echo(str(problem))
    if problems:
        typer.echo(f"{resolved.name}: {len(problems)} wrong setting{'s' * (len(problems) > 1)}")
        raise typer.Exit(1)
    for line in _summary(resolved.settings):
        typer.echo(line)


@config_app.command()
def show(name: Name = None) -> None:
    """Print the settings in force as YAML; what differs from the defaults says where it came from."""
    resolved = resolve(name)
    settings = resolved.settings
    plan = plan_in_force(settings)
    typer.echo(f"# analysis_hash {plan.analysis_hash}, preset {_preset(settings.confluence.preset, plan)}")
    typer.echo(show_settings(settings, resolved.origins), nl=False)


@config_app.command()
def schema(out: Annotated[Path | None, typer.Option(help="Where to; printed, if not given.")] = None) -> None:
    """Print the JSON schema of settings files, for editors."""
    text = json.dumps(settings_schema(), indent=2, ensure_ascii=False)
    if out is None:
        typer.echo(text)
        return
    try:
        out.write_text(text + "\n", "utf-8")
    except OSError as error:
        raise TidewaxError(f"the schema cannot be written to {out}: {error.strerror}") from None
    typer.echo(f"{out}: the schema of settings")


def _plan_problems(resolved: Resolved) -> Iterator[Problem]:
    """What only the graph can know: indicators that do not exist, scores without their columns."""
    settings = resolved.partial
    if settings is None:
        return
    found = list(_indicator_problems(resolved, settings))
    plugins = load_plugins(settings)
    for path, said in plugin_faults(settings, plugins, lambda: configured_indicators(settings)):
        found.append(Problem(resolved.origin(path), path, said))
    yield from found
    plan = Plan(settings, plugins=plugins)
    try:
        _ = plan.dimensions
    except SettingsError as error:
        path = ("dimensions", "disabled")
        yield Problem(resolved.origin(path), path, str(error))
        return
    # Of settings that are wrong the defaults are in force, so what hangs on several of them says nothing yet.
    if not found and not resolved.problems:
        try:
            _ = plan.analysis, plan.confluence, plan.signals
        except SettingsError as error:
            section, colon, message = str(error).partition(": ")
            known = bool(colon) and section in Settings.model_fields
            place = (section,) if known else ()
            yield Problem(resolved.origin(place), place, message if known else str(error))


def _indicator_problems(resolved: Resolved, settings: Settings) -> Iterator[Problem]:
    for place, call in enumerate(settings.indicators.talib):
        path: tuple[str | int, ...] = ("indicators", "talib", place)
        try:
            talib_indicator(call.fn, **call.__pydantic_extra__)
        except ValueError as error:
            unknown = call.fn not in TALIB_FUNCTIONS
            path = (*path, "fn") if unknown else path
            origin: Origin = resolved.origin(path)
            yield Problem(origin, path, f"{error}{meant(call.fn, TALIB_FUNCTIONS) if unknown else ''}")
    for place, name in enumerate(settings.indicators.builtin):
        if name not in BUILTIN:
            path = ("indicators", "builtin", place)
            yield Problem(resolved.origin(path), path, f"no built-in indicator {name!r}{meant(name, BUILTIN)}")


def plan_in_force(settings: Settings) -> Plan:
    """That of a live run, where they name symbols; else of trades alone."""
    named = settings.exchange.symbols
    if not named:
        return Plan(settings)
    likes = tuple(instruments_of(settings)[sum(map(len, named.values())) :])
    universe = universe_of(named, True, streams_beside(settings), likes)
    given = (universe.lacking, universe.instruments)
    return Plan(settings, universe.sequenced, universe.feeds, None, True, *given)


def _summary(settings: Settings) -> Iterator[str]:
    plan = plan_in_force(settings)
    yield f"ok: analysis_hash {plan.analysis_hash}"
    given = settings.confluence.preset
    weights = ", ".join(f"{name} {weight:g}" for name, weight in plan.dimensions)
    known = given != "auto" or settings.exchange.symbols
    others = "" if known else "; full9 with a book and streams of derivatives, bars3 for klines"
    yield f"preset: {_preset(given, plan)}: {weights}{others}"
    indicators = plan.analysis.indicators
    bars = max(plan.analysis.lookback.values(), default=0) + 1
    history = max((indicator.history for indicator in indicators), default=0)
    settled = _settled_after(indicators)
    yield f"warm-up: every indicator has a value after {bars} bars, and is settled after {settled} to {settled + history}"
    for name, length in plan.timeframes:
        most = settled + history
        yield f"  {name}: {bars} bars are {_span(bars * length)}; {most} bars are {_span(most * length)}"
    yield from _market_state(plan)


def _preset(given: str | Mapping[str, str], plan: Plan) -> str:
    """The presets in force, by instrument where they differ."""
    found = plan.settings.confluence.preset
    shown = found if isinstance(found, str) else ", ".join(f"{preset} of {name}" for name, preset in found.items())
    return f"{shown}{' (auto)' * (given == 'auto')}"


def _settled_after(indicators: Sequence[Indicator]) -> int:
    """Bars after which all are settled, at the earliest: histories add along what is made of what."""
    known: dict[str, int] = {}
    for indicator in indicators:
        after = indicator.history + max((known.get(need, 0) for need in indicator.inputs), default=0)
        known |= dict.fromkeys(indicator.columns, after)
    return max(known.values(), default=0)


def _market_state(plan: Plan) -> Iterator[str]:
    """What the regime and the stops are made of, and from when on."""
    settings, tf = plan.settings, plan.settings.confluence.regime_tf or plan.settings.signals.tf
    if "regime" in plan.analysis.index:
        bars = plan.analysis.lookback["regime"] + 1
        span = _span(bars * dict(plan.timeframes)[tf])
        yield f"regime: of {tf}, known after {bars} bars ({span}); before that its gate is open and signals name none"
    else:
        yield "regime: none, for indicators.builtin has no regime; its gate is always open and signals name none"
    swings = settings.signals.structural_stop and "swing.low" in plan.analysis.index
    yield f"stops: of {settings.signals.tf}, of ATR{', and of the newest swing where that is nearer' if swings else ' alone'}"


def _span(ns: int) -> str:
    """A duration as people read it.

    >>> _span(90 * MINUTE_NS), _span(2 * DAY_NS)
    ('1 h 30 min', '2 d')
    """
    parts = ((ns // DAY_NS, "d"), (ns % DAY_NS // HOUR_NS, "h"), (ns % HOUR_NS // MINUTE_NS, "min"))
    return " ".join(f"{n} {unit}" for n, unit in parts if n) or "0 min"
