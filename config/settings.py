"""The tree of settings. Sections of the analysis decide what is computed and enter the analysis hash; the others do not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from types import MappingProxyType
from typing import Any, Final

from pydantic import Field, model_validator

from config.kafka_section import Kafka
from config.live_sections import Exchange, Metrics, Tape, Universe
from config.presets import PRESETS, THETA_BASE, preset_for
from config.section import Section
from config.sections import (
    Bars,
    Beta,
    Confluence,
    Dimensions,
    Gates,
    Indicators,
    Input,
    Instrument,
    Outcomes,
    Output,
    Plugins,
    Preset,
    Run,
    Signals,
    Sources,
    TalibCall,
)
from events.errors import SettingsError
from events.feeds import KLINES, LENT, TRADES
from events.identity import ANALYSIS_SECTIONS, analysis_hash, entry

ONLY_TRADES: Final = frozenset({TRADES})

__all__ = [
    "Bars",
    "Beta",
    "Confluence",
    "Dimensions",
    "Exchange",
    "Gates",
    "Indicators",
    "Input",
    "Instrument",
    "Kafka",
    "Metrics",
    "Outcomes",
    "Output",
    "PRESETS",
    "Plugins",
    "Run",
    "Section",
    "Settings",
    "Signals",
    "Sources",
    "TalibCall",
    "Tape",
    "THETA_BASE",
    "Universe",
]


class Settings(Section):
    """Everything."""

    bars: Bars = Field(Bars(), description="Time bars.")
    indicators: Indicators = Field(Indicators(), description="Indicators of every timeframe.")
    beta: Beta = Field(Beta(), description="Bitcoin beta.")
    dimensions: Dimensions = Field(Dimensions(), description="Dimensions of the score.")
    confluence: Confluence = Field(Confluence(), description="The score over dimensions and timeframes.")
    signals: Signals = Field(Signals(), description="Signals and their risk.")
    outcomes: Outcomes = Field(Outcomes(), description="Paper costs.")
    plugins: Plugins = Field(Plugins(), description="Plugins.")
    instruments: dict[str, Instrument] = Field(
        {}, description="What venues say of instruments, by exchange:BASE/QUOTE."
    )
    alerts: dict[str, str] = Field({}, description="Rules of alerts, by name.")
    sources: Sources = Field(Sources(), description="How sources behave.")
    exchange: Exchange = Field(Exchange(), description="Exchanges of a live run.")
    metrics: Metrics = Field(Metrics(), description="Metrics of a live run.")
    tape: Tape = Field(Tape(), description="The tape that a live run records.")
    kafka: Kafka = Field(Kafka(), description="Kafka.")
    input: Input = Field(Input(), description="Files of a backtest.")
    output: Output = Field(Output(), description="Where a run goes.")
    run: Run = Field(Run(), description="How a run is cut up.")

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        known = f"which is not among bars.time ({', '.join(self.bars.time)})"
        said = [f"signals.tf is {self.signals.tf}, {known}"] if self.signals.tf not in self.bars.time else []
        if self.signals.calibration_sha256 is not None and self.signals.calibration is None:
            said.append("signals.calibration_sha256 is of the file that signals.calibration must name")
        if self.confluence.regime_tf not in (None, *self.bars.time):
            said.append(f"confluence.regime_tf is {self.confluence.regime_tf}, {known}")
        for name in self.confluence.blend:
            if name not in self.bars.time:
                said.append(f"confluence.blend names {name}, {known}")
        for place, call in enumerate(self.indicators.talib):
            for name in call.timeframes or ():
                if name not in self.bars.time:
                    said.append(f"indicators.talib.{place}.timeframes names {name}, {known}")
        if said:
            raise ValueError("\n".join(said))
        return self

    def for_feeds(
        self,
        feeds: Set[str] = ONLY_TRADES,
        instruments: Collection[str] = (),
        lacking: Mapping[str, Set[str]] = MappingProxyType({}),
    ) -> Settings:
        """These settings with all decided that hangs on the streams of a run: `confluence.preset: auto` is what the streams of the
        instruments come to, by instrument where they differ.

        Args:
            feeds: the streams of the run.
            instruments: those of the run that are known.
            lacking: the streams of the run that an instrument does not have.

        >>> Settings().for_feeds({"klines.1m", "funding"}).confluence.preset
        'bars3'
        >>> lacking = {"x:B/C": {"book"}}
        >>> Settings().for_feeds({"trades", "book", "funding"}, ("x:A/C", "x:B/C"), lacking).confluence.preset
        {'x:A/C': 'full9', 'x:B/C': 'price6'}

        Raises:
            SettingsError: it is auto, and some instruments have trades, others klines.
        """
        given = self.confluence.preset
        named: Mapping[str, Preset] = given if isinstance(given, dict) else {}
        if (given != "auto" and not named) or (named and not instruments):
            return self
        unnamed = [name for name in instruments if name not in named]
        if {TRADES, KLINES} <= feeds and (unnamed or not named):
            raise SettingsError(
                "confluence.preset: auto is price6 for trades and bars3 for klines, and this run has instruments of both. "
                "Name a preset (for example confluence.preset: bars3), or run them apart"
            )
        found = {**named, **{name: preset_for(self.streams_of(name, feeds, instruments, lacking)) for name in unnamed}}
        decided = set(found.values()) or {preset_for(feeds)}
        preset = decided.pop() if len(decided) == 1 else dict(sorted(found.items()))
        return self.model_copy(update={"confluence": self.confluence.model_copy(update={"preset": preset})})

    def links(self, instruments: Collection[str]) -> dict[str, str]:
        """The perpetual whose streams a spot market has, where both are among the instruments."""
        link = self.indicators.sentiment.link.items()
        return {spot: linked for spot, linked in sorted(link) if spot in instruments and linked in instruments}

    def streams_of(
        self, instrument: str, feeds: Set[str], instruments: Collection[str], lacking: Mapping[str, Set[str]]
    ) -> frozenset[str]:
        """The streams of a run that an instrument has, those of a linked perpetual among them; arguments as `for_feeds`."""
        own, linked = feeds - entry(lacking, instrument, frozenset()), self.links(instruments).get(instrument)
        if linked is None:
            return frozenset(own)
        return frozenset(own - set(LENT) | (set(LENT) & feeds - entry(lacking, linked, frozenset())))

    @property
    def presets(self) -> tuple[str, ...]:
        """The presets in force, once they are decided (`for_feeds`)."""
        preset = self.confluence.preset
        return tuple(dict.fromkeys(preset.values())) if isinstance(preset, dict) else (preset,)

    def analysis(self) -> dict[str, Any]:
        """The sections that decide what is computed; where the preset is not decided yet, as it is for trades.

        Of a reliability table its bytes, not its path. What plugins declare is added by the plan that loads them.

        Raises:
            SettingsError: the table's bytes are not known; `config.load` and `config.with_table` look at them.
        """
        tree = self.for_feeds().model_dump(mode="json", include=set(ANALYSIS_SECTIONS))
        tree["indicators"]["beta"] = self.beta.model_dump(mode="json")
        path, tree["signals"]["calibration"] = self.signals.calibration, tree["signals"].pop("calibration_sha256")
        if path is not None and tree["signals"]["calibration"] is None:
            raise SettingsError(
                f"signals.calibration is {path}, which nobody has read: load the settings with config.load"
            )
        return tree

    @property
    def analysis_hash(self) -> str:
        """The identity of these settings; that of a run, plugins included, is `flows.plan.Plan.analysis_hash`."""
        return analysis_hash(self.analysis())
