"""The sections of settings: what each setting is, its default and its range."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, field_validator

from config.presets import PRESETS
from config.section import Section
from events.identity import is_spot
from events.schema import MARKET_REGIME_NAMES
from events.times import timeframe_ns


def _timeframe(name: str) -> str:
    timeframe_ns(name)
    return name


def _dimension(name: str) -> str:
    known = list(dict.fromkeys(dimension for weights in PRESETS.values() for dimension in weights))
    if name not in known:
        close = get_close_matches(name, known, 1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"there is no dimension {name!r}, only {', '.join(known)}{meant}")
    return name


Preset = Literal["core6", "full9", "price6", "bars3"]
Timeframe = Annotated[str, AfterValidator(_timeframe)]
Dimension = Annotated[str, AfterValidator(_dimension)]


def _market_regime(name: str) -> str:
    if name not in MARKET_REGIME_NAMES.values():
        raise ValueError(f"there is no regime of the market {name!r}, only {', '.join(MARKET_REGIME_NAMES.values())}")
    return name


MarketRegime = Annotated[str, AfterValidator(_market_regime)]


class Bars(Section):
    """Time bars."""

    time: tuple[Timeframe, ...] = Field(
        ("1m", "5m", "30m", "4h"), description="Timeframes in rising order; the first is the base, 1m."
    )
    max_fill: int = Field(60, ge=1, le=1440, description="Synthetic bars in a row that fill a hole, at most.")

    @field_validator("time")
    @classmethod
    def _timeframes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        lengths = [timeframe_ns(name) for name in value]
        said = []
        if not value or value[0] != "1m":
            said.append("the first timeframe must be 1m, the base of all others")
        if lengths != sorted(set(lengths)):
            said.append("timeframes must be in rising order, none twice")
        if said:
            raise ValueError("\n".join(said))
        return value

    @property
    def lengths(self) -> tuple[tuple[str, int], ...]:
        """(name, ns) of each timeframe."""
        return tuple((name, timeframe_ns(name)) for name in self.time)


class TalibCall(Section):
    """A TA-Lib function by name, with its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, int | float]

    fn: str = Field(description="Name of the function; its parameters stand beside it, by TA-Lib's names.")
    timeframes: tuple[Timeframe, ...] | None = Field(
        None, description="Timeframes on which it is computed; on all of them, if not given."
    )


class Book(Section):
    """How the shape of an order book is measured."""

    depth: int = Field(50, ge=20, le=1000, description="Best levels of either side that count.")
    cap_mult: float | None = Field(
        10.0,
        gt=0,
        description="A level counts with at most so many times the median size of the best 20 levels of both sides; "
        "with all of it, if null.",
    )


class Liquidations(Section):
    """What liquidations say."""

    floor_usd: float = Field(
        10_000.0, ge=0, description="Quote value of liquidations in a window below which they have no opinion."
    )
    mode: Literal["exhaustion", "momentum"] = Field(
        "exhaustion",
        description="What votes: the end of a flush, against it, or the imbalance of 30 minutes, along with it.",
    )


class OpenInterest(Section):
    """What open interest says of a move of the price."""

    unwind: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Weight of a move during which open interest did not rise; one during which it rose has 1.",
    )


class Sentiment(Section):
    """What derivatives say of the crowd."""

    invert: tuple[Literal["funding", "liquidations", "long_short", "basis", "fear_greed"], ...] = Field(
        (), description="Features of the dimension sentiment whose sign is turned."
    )
    long_short: Literal["accounts", "positions", "taker"] = Field(
        "accounts", description="Whose long/short ratio is read, where a venue has several."
    )
    link: dict[str, str] = Field(
        {},
        description="Perpetual whose tickers, funding, open interest, ratios and liquidations a spot market has, such as "
        "{'binance:BTC/USDT': 'binance:BTC/USDT:USDT'}, where both are instruments of the run.",
    )

    @field_validator("link")
    @classmethod
    def _from_spot_to_perpetual(cls, value: dict[str, str]) -> dict[str, str]:
        said = [f"link names {spot}, which is no spot market" for spot in value if not is_spot(spot)]
        said += [f"link leads to {linked}, which is no perpetual" for linked in value.values() if is_spot(linked)]
        if said:
            raise ValueError("\n".join(said))
        return value


