"""What a graph computes, worked out of the settings: the parameters of every step, as plain data where they can be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

from config.problems import dotted
from config.settings import ONLY_TRADES, THETA_BASE, Settings
from connectors.files import Inputs
from connectors.kafka.inputs import KafkaInputs
from connectors.live import LiveSource
from connectors.tape import Recording
from events.errors import SettingsError
from events.feeds import BESIDE, BOOKS, CHECKS, MEMBERS, PRELOAD, RATES, TRADES, UNIVERSE
from events.identity import analysis_hash, is_among
from events.rows import GAP_ROW, confluence_row, feature_row
from events.streams import Columns, Stream, base_streams
from events.times import SECOND_NS, timeframe_ns
from flows.calibration import read_table
from flows.comparison import Comparison, Cross
from flows.plugin_faults import plugin_faults
from flows.plugins import Plugins, load_plugins, stored_plugins
from flows.voters import Electorate
from operators.analysis import Analysis, completed
from operators.ballot import BesideFeatures
from operators.beta import BETA_COLUMNS, BETA_SCORES
from operators.confluence import GATES, ConfluenceSettings
from operators.dimensions import SCORES, UNBLENDED, Score
from operators.indicators import Indicator, builtin_indicator, talib_indicator
from operators.market import AVERAGE
from operators.microstructure.book import BOOK_GAPS, BookSettings
from operators.microstructure.micro import MICRO_COLUMNS, micro_streams
from operators.microstructure.part import INPUTS, MicroSettings
from operators.microstructure.scores import MICRO_SCORES
from operators.risk import RiskSettings
from operators.rules import Rule
from operators.signals import SignalSettings

Origin = Inputs | Recording | LiveSource | KafkaInputs
"""Where the market data of a run comes from."""

EXCHANGE_LATENESS_S: Final = 2.0
"""Allowed lateness of trades of exchanges that do not number them, and of what is beside trades, if the settings do not say; not of
books, whose updates come in order.
"""

NEEDED: Final = ("atr_14", "regime", "swing.high", "swing.low")
"""What gates and stops need, whatever the scores do."""


class Plan:
    """The parameters of the steps.

    Args:
        settings: as they were given.
        sequenced: the instruments whose trades have consecutive ids.
        feeds: the streams of the run.
        plugins: those of a finished run; the files that the settings name are run, if not given.
        live: whether exchanges send the trades, now or when the tape was recorded.
        lacking: the streams of the run that an instrument does not have, where there are any: what needs them is not applicable to
            it, rather than missing.
        instruments: those of the run that are known before it begins; what compares instruments takes them alone, unless `feeds`
            say who joins and leaves.
        cross: where they are compared.

    Attributes:
        cross: what is compared.
        settings: with all decided that hangs on the feeds.
        lateness_ns: by how much rows may be out of order, per stream.
        punctual: the instruments whose trades come in order in any case, as their source has put them in the order of their ids.

    Raises:
        SettingsError: an indicator does not exist, a score lacks a column, a plugin cannot be used, or no preset fits all feeds.
    """

    def __init__(
        self,
        settings: Settings,
        sequenced: frozenset[str] = frozenset(),
        feeds: frozenset[str] = ONLY_TRADES,
        plugins: Plugins | None = None,
        live: bool = False,
        lacking: Mapping[str, frozenset[str]] | None = None,
        instruments: Collection[str] = (),
        cross: Cross = "here",
    ) -> None:
        self._plugins = plugins
        self.sequenced, self.feeds, self.instruments = sequenced, feeds, tuple(instruments)
        self.lacking = dict(sorted((lacking or {}).items()))
        self.settings = settings.for_feeds(feeds, self.instruments, self.lacking)
        self.cross = Comparison(self.settings, feeds, self.instruments, cross)
        self.timeframes = settings.bars.lengths
        self.max_fill = settings.bars.max_fill
        in_order = (
            {PRELOAD, CHECKS, UNIVERSE, MEMBERS} if live else {PRELOAD, MEMBERS}
        )  # as a live source hands them out
        lateness_s = dict.fromkeys(feeds - in_order, settings.sources.lateness_s or 0.0)
        if live and settings.sources.lateness_s is None:
            lateness_s |= dict.fromkeys(feeds & {TRADES, *BESIDE} - {BOOKS}, EXCHANGE_LATENESS_S)
        self.lateness_ns = {name: round(seconds * SECOND_NS) for name, seconds in lateness_s.items()}
        self.punctual = sequenced if live else frozenset()

    def lateness_s(self, instrument: str) -> dict[str, float]:
        """By how many seconds rows of an instrument may be out of order, per stream."""
        told = {name: ns / SECOND_NS for name, ns in self.lateness_ns.items()}
        return told | {TRADES: 0.0} if is_among(instrument, self.punctual) and TRADES in told else told

    @property
    def preset(self) -> str:
        """The preset in force; where instruments have several, that of one which has all streams."""
        return self.electorate.preset

    @property
    def funding(self) -> bool:
        """Whether funding rates reach the signals."""
        return RATES in self.feeds

    @property
    def preloaded(self) -> bool:
        """Whether instruments begin with klines of the time before their first trade."""
        return PRELOAD in self.feeds

    @property
    def book(self) -> BookSettings:
        """How the shape of books is measured."""
        return BookSettings(**self.settings.indicators.book.model_dump())

    @property
    def ticks(self) -> tuple[tuple[str, float], ...]:
        """Price steps by instrument, where the settings say them."""
        return tuple((name, one.tick) for name, one in sorted(self.settings.instruments.items()))

    @cached_property
    def micro(self) -> MicroSettings:
        """Parameters of microstructure."""
        indicators, streams = self.settings.indicators, tuple(name for name in INPUTS if name in self.feeds)
        has = {
            name: self.settings.streams_of(name, self.feeds, self.instruments, self.lacking)
            for name in sorted({*self.lacking, *self.links})
        }
        lacking = {name: tuple(feed for feed in streams if feed not in feeds) for name, feeds in has.items()}
        return MicroSettings(
            streams=streams,
            lacking=tuple((name, feeds) for name, feeds in lacking.items() if feeds),
            base_ns=self.timeframes[0][1],
            liq_floor_usd=indicators.liquidations.floor_usd,
            liq_mode=indicators.liquidations.mode,
            oi_unwind=indicators.open_interest.unwind,
            invert=tuple(sorted(indicators.sentiment.invert)),
            long_short_basis=indicators.sentiment.long_short,
            preloaded=self.preloaded,
        )

    @property
    def links(self) -> dict[str, str]:
        """The perpetual whose streams a spot market has."""
        return self.settings.links(self.instruments)

    @cached_property
    def plugins(self) -> Plugins:
        """What the plugin files declare."""
        if self._plugins is not None:
            return self._plugins
        plugins = load_plugins(self.settings)
        wrong = plugin_faults(self.settings, plugins, lambda: configured_indicators(self.settings))
        if wrong:
            raise SettingsError("\n".join(f"{dotted(path)}: {said}" for path, said in wrong))
        return plugins

    @cached_property
    def rule(self) -> Rule | None:
        """What decides the entry state in place of the score."""
        name = self.settings.signals.rule
        return None if name is None else self.plugins.rules[name]

    @cached_property
    def tree(self) -> dict[str, Any]:
        """All that decides what is computed: the settings of the analysis, and the plugins."""
        tree = self.settings.analysis()
        if self.plugins.found:
            tree["indicators"]["plugins"] = self.plugins.identity()
        return tree

    @cached_property
    def analysis_hash(self) -> str:
        """The identity of the analysis."""
        return analysis_hash(self.tree)

    @cached_property
    def electorate(self) -> Electorate:
        """Which scores and dimensions vote, and for which instrument."""
        names = tuple(name for name, _ in self.timeframes)
        told = tuple(name for name, length in self.timeframes if len(micro_streams(name, length, self.micro)) > 1)
        micro = [BesideFeatures("micro", MICRO_COLUMNS, MICRO_SCORES, told)] if told else []
        beta = [BesideFeatures("beta", BETA_COLUMNS, BETA_SCORES, names)] if self.cross.followers else []
        own = (*SCORES, *self.plugins.scores)
        given = (self.feeds, self.lacking, self.instruments)
        return Electorate(self.settings, *given, own, (*micro, *beta), self.cross.followers)

    @property
    def scores(self) -> tuple[Score, ...]:
        """The scores among the features."""
        return self.electorate.scores

    @property
    def beside(self) -> tuple[BesideFeatures, ...]:
        """The streams beside the features, with the scores among them that vote."""
        return self.electorate.beside

    @property
    def dimensions(self) -> tuple[tuple[str, float], ...]:
        """(name, weight) of the dimensions that take part.

        Raises:
            SettingsError: there is none.
        """
        return self.electorate.dimensions

    @cached_property
    def analysis(self) -> Analysis:
        """The columns of every timeframe."""
        try:
            indicators = (*configured_indicators(self.settings), *self.plugins.indicators)
            voting = {score.column for score in self.scores}
            ruled = [column for column in self.rule.columns if column not in voting] if self.rule else []
            return Analysis(
                completed(indicators, self.scores, (*NEEDED, *ruled, *[AVERAGE] * self.cross.averaged)), self.scores
            )
        except ValueError as error:
            raise SettingsError(f"indicators: {error}") from None

    @cached_property
    def confluence(self) -> ConfluenceSettings:
        """Parameters of the score."""
        settings = self.settings.confluence
        reference = {self.settings.beta.reference} if self.cross.followers else set()
        return ConfluenceSettings(
            timeframes=tuple((name, length, settings.blend.get(name, 0.0)) for name, length in self.timeframes),
            dimensions=self.dimensions,
            risk_timeframe=self.settings.signals.tf,
            regime_timeframe=settings.regime_tf,
            theta=settings.theta,
            theta_base=THETA_BASE[self.preset],
            release=settings.release,
            min_coverage=settings.gates.coverage,
            min_agreement=settings.gates.agreement,
            require_settled=settings.gates.require_settled,
            unblended=UNBLENDED,
            most_spread_bps=settings.gates.spread_bps,
            most_spread_pctl=settings.gates.spread_pctl,
            spot=self.electorate.others(spot=True),
            derivatives=self.electorate.others(spot=False),
            instruments={n: self.electorate.voters(n) for n in sorted({*self.instruments, *self.lacking, *reference})},
        )

    @cached_property
    def signals(self) -> SignalSettings:
        """Parameters of signals.

        Raises:
            SettingsError: the reliability table cannot be used.
        """
        settings, outcomes = self.settings.signals, self.settings.outcomes
        names = [name for name, _ in self.dimensions]
        return SignalSettings(
            timeframe=(settings.tf, timeframe_ns(settings.tf)),
            base_ns=self.timeframes[0][1],
            dimensions=tuple(names),
            features=tuple((score.dimension, score.name) for score in self.electorate.voting),
            timeframes=tuple(name for name, _ in self.timeframes),
            analysis_hash=self.analysis_hash,
            cooldown_bars=settings.cooldown_bars,
            hold_bars=settings.hold_bars,
            fee_bps=outcomes.fee_bps,
            slip_bps=outcomes.slip_bps,
            risk=RiskSettings(
                stop_atr=settings.stop_atr,
                equity=settings.equity,
                risk=settings.risk,
                cap=settings.cap,
                leverage=settings.leverage,
                structural=settings.structural_stop,
            ),
            lots={name: instrument.lot for name, instrument in self.settings.instruments.items()},
            close_on_illiquid=settings.close_on_illiquid,
            shut_markets=self.settings.confluence.gates.market,
            calibration=read_table(self.settings),
        )

    @cached_property
    def streams(self) -> dict[str, Stream]:
        """All streams that leave the graph, in the order of the picture."""
        names = tuple(name for name, _ in self.timeframes)
        base = base_streams(names)
        features: dict[str, Stream] = {}
        for stem, columns, _, there in (BesideFeatures("features", self.analysis.columns, (), names), *self.beside):
            blocks = {"values": columns, "status": [f"{column}.status" for column in columns]}
            features |= {f"{stem}.{t}": Columns(f"{stem}.{t}", feature_row(len(columns)), blocks) for t in there}
        dimensions = [name for name, _ in self.dimensions]
        per_dimension = {f: [f"{d}.{f}" for d in dimensions] for f in ("u", "weight", "q", "contribution", "status")}
        gates = {"gates": [f"gate.{name}" for name in GATES]}
        row = confluence_row(len(dimensions), len(GATES))
        confluence: dict[str, Stream] = {"confluence": Columns("confluence", row, per_dimension | gates)}
        bars = {name: stream for name, stream in base.items() if name.startswith("bars.")}
        others = {name: stream for name, stream in base.items() if name not in bars}
        if BOOKS in self.feeds:
            others[BOOK_GAPS] = Columns(BOOK_GAPS, GAP_ROW)
        if self.cross.where == "here":
            confluence |= self.cross.together
        return bars | features | confluence | others


def configured_indicators(settings: Settings) -> tuple[Indicator, ...]:
    """The indicators that settings name: TA-Lib's, then the project's own.

    Raises:
        ValueError: there is none of that name, or it does not take its parameters.
    """
    calls, own = settings.indicators.talib, settings.indicators.builtin
    called = (
        replace(talib_indicator(call.fn, **call.__pydantic_extra__), timeframes=call.timeframes) for call in calls
    )
    return (*called, *(builtin_indicator(name) for name in own))


def plan_of_inputs(settings: Settings, inputs: Origin) -> Plan:
    """The plan of a run over these files, this tape or these topics, or of these exchanges.

    Raises:
        SettingsError: as `Plan`.
        InputError: an instrument has nothing to make bars of.
    """
    if isinstance(inputs, Inputs):
        inputs.check_driven()
    sequenced = frozenset(name for name in inputs.instruments if inputs.sequenced(name))
    live = inputs.live if isinstance(inputs, KafkaInputs) else not isinstance(inputs, Inputs)
    cross: Cross = "here"
    if isinstance(inputs, KafkaInputs) and inputs.sharded:
        cross = "apart" if settings.kafka.market else "nowhere"
    return Plan(settings, sequenced, inputs.feeds, None, live, inputs.lacking, inputs.instruments, cross)


def plan_of_run(run: Mapping[str, Any]) -> Plan:
    """The plan of a finished run, by what its run.json says: of its plugins without their functions, without its reliability table.

    Raises:
        ValidationError: it has settings that this version does not know.
    """
    settings = Settings.model_validate(run["settings"])
    # What the table said is in the signals; the file may be gone.
    signals = settings.signals.model_copy(update={"calibration": None})
    settings = settings.model_copy(update={"signals": signals})
    lacking = {name: frozenset(feeds) for name, feeds in run["lacking"].items()}
    feeds, instruments, cross = frozenset(run["feeds"]), sorted(run["presets"]), run.get("cross", "here")
    return Plan(
        settings, feeds=feeds, plugins=stored_plugins(run), lacking=lacking, instruments=instruments, cross=cross
    )
