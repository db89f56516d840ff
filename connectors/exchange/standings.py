"""How far the streams of instruments have come, and what joins are told of those that are behind; by pure functions of times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from connectors.exchange.frames import NO_TRADES
from events.feeds import BOOKS, FEEDS, RATES, TRADES
from events.frames import Frame, control
from events.identity import id_hash
from events.schema import NEVER, VOID

StandingState = tuple[int, int, int, int, int]
"""The fields of a `Standing`: plain data."""


@dataclass(slots=True)
class Standing:
    """How far a stream of an instrument has come. Times are ns, NEVER for none.

    Attributes:
        rows: how many of its rows were handed out.
        newest_ns: the time of the newest of them; of funding rates, of those that were settled.
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
            self.newest_ns = max(self.newest_ns, _newest_ns(frame))
            if frame.name in (TRADES, BOOKS):  # which come in order
                self.watermark_ns = max(self.watermark_ns, self.newest_ns)
        for said in frame.control[frame.control["kind"] == VOID] if len(frame.control) else ():
            self.void_ns, self.voids = max(self.void_ns, int(said["until"])), self.voids + 1


def _newest_ns(frame: Frame) -> int:
    rows = frame.rows
    if frame.name == RATES:
        rows = rows[rows["predicted"] == 0]
    times = rows["ts_event" if "ts_event" in (rows.dtype.names or ()) else "available_at"]
    return int(times.max()) if len(times) else NEVER


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


def voids_beside(
    standings: Mapping[tuple[str, str], Standing], instruments: Iterable[str], boundary_ns: int
) -> list[tuple[str, Frame]]:
    """Frames that say which streams beside the trades of these instruments are not known past a boundary.

    The joins of the instrument itself go on without them, too, since its trades alone are waited for.

    >>> at = {("x:A/B", "top"): Standing(watermark_ns=60), ("x:A/B", "funding"): Standing(watermark_ns=61)}
    >>> [(frame.name, frame.control[["since", "until"]].tolist()) for _, frame in voids_beside(at, ["x:A/B"], 60)]
    [('top', [(60, 60)])]
    """
    out, wanted = [], frozenset(instruments)
    for (instrument, stream), standing in standings.items():
        if instrument in wanted and standing.watermark_ns <= boundary_ns and standing.void_ns < boundary_ns:
            since = max(0, standing.watermark_ns, standing.void_ns + 1)
            said = control(VOID, since, since, boundary_ns)
            out.append((instrument, Frame(instrument, stream, FEEDS[stream].empty, NEVER, said)))
    return out