class Indicators(Section):
    """Indicators of every timeframe, beside those that the scores need, which are always there."""

    talib: tuple[TalibCall, ...] = Field((), description="TA-Lib functions, each with its parameters.")
    builtin: tuple[str, ...] = Field((), description="The project's own indicators, by name.")
    book: Book = Field(Book(), description="How the shape of an order book is measured.")
    liquidations: Liquidations = Field(Liquidations(), description="What liquidations say.")
    open_interest: OpenInterest = Field(OpenInterest(), description="What open interest says of a move of the price.")
    sentiment: Sentiment = Field(Sentiment(), description="What derivatives say of the crowd.")


class Beta(Section):
    """Bitcoin beta: what of an instrument's moves a reference does not explain."""

    reference: str = Field(
        "binance:BTC/USDT",
        pattern=r"^[a-z0-9]+:[^:/\s]+/\S+$",
        description="The reference, exchange:BASE/QUOTE. Where it is no instrument of the run, bitcoin_beta is not applicable.",
    )


class Dimensions(Section):
    """Dimensions of the score."""

    disabled: tuple[Dimension, ...] = Field((), description="Dimensions left out whatever the preset says.")
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {}, description="Weights of dimensions, instead of the preset's; those that plugins add need one."
    )
    features: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {},
        description="Weights of scores inside their dimensions by column, such as technical.rsi, instead of their own; "
        "0 leaves one out.",
    )


class Gates(Section):
    """What blocks an entry."""

    coverage: float = Field(0.6, ge=0, le=1, description="Least share of the weights that must have voted.")
    agreement: float = Field(0.0, ge=0, le=1, description="Least agreement of the votes.")
    require_settled: bool = Field(False, description="Whether only settled values may lead to a signal.")
    market: tuple[MarketRegime, ...] = Field(
        (), description="Regimes of the whole market in which no long begins, such as [BROAD_DOWN_HIGH_VOL]."
    )
    spread_bps: float = Field(
        10.0, ge=0, description="Largest mean spread of a bar, in basis points, where there is a book or best quotes."
    )
    spread_pctl: float = Field(
        0.95, ge=0, le=1, description="Rank of a larger spread among those of the bars before, up to which it will do."
    )


class Confluence(Section):
    """The score over dimensions and timeframes, and what it takes to enter."""

    preset: Literal["auto"] | Preset | dict[str, Preset] = Field(
        "auto",
        description="Weights of the dimensions, for all or by exchange:BASE/QUOTE; auto is full9 for trades with a book and one of "
        "funding, open interest, long/short ratio and liquidations, else price6 for trades and bars3 for klines.",
    )
    theta: Literal["auto", "prior"] | float = Field(
        "auto",
        description="Threshold in points, above 0 and below 50; prior is that of the preset and of who votes, "
        "auto learns it from the 30 days before.",
    )
    release: float = Field(5.0, ge=0, le=50, description="Points below the threshold at which a side is let go.")
    blend: dict[str, float] = Field(
        {"1m": 0.40, "5m": 0.30, "30m": 0.20, "4h": 0.10},
        description="Weight of each timeframe; they sum to 1, and each is among bars.time.",
    )
    regime_tf: str | None = Field(
        None,
        description="Timeframe whose regime gates entries and labels signals; one of bars.time, signals.tf without it.",
    )
    gates: Gates = Field(Gates(), description="What blocks an entry.")

    @field_validator("theta")
    @classmethod
    def _points(cls, value: str | float) -> str | float:
        if isinstance(value, float) and not 0 < value < 50:
            raise ValueError("theta must be between 0 and 50 points, 'auto' or 'prior'")
        return value

    @field_validator("blend")
    @classmethod
    def _weights(cls, value: dict[str, float]) -> dict[str, float]:
        if any(weight < 0 for weight in value.values()) or abs(sum(value.values()) - 1) > 1e-9:
            raise ValueError("the weights of the timeframes must be at least 0 and sum to 1")
        return value


