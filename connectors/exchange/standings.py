"""How far the trades of instruments have come, and what joins are told of those that are behind; by pure functions of times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from connectors.exchange.frames import NO_TRADES
from events.feeds import TRADES
from events.frames import Frame, control
from events.identity import id_hash
from events.schema import NEVER, VOID

StandingState = tuple[int, int, int, int, int]
"""The fields of a `Standing`: plain data."""


@dataclass(slots=True)
class Standing:
    """How far the trades of an instrument have come. Times are ns, NEVER for none.

    Attributes:
        rows: how many trades were handed out.
        newest_ns: the time of the newest of them.
        watermark_ns: up to when (exclusive) all of them are out.
        void_ns: up to when joins were told to do without them.
        voids: how often they were.
    """

    rows: int = 0
    newest_ns: int = NEVER
    watermark_ns: int = NEVER
    void_ns: int = NEVER
    voids: int = 0

    @property
    def state(self) -> StandingState:
        """Its fields."""
        return self.rows, self.newest_ns, self.watermark_ns, self.void_ns, self.voids

    def passed(self, frame: Frame) -> None:
        """Take note of a frame that is handed out.

        >>> standing = Standing()
        >>> standing.passed(Frame("binance:BTC/USDT", "trades", NO_TRADES, 60))
        >>> standing.state[2]
        60
        """
        self.watermark_ns = max(self.watermark_ns, frame.watermark)
        if len(frame.rows):
            self.rows += len(frame.rows)
            self.newest_ns = max(self.newest_ns, int(frame.rows["available_at"][-1]))
            self.watermark_ns = max(self.watermark_ns, self.newest_ns)
        for said in frame.control[frame.control["kind"] == VOID] if len(frame.control) else ():
            self.void_ns, self.voids = max(self.void_ns, int(said["until"])), self.voids + 1


def voids(standings: Mapping[str, Standing], instruments: Iterable[str], boundary_ns: int) -> list[tuple[str, Frame]]:
    """Frames that say which of these instruments are not known up to a boundary, so that joins go on without them.

    Their watermarks stay, so their bars do not close. One that is known up to the boundary itself has closed its bar there,
    and none is told of twice. What is said begins where the instrument is known to, or after what was said before.

    >>> at = {"x:A/B": Standing(watermark_ns=50), "x:C/D": Standing(watermark_ns=60)}
    >>> [(key, frame.control[["since", "until"]].tolist()) for key, frame in voids(at, at, 60)]
    [('x:A/B', [(50, 60)])]
    """
    out = []
    for instrument in instruments:
        standing = standings[instrument]
        if standing.watermark_ns < boundary_ns and standing.void_ns < boundary_ns:
            since = max(0, standing.watermark_ns, standing.void_ns + 1)
            said = control(VOID, since, since, boundary_ns, id_from=id_hash(instrument))
            out.append((instrument, Frame(instrument, TRADES, NO_TRADES, NEVER, said)))
    return out
