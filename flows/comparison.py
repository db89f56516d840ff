"""Which instruments a run compares with each other, where it does so, and in which streams they are told of it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from config.settings import Settings
from events.feeds import MEMBERS
from events.identity import is_among
from events.rows import MARKET_ROW
from events.streams import Columns
from operators.broadcast import CLOSE_ROW
from operators.market import AVERAGED, EARLIER, TOGETHER
from operators.market_kernels import LEAST_KEYS

Cross = Literal["here", "apart", "nowhere"]
"""Where instruments are compared with each other: in the graph itself, in that of `flows.market`, or in none."""


@dataclass(frozen=True)
class Comparison:
    """What a run compares.

    Attributes:
        settings: of the run.
        feeds: its streams.
        instruments: those that are known before it begins; what compares instruments takes them alone, unless `feeds` say who
            joins and leaves.
        where: see `Cross`; it changes no result, but where it is nowhere.
    """

    settings: Settings
    feeds: Set[str]
    instruments: tuple[str, ...]
    where: Cross

    @property
    def named(self) -> tuple[str, ...]:
        """The instruments of the run, without the names that stand for those that come and go."""
        return tuple(name for name in self.instruments if not name.endswith("*"))

    @property
    def likes(self) -> tuple[str, ...]:
        """The names that stand for those that come and go."""
        return tuple(name for name in self.instruments if name.endswith("*"))

    @property
    def open(self) -> bool:
        """Whether instruments join and leave, and it is said when (`members`)."""
        return MEMBERS in self.feeds

    @cached_property
    def followers(self) -> tuple[str, ...]:
        """The instruments to which bitcoin beta applies: all but the reference, where that is among them, or may join them; with
        the names that stand for those that come and go, where it is known who they are.
        """
        reference, instruments = self.settings.beta.reference, self.instruments if self.open else self.named
        off = self.where == "nowhere" or "bitcoin_beta" in self.settings.dimensions.disabled
        if off or not is_among(reference, instruments):
            return ()
        return tuple(sorted(name for name in instruments if name != reference))

    @cached_property
    def compared(self) -> bool:
        """Whether there are figures of the whole market: of fewer instruments they would say nothing."""
        return self.where != "nowhere" and (self.open or len(self.named) >= LEAST_KEYS)

    @cached_property
    def averaged(self) -> bool:
        """Whether these figures have averages to hold closes against."""
        return self.compared and AVERAGED.removeprefix("features.") in dict(self.settings.bars.lengths)

    @cached_property
    def told(self) -> dict[str, Columns]:
        """The streams in which instruments are told of others."""
        names = [f"reference.{name}" for name, _ in self.settings.bars.lengths] if self.followers else []
        references = {name: Columns(name, CLOSE_ROW) for name in names}
        return references | ({EARLIER: Columns(EARLIER, MARKET_ROW)} if self.compared else {})

    @cached_property
    def together(self) -> dict[str, Columns]:
        """The stream of the figures of all instruments together, if there are any."""
        return {TOGETHER: Columns(TOGETHER, MARKET_ROW)} if self.compared else {}
