"""Who votes for which instrument: what of the score its streams allow.

A score is not applicable to an instrument that has none of the streams it is made of, and a dimension not to one that none of its
scores is applicable to. What is not applicable counts as if it were not there; what should be there and is not, is missing.
Source: file 05 section 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import replace
from functools import cached_property
from typing import Final

from config import Settings
from config.presets import DERIVATIVES, PRESETS, THETA_BASE, preset_for
from events.errors import SettingsError
from events.feeds import BOOKS, FEEDS, TOPS
from events.identity import entry, is_among, is_spot
from operators.ballot import BESIDE_SCORES, BesideFeatures, of_features
from operators.beta import REFERENCE
from operators.confluence import Voters
from operators.dimensions import Score
from operators.microstructure.scores import MicroScore

SENTIMENT: Final = "sentiment"
LIQUIDITY: Final = "liquidity"


def is_applicable(score: MicroScore, streams: Set[str], spot: bool) -> bool:
    """Whether an instrument with these streams can have a score. One that is made of bars alone any has; others of sentiment are of
    derivatives, or of a spot market that has their streams.

    >>> from operators.microstructure.scores import MICRO_SCORES
    >>> fear = MICRO_SCORES[-1]
    >>> [is_applicable(fear, {"trades", "context"}, spot) for spot in (True, False)]
    [False, True]
    """
    if not score.streams:
        return True
    lent = score.dimension != SENTIMENT or not spot or bool(DERIVATIVES & streams)
    return lent and bool(streams & set(score.streams))


class Electorate:
    """Which scores and dimensions vote in a run, and which of them for which instrument.

    Args:
        settings: with the presets decided.
        feeds: the streams of the run.
        lacking: those that an instrument does not have.
        instruments: those that are known.
        own: all scores among the features, plugins' too.
        beside: the streams beside the features, with all of their scores.
        followers: the instruments to which bitcoin beta applies.
    """

    def __init__(
        self,
        settings: Settings,
        feeds: frozenset[str],
        lacking: Mapping[str, frozenset[str]],
        instruments: Collection[str],
        own: Sequence[Score],
        beside: Sequence[BesideFeatures],
        followers: Collection[str],
    ) -> None:
        self.settings, self.feeds, self.lacking, self.followers = settings, feeds, lacking, frozenset(followers)
        self.instruments, self._own, self._beside = instruments, own, beside

    @property
    def preset(self) -> str:
        """The preset in force; where instruments have several, that of one which has all streams."""
        preset = self.settings.confluence.preset
        return preset_for(self.feeds) if isinstance(preset, dict) else preset

    def preset_of(self, instrument: str) -> str:
        """The preset of an instrument."""
        preset = self.settings.confluence.preset
        return entry(preset, instrument, self.preset) if isinstance(preset, dict) else preset

    def streams_of(self, instrument: str) -> frozenset[str]:
        """The streams of the run that an instrument has, that of a reference among them."""
        reference = instrument == self.settings.beta.reference
        compared = {REFERENCE} if is_among(instrument, self.followers) and not reference else set()
        return self.settings.streams_of(instrument, self.feeds, self.instruments, self.lacking) | compared

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

    def _weighted(self, score: Score | MicroScore) -> float:
        return self.settings.dimensions.features.get(score.column, score.weight)

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        """The scores among the features: those of the dimensions in force, those without a weight left out."""
        weighted = (replace(s, weight=self._weighted(s)) for s in self._own if s.dimension in self.weights)
        return tuple(score for score in weighted if score.weight > 0)

    @cached_property
    def beside(self) -> tuple[BesideFeatures, ...]:
        """The streams beside the features, of their scores those that have a weight and that the streams of the run allow."""
        found, offered = [], self.feeds | {REFERENCE}
        for stream in self._beside:
            weighted = (s._replace(weight=self._weighted(s)) for s in stream.scores if s.dimension in self.weights)
            there = (s for s in weighted if s.weight > 0 and is_applicable(s, offered, spot=False))
            found.append(stream._replace(scores=tuple(there)))
        return tuple(found)

    @property
    def joined(self) -> tuple[BesideFeatures, ...]:
        """Those of them that the score waits for: what votes, and what the gates of the market judge by."""
        judged = {BOOKS, TOPS} & self.feeds
        return tuple(s for s in self.beside if s.scores or (s.name == "micro" and judged))

    @cached_property
    def voting(self) -> tuple[MicroScore, ...]:
        """All scores, in the order of the ballot: those beside the features first."""
        return (*(score for stream in self.beside for score in stream.scores), *map(of_features, self.scores))

    @cached_property
    def dimensions(self) -> tuple[tuple[str, float], ...]:
        """(name, weight) of the dimensions that take part: those of the presets and of plugins that exist and are not disabled.

        Raises:
            SettingsError: there is none.
        """
        found = tuple((name, self.weights[name]) for name in dict.fromkeys(score.dimension for score in self.voting))
        if not found:
            disabled = ", ".join(self.settings.dimensions.disabled)
            raise SettingsError(f"no dimension is left to score: preset {self.preset}, disabled {disabled}")
        return found

    def voters(self, instrument: str) -> Voters:
        """Who votes for an instrument."""
        return self._voters(self.preset_of(instrument), self.streams_of(instrument), is_spot(instrument))

    def others(self, spot: bool) -> Voters:
        """Who votes for a spot market, or a derivative, of which nothing was known at the beginning."""
        return self._voters(self.preset, self.feeds, spot)

    def _voters(self, preset: str, streams: frozenset[str], spot: bool) -> Voters:
        """Who votes: not scores without their streams, nor dimensions without a score."""
        weights = self.weights_of(preset)
        possible = {score.column: is_applicable(score, streams, spot) for score in self.voting}
        left = {score.dimension for score in self.voting if possible[score.column]}
        found = {name: weights.get(name, 0.0) if name in left else 0.0 for name, _ in self.dimensions}
        judged = {"book": BOOKS in streams and found.get(LIQUIDITY, 0.0) > 0.0, "spread": bool({BOOKS, TOPS} & streams)}
        return Voters(
            weights=tuple(found.values()),
            theta_base=THETA_BASE[preset],
            silent=tuple(s.column for s in self.voting if found[s.dimension] == 0.0 or not possible[s.column]),
            gates=tuple(name for name, is_judged in judged.items() if is_judged),
        )

    def why_not(self, instrument: str, dimension: str) -> str | None:
        """Why a dimension is not applicable to an instrument, as a phrase; None where it is."""
        streams, spot = self.streams_of(instrument), is_spot(instrument)
        scores = [s for s in (*BESIDE_SCORES, *map(of_features, self._own)) if s.dimension == dimension]
        if any(is_applicable(score, streams, spot) for score in scores):
            voting = any(score.dimension == dimension for score in self.voting)
            return None if voting else "none of its features has a weight"
        if dimension == SENTIMENT and spot:
            return "it is a spot market without the streams of a perpetual (indicators.sentiment.link names one)"
        needed = dict.fromkeys(name for score in scores for name in score.streams)
        if REFERENCE in needed:
            return (
                "it is the reference" if instrument == self.settings.beta.reference else "there is no reference for it"
            )
        return f"it has {', '.join(f'no {FEEDS[name].noun}' for name in needed)}" if needed else "it is off"
