"""The sections of settings that only live runs read: exchanges, metrics, the tape."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from config.section import Section
from events.feeds import BESIDE, TRADES

ALL_FEEDS: Final = "all"


def _stream(name: str) -> str:
    known = (TRADES, *BESIDE, ALL_FEEDS)
    if name not in known:
        close = get_close_matches(name, known, 1)
        raise ValueError(
            f"there is no stream {name!r}, only {', '.join(known)}{f'; did you mean {close[0]}?' if close else ''}"
        )
    return name


Stream = Annotated[str, AfterValidator(_stream)]


class Universe(Section):
    """The largest markets of an exchange by turnover of 24 hours, looked at again and again; each change is recorded."""

    top: int = Field(ge=1, le=1_000, description="Rank up to which a market joins.")
    keep: int | None = Field(
        None,
        ge=1,
        description="Rank beyond which one leaves, so that those near the edge stay; a quarter more than `top`, if not given.",
    )
    quote: str = Field("USDT", description="What the markets are quoted in.")
    market: Literal["spot", "swap"] = Field("spot", description="Their type; swap stands for perpetual contracts.")
    refresh_s: float = Field(3600.0, ge=10, description="Seconds between looks.")
    never: tuple[str, ...] = Field(
        ("USDC", "FDUSD", "TUSD", "DAI", "BUSD", "EUR"), description="Bases that are left out."
    )

    @model_validator(mode="after")
    def _keeps_what_joins(self) -> Universe:
        if self.keep is not None and self.keep < self.top:
            raise ValueError(
                f"keep is {self.keep}: it must be at least top, {self.top}, or who joins would leave again"
            )
        return self


class Exchange(Section):
    """Exchanges of a live run. What is not said here of a connection follows from how ccxt and the exchange behave."""

    symbols: dict[str, tuple[str, ...]] = Field(
        {},
        description="Symbols by exchange, such as {binance: [BTC/USDT, 'BTC/USDT:USDT'], kraken: [BTC/USD]}; exchanges are "
        "binance, kraken, okx, coinbase and bybit.",
    )
    feeds: tuple[Stream, ...] = Field(
        ("trades",),
        description="Streams of the run: trades, and beside them any of top, ticker, funding, open_interest, long_short, "
        "liquidations, book; or `all` that the exchanges have for these symbols. Symbols without one go on without it.",
    )
    poll_s: float = Field(
        60.0,
        ge=5,
        le=600,
        description="Seconds between questions for what an exchange does not push, such as open interest.",
    )
    reconcile: float = Field(
        5.0,
        ge=0,
        le=60,
        description="Minutes between questions for the exchange's own klines, which bars are held against; 0 for never. What "
        "differs is reported, and repaired nowhere.",
    )
    context: str | None = Field(
        None,
        pattern=r"^https?://[^/]+",
        description="Address of the figures of fear and greed, which no exchange has, such as https://api.alternative.me/fng/: "
        "JSON with a list `data` of `value` and `timestamp` in seconds. They make the stream context of every instrument.",
    )
    context_s: float = Field(3_600.0, ge=1, description="Seconds between questions for it.")
    universe: dict[str, Universe] = Field(
        {},
        description="Markets chosen by turnover, by exchange, such as {binance: {top: 50}}. Those of `symbols` are followed "
        "whatever their rank.",
    )
    fallback: dict[str, str] = Field(
        {},
        description="Instruments whose signals are told only while another one's exchange is down, by that other one, such as "
        "{'binance:BTC/USDT': 'kraken:BTC/USD'}; both always run.",
    )
    addresses: dict[str, str] = Field(
        {}, description="Host and port of a server that stands for an exchange, such as {binance: '127.0.0.1:9000'}."
    )
    cache: str | None = Field(None, description="Folder where lists of markets are kept for a day.")
    queue: int = Field(50_000, ge=1_000, description="Trades that wait to be analysed; beyond, they are fetched later.")
    stale_s: float = Field(30.0, ge=5, description="Seconds without any message after which a connection is dead.")
    mute_s: float = Field(
        5.0, gt=0, description="Seconds without a trade after which a connection is mute, if REST has trades meanwhile."
    )
    grid_s: float = Field(
        60.0, ge=1, le=60, description="Seconds between audits of a quiet instrument, and between its heartbeats."
    )
    refill_s: float = Field(
        21_600.0,
        ge=0,
        description="Seconds of absence up to which trades are fetched; after a longer one a hole is stated.",
    )
    preload: Literal["auto"] | Annotated[int, Field(ge=0)] = Field(
        "auto",
        description="Closed klines of each timeframe that a new run loads, so that indicators are warm at its start: as many as "
        "they need (`auto`), a number, or 0 for none. Exchanges may have less.",
    )
    clock_s: float | None = Field(
        None,
        gt=0,
        description="Seconds that this machine's clock may be off; 60, if not given, and any number at a server of "
        "exchange.addresses, whose time may be its own.",
    )
    void_after_s: float = Field(
        2.0,
        gt=0,
        le=60,
        description="Seconds after the close of a base bar from which joins go on without an instrument not known up to it.",
    )
    down_after_s: float = Field(
        60.0, gt=0, description="Seconds without a pushed trade after which an exchange that should push is down."
    )

    @field_validator("feeds", mode="before")
    @classmethod
    def _all_feeds(cls, value: Any) -> Any:
        return (value,) if value == ALL_FEEDS else value

    @field_validator("feeds")
    @classmethod
    def _feeds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if TRADES not in value and ALL_FEEDS not in value:
            raise ValueError("feeds must have trades, of which bars are made, or be all")
        return value


class Metrics(Section):
    """Metrics of a live run for Prometheus, served at /metrics."""

    port: int | None = Field(
        None, ge=0, le=65_535, description="Where; 0 is any free port. None are served, if not given."
    )
    host: str = Field(
        "127.0.0.1",
        description="Address they are served on; 0.0.0.0 is every one of the machine, as a container needs it. They say what runs, "
        "and ask for no password.",
    )
    per_key: int = Field(
        200, ge=0, description="Instruments up to which each has metrics of its own; of more, the one farthest behind."
    )
    engine: bool = Field(
        False,
        description="Whether Bytewax's own metrics are served too. It opens a port of its own for them, on all interfaces, and "
        "costs throughput where instruments are many.",
    )


class Tape(Section):
    """The tape that a live run records. Where it is and how it is kept never changes results."""

    directory: str | None = Field(None, description="Where it is; the folder tape of the run directory, if not given.")
    segment_bytes: int = Field(
        32 << 20, ge=4096, description="Size from which on a segment is closed, and another one begun."
    )
    sync: Literal["epoch", "none"] = Field(
        "epoch",
        description="Whether each stored state waits until the disk has the tape, so that a power cut loses nothing; a kill of "
        "the process never does.",
    )
    roll: bool = Field(True, description="Whether closed segments become Parquet files, by a process beside the run.")
    keep_days: float | None = Field(
        None, gt=0, description="Days after which closed segments are removed; they stay, if not given."
    )
    keep_bytes: int | None = Field(
        None,
        ge=0,
        description="Size of all segments above which the oldest closed ones are removed; they stay, if not given.",
    )