class Signals(Section):
    """Signals: the timeframe of their risk, how long they last, and the advisory size."""

    tf: str = Field("30m", description="Timeframe on which stops are sized; one of bars.time.")
    rule: str | None = Field(
        None, description="Rule of a plugin that decides the entry state; the score, if not given."
    )
    cooldown_bars: int = Field(3, ge=0, description="Bars of that timeframe from a signal to the next one.")
    hold_bars: int = Field(48, ge=1, description="Bars of that timeframe after which a signal expires.")
    stop_atr: float = Field(2.0, gt=0, description="Distance of the stop, in average true ranges.")
    structural_stop: bool = Field(
        True, description="Whether the stop goes behind the newest swing of that timeframe where that is nearer."
    )
    close_on_illiquid: bool = Field(False, description="Whether a signal ends when the regime becomes LOW_LIQUIDITY.")
    calibration: str | None = Field(
        None,
        description="Reliability table, a file that `tidewax outcomes --calibrate` made; signals are uncalibrated without.",
    )
    calibration_sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of that file, by which it enters the analysis; found if not given.",
    )
    equity: float | None = Field(None, gt=0, description="Equity for the advisory size; none without it.")
    risk: float = Field(0.01, gt=0, le=0.02, description="Share of the equity at risk in a signal.")
    cap: float = Field(0.10, gt=0, le=1, description="Largest notional, as a share of the equity.")
    leverage: float = Field(3.0, gt=0, description="Largest notional, as a multiple of the equity.")


class Outcomes(Section):
    """Paper costs."""

    fee_bps: float = Field(5.0, ge=0, description="Fee of a fill, in basis points.")
    slip_bps: float = Field(2.0, ge=0, description="Slippage of a fill, in basis points.")


class Plugins(Section):
    """Indicators, scores and signal rules of your own: plain functions in Python files."""

    files: tuple[str, ...] = Field((), description="Python files, relative to the settings file.")
    parameters: dict[str, dict[str, bool | int | float | str]] = Field(
        {}, description="Parameters instead of the defaults, by the name of the indicator, score or rule."
    )


class Instrument(Section):
    """What a venue says of an instrument."""

    tick: float = Field(1e-8, gt=0, description="Price step.")
    lot: float = Field(1e-8, gt=0, description="Quantity step.")


class Sources(Section):
    """How sources behave."""

    lateness_s: float | None = Field(
        None,
        ge=0,
        le=3600,
        description="Allowed lateness in seconds. If not given, it is 0 for files, which are sorted, and 2 for trades of "
        "exchanges; where an exchange numbers its trades, they come in order, and it is 0 in any case.",
    )


class Input(Section):
    """Files of a backtest started by `python -m bytewax.run flows.backtest`; the command line sets them by its arguments."""

    files: tuple[str, ...] = Field((), description="Files of trades, klines, and what stands beside them.")
    layout: str | None = Field(None, description="What the columns mean; found by looking, if not given.")
    instrument: str | None = Field(None, description="exchange:BASE/QUOTE, where the file does not say.")
    exchange: str | None = Field(None, description="That of the pairs which names of files or a column symbol show.")
    columns: dict[str, str] = Field(
        {}, description="Columns of one's own files by role, such as {time: ts, price: px}."
    )
    bad_rows: Literal["refuse", "dead-letter"] = Field(
        "refuse", description="What becomes of rows that cannot be used."
    )
    feeds: tuple[str, ...] | None = Field(
        None, description="Streams that are wanted, such as [trades, book]; all that the files hold, if not given."
    )
    delay: dict[str, Annotated[float, Field(ge=0, le=86_400)]] = Field(
        {},
        description="Seconds from the time of a row to its publication by stream, such as {open_interest: 60}. If not given, 60 "
        "for open_interest and long_short, 3600 for context, 0 for all others; rows that say when they were available need none.",
    )


class Output(Section):
    """Where a run goes."""

    directory: str | None = Field(None, description="The run directory.")


class Run(Section):
    """How a run is cut up, which never changes its results."""

    chunk: int = Field(100_000, ge=1, description="Rows a frame.")
    epoch_s: float = Field(5.0, ge=0, description="Seconds an epoch: how often the state is stored.")
    workers: int = Field(1, ge=1, le=64, description="Worker threads.")
    status_s: float = Field(
        60.0, ge=0, description="Seconds between lines of a live run whose output is no terminal; 0 for none."
    )
