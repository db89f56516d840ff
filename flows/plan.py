"""What a graph computes, worked out of the settings: the parameters of every step, as plain data where they can be."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from config.settings import ONLY_TRADES, PRESETS, THETA_BASE, Settings
from connectors.files import Inputs
from events.errors import SettingsError
from events.feeds import RATES
from events.rows import confluence_row
from events.streams import Columns, Stream, base_streams
from events.times import SECOND_NS, timeframe_ns
from operators.analysis import Analysis
from operators.confluence import GATES, ConfluenceSettings
from operators.dimensions import DIMENSIONS, SCORES
from operators.indicators import builtin_indicator, talib_indicator
from operators.risk import RiskSettings
from operators.signals import SignalSettings


class Plan:
    """The parameters of the steps.

    Args:
        settings: as they were given.
        sequenced: the instruments whose trades have consecutive ids.
        feeds: the streams of the run.

    Attributes:
        settings: with all decided that hangs on the feeds.

    Raises:
        SettingsError: an indicator does not exist, a score lacks a column, or no preset fits all feeds.
    """

    def __init__(
        self, settings: Settings, sequenced: frozenset[str] = frozenset(), feeds: frozenset[str] = ONLY_TRADES
    ) -> None:
        self.settings, self.sequenced, self.feeds = settings.for_feeds(feeds), sequenced, feeds
        self.timeframes = settings.bars.lengths
        self.max_fill = settings.bars.max_fill
        self.lateness_ns = dict.fromkeys(feeds, round(settings.sources.lateness_s * SECOND_NS))

    @property
    def preset(self) -> str:
        """The preset in force."""
        return self.settings.confluence.preset

    @property
    def funding(self) -> bool:
        """Whether funding rates reach the signals."""
        return RATES in self.feeds

    @cached_property
    def dimensions(self) -> tuple[tuple[str, float], ...]:
        """(name, weight) of the dimensions that take part: those of the preset that exist and are not disabled."""
        weights = PRESETS[self.preset]
        disabled = self.settings.dimensions.disabled
        found = tuple((name, weights[name]) for name in DIMENSIONS if name in weights and name not in disabled)
        if not found:
            raise SettingsError(f"no dimension is left to score: preset {self.preset}, disabled {', '.join(disabled)}")
        return found

    @cached_property
    def analysis(self) -> Analysis:
        """The columns of every timeframe."""
        try:
            calls = self.settings.indicators.talib
            own = tuple(builtin_indicator(name) for name in self.settings.indicators.builtin)
            indicators = (*(talib_indicator(call.fn, **call.__pydantic_extra__) for call in calls), *own)
            names = [name for name, _ in self.dimensions]
            return Analysis(indicators, tuple(score for score in SCORES if score.dimension in names))
        except ValueError as error:
            raise SettingsError(f"indicators: {error}") from None

    @cached_property
    def confluence(self) -> ConfluenceSettings:
        """Parameters of the score."""
        settings = self.settings.confluence
        return ConfluenceSettings(
            timeframes=tuple((name, length, settings.blend.get(name, 0.0)) for name, length in self.timeframes),
            dimensions=self.dimensions,
            risk_timeframe=self.settings.signals.tf,
            theta=settings.theta,
            theta_base=THETA_BASE[self.preset],
            release=settings.release,
            min_coverage=settings.gates.coverage,
            min_agreement=settings.gates.agreement,
            require_settled=settings.gates.require_settled,
        )

    @cached_property
    def signals(self) -> SignalSettings:
        """Parameters of signals."""
        settings, outcomes = self.settings.signals, self.settings.outcomes
        names = [name for name, _ in self.dimensions]
        scores = [score for score in self.analysis.scores if score.dimension in names]
        return SignalSettings(
            timeframe=(settings.tf, timeframe_ns(settings.tf)),
            base_ns=self.timeframes[0][1],
            dimensions=tuple(names),
            features=tuple((score.dimension, score.name) for score in scores),
            timeframes=tuple(name for name, _ in self.timeframes),
            analysis_hash=self.settings.analysis_hash,
            cooldown_bars=settings.cooldown_bars,
            hold_bars=settings.hold_bars,
            fee_bps=outcomes.fee_bps,
            slip_bps=outcomes.slip_bps,
            risk=RiskSettings(settings.stop_atr, settings.equity, settings.risk, settings.cap, settings.leverage),
        )

    @cached_property
    def bar_streams(self) -> dict[str, Stream]:
        """The streams of a run that only makes bars."""
        kept = ("bars.", "gaps", "dead_letters", "counts")
        streams = base_streams([name for name, _ in self.timeframes])
        return {name: stream for name, stream in streams.items() if name.startswith(kept)}

    @cached_property
    def streams(self) -> dict[str, Stream]:
        """All streams that leave the graph, in the order of the picture."""
        names = [name for name, _ in self.timeframes]
        base = base_streams(names)
        columns = self.analysis.columns
        blocks = {"values": columns, "status": [f"{column}.status" for column in columns]}
        features: dict[str, Stream] = {
            f"features.{name}": Columns(f"features.{name}", self.analysis.dtype, blocks) for name in names
        }
        dimensions = [name for name, _ in self.dimensions]
        per_dimension = {f: [f"{d}.{f}" for d in dimensions] for f in ("u", "weight", "q", "contribution", "status")}
        gates = {"gates": [f"gate.{name}" for name in GATES]}
        row = confluence_row(len(dimensions), len(GATES))
        confluence: dict[str, Stream] = {"confluence": Columns("confluence", row, per_dimension | gates)}
        bars = {name: stream for name, stream in base.items() if name.startswith("bars.")}
        return bars | features | confluence | {name: stream for name, stream in base.items() if name not in bars}


def plan_of_inputs(settings: Settings, inputs: Inputs) -> Plan:
    """The plan of a run over these files.

    Raises:
        SettingsError: as `Plan`.
        InputError: an instrument has nothing to make bars of.
    """
    inputs.check_driven()
    return Plan(settings, frozenset(name for name in inputs.instruments if inputs.sequenced(name)), inputs.feeds)


def plan_of_run(run: Mapping[str, Any]) -> Plan:
    """The plan of a finished run, by what its run.json says.

    Raises:
        ValidationError: it has settings that this version does not know.
    """
    return Plan(Settings.model_validate(run["settings"]), feeds=frozenset(run["feeds"]))
