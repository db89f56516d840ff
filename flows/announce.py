"""Signals on a terminal as they leave the graph, with their reasons."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from connectors.live import LiveSource
from events.frames import Frame
from events.records import Signal
from events.times import iso
from flows.following import Following
from flows.reasons import because, price, threshold


class Announcer:
    """A watcher of a live run: prints each new signal in three lines.

    A signal is new if it came of trades that were not on the tape when the exchanges were connected to, so that a restart does not
    say again what was said.

    Args:
        source: the exchanges, or what is read of Kafka.
        console: where to.
        fallback: instruments of which nothing is said unless another one's exchange is down, by that other one.
    """

    def __init__(
        self, source: LiveSource | Following, console: Console, fallback: Mapping[str, str] | None = None
    ) -> None:
        self._source, self._console = source, console
        self._first = {stands_in: first for first, stands_in in (fallback or {}).items()}

    def __call__(self, frame: Frame) -> None:
        """Print the new signals of a frame."""
        if frame.name != Signal.stream:
            return
        for signal in frame.rows:
            if self._source.is_new(signal.key, signal.ts) and self._told(signal.key):
                self._console.print(announcement(signal), soft_wrap=True, markup=False, highlight=False)

    def _told(self, instrument: str) -> bool:
        first = self._first.get(instrument)
        health = None if first is None else self._source.health.get(first.partition(":")[0])
        return first is None or (health is not None and health.state == "down")


def announcement(signal: Signal) -> str:
    """What, where and when; why; and the plan. Prices are in quote units, parts of the score in points."""
    targets = ", ".join(price(target) for target in signal.targets)
    warming = "; warming: some values are young" if signal.warming else ""
    return (
        f"{iso(signal.ts)}  {signal.side} {signal.key} at {price(signal.price)}, score {signal.score:.1f} {threshold(signal)}, "
        f"signal {signal.signal_id}{warming}\n"
        f"  because {because(signal)}\n"
        f"  stop {price(signal.stop)}, targets {targets}: {signal.rr:.2f} R if all are reached; paper, no order is placed"
    )
