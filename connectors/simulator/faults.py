"""What an exchange does to its clients, as knobs. Each is a small class; `Faults` holds those that are on.

A fault changes what a client is told, never what was traded.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar, Final

from events.errors import SettingsError
from events.times import SECOND_NS

STALE_NS: Final = 5 * SECOND_NS
"""How old a stale book is."""
_ACROSS: Final = 3
"""Ticks by which a crossed book is crossed."""


@dataclass(frozen=True)
class Answer:
    """What is said instead of what was asked for."""

    status: int
    text: str
    content_type: str = "application/json"
    retry_after_s: int | None = None


class Fault:
    """One knob. What a subclass does not override works as it should.

    Attributes:
        value: how much of it; what that is, the subclass says.
        of_books: whether books alone show it.
    """

    name: ClassVar[str]
    default: ClassVar[float] = inf
    of_books: ClassVar[bool] = False

    def __init__(self, value: float) -> None:
        self.value = value

    def dial(self) -> Answer | None:
        """What a websocket handshake gets instead of a connection."""
        return None

    def request(self, history: bool) -> Answer | None:
        """What a REST request gets instead of its answer; `history` says that it asks for trades or klines."""
        return None

    def frames(self, frames: list[str], r: random.Random) -> list[str]:
        """What leaves on a connection, of the frames of market data that should."""
        return frames

    def once(self) -> bool:
        """Whether it happens once more, where `value` is how often it should."""
        self.value -= 1
        return self.value >= 0


class Mute(Fault):
    """Connections stay, pings and subscriptions are answered, and no market data comes."""

    name = "mute"

    def frames(self, frames: list[str], r: random.Random) -> list[str]:
        """Nothing."""
        return []


class Refuse(Fault):
    """So many next websocket handshakes get 503."""

    name = "refuse"

    def dial(self) -> Answer | None:
        """503."""
        return Answer(503, '{"code":-1001,"msg":"Service unavailable."}') if self.once() else None


class NoPong(Fault):
    """Pings are not answered, as on a connection of which only one direction is left."""

    name = "no-pong"


class TooManyRequests(Fault):
    """So many next REST requests get 429, with Retry-After: 1."""

    name = "rest-429"

    def request(self, history: bool) -> Answer | None:
        """429."""
        message = '{"code":-1003,"msg":"Too many requests; current limit is 6000 request weight per 1 MINUTE."}'
        return Answer(429, message, retry_after_s=1) if self.once() else None


class Html(Fault):
    """So many next requests for history get a web page, with status 200."""

    name = "rest-html"

    def request(self, history: bool) -> Answer | None:
        """A page that says nothing."""
        page = "<html><head><title>Maintenance</title></head><body>Please log in.</body></html>"
        return Answer(200, page, "text/html") if history and self.once() else None


class RestLag(Fault):
    """Over REST, history ends so many seconds of the market ago, while the stream goes on."""

    name, default = "rest-lag", 1.0


class Duplicates(Fault):
    """Each frame comes a second time with this probability."""

    name, default = "duplicates", 0.1

    def frames(self, frames: list[str], r: random.Random) -> list[str]:
        """Frames, some twice in a row."""
        return [frame for sent in frames for frame in [sent] * (1 + (r.random() < self.value))]


class Reorder(Fault):
    """The frames of a burst come in random order, with this probability a burst."""

    name, default = "reorder", 1.0

    def frames(self, frames: list[str], r: random.Random) -> list[str]:
        """The same frames."""
        return r.sample(frames, len(frames)) if r.random() < self.value else frames


class Skip(Fault):
    """Each frame is left out with this probability: trades that the stream never tells."""

    name, default = "skip", 0.05

    def frames(self, frames: list[str], r: random.Random) -> list[str]:
        """Fewer frames."""
        return [frame for frame in frames if r.random() >= self.value]


class ClockSkew(Fault):
    """The exchange's clock is so many seconds off: in its answer to `time`, and in the times at which it says to send."""

    name, default = "clock-skew", 30.0


class GeoBlock(Fault):
    """REST requests and handshakes get 451."""

    name = "geo-block"

    def dial(self) -> Answer | None:
        """451."""
        return self.request(False)

    def request(self, history: bool) -> Answer | None:
        """451."""
        return Answer(451, '{"code":0,"msg":"Service unavailable from a restricted location."}')


class BadSymbols(Fault):
    """No symbol is known any more to requests and subscriptions, though the list of symbols still has them."""

    name = "bad-symbol"


class StaleDepth(Fault):
    """So many next requests for a book get the one of five seconds ago, while the stream goes on: 1, unless it says more."""

    name, default, of_books = "stale-depth", 1.0, True


