"""What a graph computes, worked out of the settings: the parameters of every step, as plain data where they can be."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

from config.presets import preset_for
from config.problems import dotted
from config.settings import ONLY_TRADES, PRESETS, THETA_BASE, Settings
from connectors.files import Inputs
from connectors.live import LiveSource
from connectors.tape import Recording
from events.errors import SettingsError
from events.feeds import BESIDE, BOOKS, PRELOAD, RATES, TRADES
from events.identity import analysis_hash, entry, is_among, is_spot
from events.rows import GAP_ROW, MARKET_ROW, confluence_row, feature_row
from events.streams import Columns, Stream, base_streams
from events.times import SECOND_NS, timeframe_ns
from flows.calibration import read_table
from flows.plugin_faults import plugin_faults
from flows.plugins import Plugins, load_plugins, stored_plugins
from flows.voters import voters, why_not
from operators.analysis import Analysis, completed
from operators.ballot import BESIDE_SCORES, BesideFeatures, of_features
from operators.beta import BETA_COLUMNS, BETA_SCORES, REFERENCE
from operators.confluence import GATES, ConfluenceSettings, Voters
from operators.dimensions import SCORES, UNBLENDED, Score
from operators.indicators import Indicator, builtin_indicator, talib_indicator
from operators.market import AVERAGE, AVERAGED, TOGETHER
from operators.market_kernels import LEAST_KEYS
from operators.microstructure.book import BOOK_GAPS, BookSettings
from operators.microstructure.micro import MICRO_COLUMNS, micro_streams
from operators.microstructure.part import INPUTS, MicroSettings
from operators.microstructure.scores import MICRO_SCORES, MicroScore
from operators.risk import RiskSettings
from operators.rules import Rule
from operators.signals import SignalSettings

Origin = Inputs | Recording | LiveSource
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
        instruments: those of the run that are known before it begins; what compares instruments takes them alone.

    Attributes:
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
    ) -> None:
        self._plugins = plugins
        self.sequenced, self.feeds, self.instruments = sequenced, feeds, tuple(instruments)
        self.lacking = dict(sorted((lacking or {}).items()))
        self.settings = settings.for_feeds(feeds, self.instruments, self.lacking)
        self.timeframes = settings.bars.lengths
        self.max_fill = settings.bars.max_fill
        lateness_s = dict.fromkeys(feeds - {PRELOAD}, settings.sources.lateness_s or 0.0)
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
        preset = self.settings.confluence.preset
        return preset_for(self.feeds) if isinstance(preset, dict) else preset

    def preset_of(self, instrument: str) -> str:
        """The preset of an instrument."""
        preset = self.settings.confluence.preset
        return preset.get(instrument, self.preset) if isinstance(preset, dict) else preset

    def streams_of(self, instrument: str) -> frozenset[str]:
        """The streams of the run that an instrument has, that of a reference among them."""
        compared = {REFERENCE} if instrument in self.followers else set()
        return (self.feeds | compared) - entry(self.lacking, instrument, frozenset())

    @property
    def _offered(self) -> frozenset[str]:
        """The streams that some instrument may have."""
        return self.feeds | {REFERENCE} if self.followers else self.feeds

    def weights_of(self, preset: str) -> dict[str, float]:
        """Weights of dimensions under a preset, without those that are disabled."""
        weights = PRESETS[preset] | self.settings.dimensions.weights
        return {name: weight for name, weight in weights.items() if name not in self.settings.dimensions.disabled}

    @cached_property
    def weights(self) -> dict[str, float]:
        """Weights of the dimensions of all presets in force; of one that several have, that of the first of them."""
        found: dict[str, float] = {}
        for preset in (self.preset, *self.settings.presets):
            found = self.weights_of(preset) | found
        return found

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

    @property
    def named(self) -> tuple[str, ...]:
        """The instruments of the run, without the names that stand for those that come and go."""
        return tuple(name for name in self.instruments if not name.endswith("*"))

    @cached_property
    def followers(self) -> tuple[str, ...]:
        """The instruments to which bitcoin beta applies: all but the reference, where that is among them."""
        reference = self.settings.beta.reference
        if reference not in self.named or "bitcoin_beta" in self.settings.dimensions.disabled:
            return ()
        return tuple(sorted(name for name in self.named if name != reference))

    @cached_property
    def compared(self) -> bool:
        """Whether there are figures of the whole market: of fewer instruments they would say nothing."""
        return len(self.named) >= LEAST_KEYS

    @cached_property
    def averaged(self) -> bool:
        """Whether these figures have averages to hold closes against."""
        return self.compared and AVERAGED.removeprefix("features.") in dict(self.timeframes)

    @cached_property
    def micro(self) -> MicroSettings:
        """Parameters of microstructure."""
        indicators, streams = self.settings.indicators, tuple(name for name in INPUTS if name in self.feeds)
        lacking = {name: tuple(feed for feed in streams if feed in feeds) for name, feeds in self.lacking.items()}
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
    def scores(self) -> tuple[Score, ...]:
        """The scores among the features: those of the dimensions in force and of plugins, those without a weight left out."""
        chosen = self.settings.dimensions.features
        known = (score for score in (*SCORES, *self.plugins.scores) if score.dimension in self.weights)
        weighted = (replace(score, weight=chosen.get(score.column, score.weight)) for score in known)
        return tuple(score for score in weighted if score.weight > 0)

    @cached_property
    def beside(self) -> tuple[BesideFeatures, ...]:
        """The streams beside the features, and the scores among them, as `scores`, that the streams of the run allow."""
        told = tuple(name for name, length in self.timeframes if len(micro_streams(name, length, self.micro)) > 1)
        micro = BesideFeatures("micro", MICRO_COLUMNS, tuple(self._beside(MICRO_SCORES)), told)
        return (*[micro] * bool(told), *[self._beta] * bool(self._beta.scores))

    @cached_property
    def _beta(self) -> BesideFeatures:
        names = tuple(name for name, _ in self.timeframes) if self.followers else ()
        return BesideFeatures("beta", BETA_COLUMNS, tuple(self._beside(BETA_SCORES)), names)

    @property
    def _unheard(self) -> tuple[BesideFeatures, ...]:
        """Streams beside the features without a score that votes, so that scores need not wait for them."""
        return () if self._beta.scores else (self._beta,)

    def _beside(self, scores: Iterable[MicroScore]) -> Iterator[MicroScore]:
        for score in scores:
            weight = self.settings.dimensions.features.get(score.column, score.weight)
            if weight > 0 and score.dimension in self.weights and self._offered & set(score.streams):
                yield score._replace(weight=weight)

    @cached_property
    def voting(self) -> tuple[MicroScore, ...]:
        """All scores, in the order of the ballot: those beside the features first."""
        return (*(score for stream in self.beside for score in stream.scores), *map(of_features, self.scores))

    @cached_property
    def dimensions(self) -> tuple[tuple[str, float], ...]:
        """(name, weight) of the dimensions that take part: those of the presets and of plugins that exist and are not disabled."""
        found = tuple((name, self.weights[name]) for name in dict.fromkeys(score.dimension for score in self.voting))
        if not found:
            disabled = ", ".join(self.settings.dimensions.disabled)
            raise SettingsError(f"no dimension is left to score: preset {self.preset}, disabled {disabled}")
        return found

    def why_not(self, instrument: str, dimension: str) -> str | None:
        """Why a dimension is not applicable to an instrument, as a phrase; None where it is."""
        known = [*BESIDE_SCORES, *map(of_features, (*SCORES, *self.plugins.scores))]
        why = why_not(dimension, known, self.streams_of(instrument), is_spot(instrument))
        voting = any(score.dimension == dimension for score in self.voting)
        return why or (None if voting else "none of its features has a weight")

    def voters(self, instrument: str) -> Voters:
        """Who votes for an instrument."""
        return self._voters(self.preset_of(instrument), self.streams_of(instrument), is_spot(instrument))

    def _voters(self, preset: str, streams: frozenset[str], spot: bool) -> Voters:
        names = [name for name, _ in self.dimensions]
        return voters(self.voting, names, self.weights_of(preset), THETA_BASE[preset], streams, spot)

    @cached_property
    def analysis(self) -> Analysis:
        """The columns of every timeframe."""
        try:
            indicators = (*configured_indicators(self.settings), *self.plugins.indicators)
            voting = {score.column for score in self.scores}
            ruled = [column for column in self.rule.columns if column not in voting] if self.rule else []
            return Analysis(
                completed(indicators, self.scores, (*NEEDED, *ruled, *[AVERAGE] * self.averaged)), self.scores
            )
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
            spot=self._voters(self.preset, self.feeds, spot=True),
            derivatives=self._voters(self.preset, self.feeds, spot=False),
            instruments={name: self.voters(name) for name in sorted({*self.instruments, *self.lacking})},
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
            features=tuple((score.dimension, score.name) for score in self.voting),
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
        stated = (BesideFeatures("features", self.analysis.columns, (), names), *self.beside, *self._unheard)
        for stem, columns, _, there in stated:
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
        if self.compared:
            confluence |= {TOGETHER: Columns(TOGETHER, MARKET_ROW)}
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
    """The plan of a run over these files, over this tape, or of these exchanges.

    Raises:
        SettingsError: as `Plan`.
        InputError: an instrument has nothing to make bars of.
    """
    if isinstance(inputs, Inputs):
        inputs.check_driven()
    sequenced = frozenset(name for name in inputs.instruments if inputs.sequenced(name))
    live = not isinstance(inputs, Inputs)
    return Plan(settings, sequenced, inputs.feeds, None, live, inputs.lacking, inputs.instruments)


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
    feeds, instruments = frozenset(run["feeds"]), sorted(run["presets"])
    return Plan(settings, feeds=feeds, plugins=stored_plugins(run), lacking=lacking, instruments=instruments)
