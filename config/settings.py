"""The tree of settings. Sections of the analysis decide what is computed and enter the analysis hash; the others do not."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from events.identity import ANALYSIS_SECTIONS, analysis_hash
from events.times import timeframe_ns

PRESETS: dict[str, dict[str, float]] = {
    "core6": {
        "order_flow": 0.20, "liquidity": 0.20, "sentiment": 0.15, "bitcoin_beta": 0.15, "smart_money": 0.20, "ml": 0.10,
    },
    "full9": {
        "order_flow": 0.18, "liquidity": 0.14, "sentiment": 0.10, "bitcoin_beta": 0.10, "smart_money": 0.14, "ml": 0.08,
        "volume": 0.08, "structure": 0.08, "technical": 0.10,
    },
    "price6": {
        "order_flow": 0.30, "liquidity": 0.20, "volume": 0.18, "structure": 0.15, "technical": 0.10, "sentiment": 0.07,
    },
    "bars3": {"technical": 0.40, "structure": 0.30, "volume": 0.30},
}  # fmt: skip
"""Weights of the dimensions, by preset."""

THETA_BASE: dict[str, float] = {"bars3": 20.0, "core6": 15.0, "price6": 16.0, "full9": 12.0}
"""Prior threshold of each preset, in points."""


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are checked, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Bars(Section):
    """Time bars: `time`, the timeframes (the first is the base, 1m); `max_fill`, synthetic bars in a row."""

    time: tuple[str, ...] = ("1m", "5m", "30m", "4h")
    max_fill: int = Field(60, ge=1, le=1440)

    @field_validator("time")
    @classmethod
    def _timeframes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        lengths = [timeframe_ns(name) for name in value]
        if not value or value[0] != "1m":
            raise ValueError("the first timeframe must be 1m, the base of all others")
        if lengths != sorted(set(lengths)):
            raise ValueError("timeframes must be in rising order, none twice")
        return value

    @property
    def lengths(self) -> tuple[tuple[str, int], ...]:
        """(name, ns) of each timeframe."""
        return tuple((name, timeframe_ns(name)) for name in self.time)


class TalibCall(Section):
    """A TA-Lib function by name, with its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, int]

    fn: str


class Indicators(Section):
    """Indicators of every timeframe."""

    talib: tuple[TalibCall, ...] = (
        TalibCall(fn="RSI", timeperiod=14),
        TalibCall(fn="ATR", timeperiod=14),
        TalibCall(fn="ADX", timeperiod=14),
        TalibCall(fn="PLUS_DI", timeperiod=14),
        TalibCall(fn="MINUS_DI", timeperiod=14),
        TalibCall(fn="MACD", fastperiod=12, slowperiod=26, signalperiod=9),
        TalibCall(fn="EMA", timeperiod=20),
        TalibCall(fn="EMA", timeperiod=50),
    )


class Dimensions(Section):
    """Dimensions: which are left out whatever the preset says."""

    disabled: tuple[str, ...] = ()


class Gates(Section):
    """What blocks an entry."""

    coverage: float = Field(0.6, ge=0, le=1)
    agreement: float = Field(0.0, ge=0, le=1)
    require_settled: bool = False


class Confluence(Section):
    """The score: preset of weights, threshold (`prior`, or points), blend of timeframes, gates."""

    preset: Literal["auto", "core6", "full9", "price6", "bars3"] = "auto"
    theta: Literal["prior"] | float = "prior"
    release: float = Field(5.0, ge=0, le=50)
    blend: dict[str, float] = {"1m": 0.40, "5m": 0.30, "30m": 0.20, "4h": 0.10}
    gates: Gates = Gates()

    @field_validator("theta")
    @classmethod
    def _points(cls, value: str | float) -> str | float:
        if isinstance(value, float) and not 0 < value < 50:
            raise ValueError("theta must be between 0 and 50 points, or 'prior'")
        return value

    @field_validator("blend")
    @classmethod
    def _weights(cls, value: dict[str, float]) -> dict[str, float]:
        if any(weight < 0 for weight in value.values()) or abs(sum(value.values()) - 1) > 1e-9:
            raise ValueError("the weights of the timeframes must be at least 0 and sum to 1")
        return value


class Signals(Section):
    """Signals: risk timeframe, cool-down and longest hold in its bars, stop, advisory size."""

    tf: str = "30m"
    cooldown_bars: int = Field(3, ge=0)
    hold_bars: int = Field(48, ge=1)
    stop_atr: float = Field(2.0, gt=0)
    equity: float | None = Field(None, gt=0)
    risk: float = Field(0.01, gt=0, le=0.02)
    cap: float = Field(0.10, gt=0, le=1)
    leverage: float = Field(3.0, gt=0)


class Outcomes(Section):
    """Paper costs."""

    fee_bps: float = Field(5.0, ge=0)
    slip_bps: float = Field(2.0, ge=0)


class Instrument(Section):
    """What a venue says of an instrument: price and quantity steps."""

    tick: float = Field(1e-8, gt=0)
    lot: float = Field(1e-8, gt=0)


class Sources(Section):
    """How sources behave: allowed lateness in seconds (0 for sorted files)."""

    lateness_s: float = Field(0.0, ge=0, le=3600)


class Input(Section):
    """Files of a backtest started by `python -m bytewax.run flows.backtest`; the command line sets them by its arguments."""

    files: tuple[str, ...] = ()
    layout: str | None = None
    instrument: str | None = None
    bad_rows: Literal["refuse", "dead-letter"] = "refuse"


class Output(Section):
    """Where a run goes."""

    directory: str | None = None


class Run(Section):
    """How a run is cut up, which never changes its results: rows a frame, seconds an epoch, workers."""

    chunk: int = Field(100_000, ge=1)
    epoch_s: float = Field(5.0, ge=0)
    workers: int = Field(1, ge=1, le=64)


class Settings(Section):
    """Everything."""

    bars: Bars = Bars()
    indicators: Indicators = Indicators()
    dimensions: Dimensions = Dimensions()
    confluence: Confluence = Confluence()
    signals: Signals = Signals()
    outcomes: Outcomes = Outcomes()
    instruments: dict[str, Instrument] = {}
    alerts: dict[str, str] = {}
    sources: Sources = Sources()
    input: Input = Input()
    output: Output = Output()
    run: Run = Run()

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if self.signals.tf not in self.bars.time:
            raise ValueError(
                f"signals.tf is {self.signals.tf}, which is not among bars.time ({', '.join(self.bars.time)})"
            )
        unknown = [name for name in self.confluence.blend if name not in self.bars.time]
        if unknown:
            raise ValueError(
                f"confluence.blend names {unknown[0]}, which is not among bars.time ({', '.join(self.bars.time)})"
            )
        return self

    @property
    def preset(self) -> str:
        """The preset in force; `auto` is price6 for instruments with trades."""
        return "price6" if self.confluence.preset == "auto" else self.confluence.preset

    def analysis(self) -> dict[str, Any]:
        """The resolved sections that decide what is computed."""
        tree = self.model_dump(mode="json", include=set(ANALYSIS_SECTIONS))
        tree["confluence"]["preset"] = self.preset
        return tree

    @property
    def analysis_hash(self) -> str:
        """The identity of the analysis."""
        return analysis_hash(self.analysis())
