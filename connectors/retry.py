"""When to try again: pieces that every outbound call shares. They read no clock; times are seconds of the caller's clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Delays that double from `first_s` up to `most_s`, each scattered by up to a half downwards, so that many callers do not come
    back at once.

    >>> delays = Backoff(first_s=0.2, most_s=1.0, random=random.Random(7))
    >>> [0.5 * most <= delays.next() <= most for most in (0.2, 0.4, 0.8, 1.0, 1.0)]
    [True, True, True, True, True]
    """

    first_s: float = 0.2
    most_s: float = 10.0
    random: random.Random = field(default_factory=random.Random)
    tries: int = 0

    def next(self) -> float:
        """Seconds to wait before the next try."""
        most = min(self.most_s, self.first_s * 2.0 ** min(self.tries, 30))
        self.tries += 1
        return most * (1.0 - 0.5 * self.random.random())

    def reset(self) -> None:
        """It worked: begin with the first delay again."""
        self.tries = 0


@dataclass
class Breaker:
    """A gate that all calls to one host share. It closes after `failures` failures in a row, or at once where the host says for how
    long; then nobody calls until the pause is over, and the first call that fails after it closes the gate again, for longer.

    >>> breaker = Breaker(failures=2, pauses=Backoff(1.0, 8.0, random.Random(7)))
    >>> breaker.failed(100.0), breaker.wait_s(100.0)
    (None, 0.0)
    >>> breaker.failed(100.0, at_least_s=3.0), breaker.wait_s(101.0)
    (None, 2.0)
    """

    failures: int = 3
    pauses: Backoff = field(default_factory=lambda: Backoff(1.0, 60.0))
    in_a_row: int = 0
    until_s: float = 0.0

    def wait_s(self, now_s: float) -> float:
        """Seconds for which nobody may call; 0 if the gate is open."""
        return max(0.0, self.until_s - now_s)

    def failed(self, now_s: float, at_least_s: float = 0.0) -> None:
        """A call failed; the host asked for a pause of `at_least_s`."""
        self.in_a_row += 1
        pause = self.pauses.next() if self.in_a_row >= self.failures else 0.0
        self.until_s = max(self.until_s, now_s + max(pause, at_least_s))

    def succeeded(self) -> None:
        """A call worked: the gate is open."""
        self.in_a_row, self.until_s = 0, 0.0
        self.pauses.reset()
