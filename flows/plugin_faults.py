"""What is wrong with plugins beside the rest of the settings: all of it at once, each with the path of a setting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from config import Settings
from config.problems import meant
from config.settings import PRESETS
from events.times import timeframe_ns
from flows.plugins import Plugin, Plugins, Wrong
from operators.analysis import Analysis, completed
from operators.ballot import BESIDE_SCORES, of_features
from operators.dimensions import SCORES, Score
from operators.indicators import BAR_INPUTS, Indicator, indicator_of
from operators.rules import SCORE_COLUMNS, Rule

NOBODY_MAKES: Final = "which no indicator makes"


def plugin_faults(
    settings: Settings, plugins: Plugins, configured: Callable[[], tuple[Indicator, ...]]
) -> tuple[Wrong, ...]:
    """Every fault as (path of the setting, sentence); nothing about what hangs on something that is wrong itself. A preset that is
    not decided yet is that of trades.

    Args:
        settings: the settings.
        plugins: what they load.
        configured: gives the indicators of the settings that are no plugins, or raises ValueError.
    """
    found = [*plugins.wrong, *_weights(settings.for_feeds(), plugins)]
    if settings.signals.rule is not None and settings.signals.rule not in plugins.rules and not plugins.wrong:
        known = ", ".join(plugins.rules) or "none"
        found.append((("signals", "rule"), f"there is no rule {settings.signals.rule!r}; plugins declare {known}"))
    try:
        own = configured()
    except ValueError:
        return tuple(found)
    found += _columns(settings, plugins, own)
    if not found:
        found += _circle(plugins, own)
    return tuple(found)


def _path(plugin: Plugin) -> tuple[str | int, ...]:
    return ("plugins", "files", plugin.place)


def _weights(settings: Settings, plugins: Plugins) -> Iterator[Wrong]:
    known = {name for weights in PRESETS.values() for name in weights}
    weights = {*settings.dimensions.weights, *(name for preset in settings.presets for name in PRESETS[preset])}
    for plugin in plugins.found:
        if isinstance(plugin.made, Score):
            dimension = plugin.made.dimension
            known.add(dimension)
            if dimension not in weights and dimension not in settings.dimensions.disabled:
                yield (
                    _path(plugin),
                    f"{plugin.name} votes in the dimension {dimension!r}, which preset {' and '.join(settings.presets)} does not "
                    f"have: give it a weight, dimensions.weights.{dimension}",
                )
    for name in settings.dimensions.weights if not plugins.wrong else ():
        if name not in known:
            said = f"there is no dimension {name!r}, nor does a plugin vote in it{meant(name, known)}"
            yield ("dimensions", "weights", name), said
    columns = [score.column for score in (*BESIDE_SCORES, *map(of_features, (*SCORES, *plugins.scores)))]
    for column in settings.dimensions.features if not plugins.wrong else ():
        if column not in columns:
            yield ("dimensions", "features", column), f"there is no score {column!r}{meant(column, columns)}"


def _columns(settings: Settings, plugins: Plugins, own: tuple[Indicator, ...]) -> Iterator[Wrong]:
    """Columns that are made twice, and those that are needed and made by nobody."""
    own = completed(own, SCORES)
    raw = [column for indicator in own for column in indicator.columns]
    made = {*BAR_INPUTS, *raw, *(score.column for score in SCORES)}
    for plugin in plugins.found:
        indicator = isinstance(plugin.made, Indicator)
        columns = plugin.made.columns if isinstance(plugin.made, Indicator) else ()
        columns = (plugin.made.column,) if isinstance(plugin.made, Score) else columns
        for column in columns:
            if column in made or columns.count(column) > 1:
                yield _path(plugin), f"{plugin.name} makes the column {column!r}, which exists already"
        made.update(columns)
        raw += columns if indicator else ()
    for plugin in plugins.found:
        if isinstance(plugin.made, Rule):
            names = tuple(made - set(BAR_INPUTS))
            wrong = plugin.made.unknown((*names, *filter(_makeable, plugin.made.columns)), settings.bars.time)
            known = [*SCORE_COLUMNS, *BAR_INPUTS, *(f"{name}@{tf}" for name in names for tf in settings.bars.time)]
        else:
            takes = plugin.made.inputs if isinstance(plugin.made, Indicator) else plugin.made.needs
            known = [*BAR_INPUTS, *raw]
            wrong = [need for need in takes if need not in known and not _makeable(need)]
        for need in wrong if not plugins.wrong else ():
            said = f"{plugin.name} needs the column {need!r}, {NOBODY_MAKES}{meant(need, known)}"
            yield _path(plugin), said
        for name in (plugin.made.timeframes or ()) if isinstance(plugin.made, Indicator) else ():
            try:
                timeframe_ns(name)
            except ValueError as error:
                yield _path(plugin), f"{plugin.name}: {error}"


def _makeable(column: str) -> bool:
    """Whether the column is made without being asked for."""
    with suppress(ValueError):
        return bool(indicator_of(column))
    return False


def _circle(plugins: Plugins, own: tuple[Indicator, ...]) -> Iterator[Wrong]:
    try:
        Analysis(completed((*own, *plugins.indicators), ()), ())
    except ValueError as error:
        named = str(error).replace(":", " ").split()
        for plugin in plugins.found:
            if isinstance(plugin.made, Indicator) and plugin.made.columns[0] in named:
                yield _path(plugin), str(error)
                return