class SequenceSkip(Fault):
    """So many next updates of a book are left out, and their ids too: 1, unless it says more."""

    name, default, of_books = "sequence-skip", 1.0, True


class CrossedBook(Fault):
    """So many next updates have a bid above the best ask, which an update takes back a second later: 1, unless it says more."""

    name, default, of_books = "crossed-book", 1.0, True


class MutedDepth(Fault):
    """No stream tells what changes in a book any more; trades and all else go on."""

    name, of_books = "muted-depth", True


KNOBS: Final[dict[str, type[Fault]]] = {
    fault.name: fault
    for fault in (
        *(Mute, Refuse, NoPong, TooManyRequests, Html, RestLag, Duplicates, Reorder, Skip),
        *(ClockSkew, GeoBlock, BadSymbols, StaleDepth, SequenceSkip, CrossedBook, MutedDepth),
    )
}
"""Faults that are on until they are cleared, or until they have happened often enough."""

EVENTS: Final = ("close", "reset", "burst")
"""Faults of a moment: close every connection cleanly, abort it, trade so many times at once."""


class Faults:
    """The faults of one venue that are on.

    Attributes:
        happened: how often each has made a difference to what a client was told: messages, answers, handshakes, connections.

    >>> faults = Faults(seed=1)
    >>> faults.set("skip", 1.0)
    >>> faults.frames(["a", "b"])
    []
    >>> faults.clear("skip")
    >>> faults.frames(["a", "b"])
    ['a', 'b']
    >>> faults.happened
    Counter({'skip': 2})
    """

    def __init__(self, seed: int) -> None:
        self._on: dict[str, Fault] = {}
        self.happened: Counter[str] = Counter()
        self._random = random.Random(seed)

    def set(self, name: str, value: float | None = None) -> None:
        """Turn a knob.

        Args:
            name: of KNOBS.
            value: how often, how likely, or how many seconds, as the knob says; its own default, if not given.

        Raises:
            SettingsError: there is no such knob.
        """
        knob = KNOBS.get(name)
        if knob is None:
            raise SettingsError(f"there is no fault {name!r}; there are {', '.join([*KNOBS, *EVENTS])}")
        self._on[name] = knob(knob.default if value is None else value)

    def clear(self, name: str | None = None) -> None:
        """Turn one knob back, or all."""
        for gone in [name] if name else list(self._on):
            self._on.pop(gone, None)

    @property
    def values(self) -> dict[str, float]:
        """What is on, and how much; it may have happened often enough."""
        return {name: fault.value for name, fault in self._on.items()}

    def dial(self) -> Answer | None:
        """What a websocket handshake gets instead of a connection."""
        return self._answer(lambda fault: fault.dial())

    def request(self, history: bool) -> Answer | None:
        """What a REST request gets instead of its answer."""
        return self._answer(lambda fault: fault.request(history))

    def _answer(self, asked: Callable[[Fault], Answer | None]) -> Answer | None:
        for name, fault in self._on.items():
            answer = asked(fault)
            if answer is not None:
                self.happened[name] += 1
                return answer
        return None

    def frames(self, frames: list[str]) -> list[str]:
        """What leaves of these frames."""
        for name, fault in self._on.items():
            made = fault.frames(frames, self._random)
            if made != frames:
                self.happened[name] += abs(len(made) - len(frames)) or 1
            frames = made
        return frames

    def ns(self, name: str) -> int:
        """The value of a knob that is in seconds, in ns; 0 while it is off."""
        return round(self._on[name].value * SECOND_NS) if name in self._on else 0

    def met(self, name: str) -> bool:
        """Whether a knob is on, where it makes a difference at once: that counts."""
        self.happened[name] += name in self._on
        return name in self._on

    def once(self, name: str) -> bool:
        """Whether a knob of which `value` says how often it happens does so now: that counts."""
        fault = self._on.get(name)
        happens = fault is not None and fault.once()
        self.happened[name] += happens
        return happens

    def __contains__(self, name: str) -> bool:
        return name in self._on


class Crossing:
    """What `crossed-book` does to one stream of a book.

    Attributes:
        crossed: the bid that stands above the best ask, ticks and lots.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._since_ns = 0
        self.crossed: dict[int, int] = {}

    def bids(self, time_ns: int, best: tuple[int, int, int, int], bids: Mapping[int, int]) -> dict[int, int]:
        """Lots of bids, by ticks, that the update of that time tells of beside those that changed."""
        if self.crossed and time_ns - self._since_ns >= SECOND_NS:
            told = {tick: bids.get(tick, 0) for tick in self.crossed}
            self.crossed = {}
            return told
        if not self.crossed and self._faults.once("crossed-book"):
            self._since_ns, self.crossed = time_ns, {best[2] + _ACROSS: best[1]}
            return self.crossed
        return {}
