"""What a feed knows of one of its instruments."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from connectors.exchange.frames import Item, Position
from connectors.exchange.overlap import Overlap
from connectors.exchange.sequencer import Sequencer
from connectors.exchange.taps import TradeReader
from events.schema import NEVER


@dataclass
class Instrument:
    """One instrument of a feed, and how far it has come.

    Attributes:
        subscription: which connection pushes it.
        promised_ns: the newest heartbeat.
        asked_ns: when REST was asked last for trades after the last one.
        audited_ns: up to when the connection had pushed when REST was asked last so that it is a proof.
        quiet_ns: when REST was last known to have none that were not pushed.
        left: where it stood before an absence too long to be refilled.
        ask, task: whether the running refill must ask REST once more; that refill.
        covered_ns: from when on its trades are complete, once that is said by this run.
        held: what waits for its preload to be handed out, None if nothing has to.
        may_begin: whether it may begin with whatever trade comes; not while its preload looks for a better one.
    """

    symbol: str
    key: str
    read: TradeReader
    order: Sequencer | Overlap = field(init=False)
    subscription: int = 0
    promised_ns: int = NEVER
    audited_ns: int = NEVER
    asked_ns: int = NEVER
    quiet_ns: int = NEVER
    left: Position | None = None
    ask: bool = False
    task: asyncio.Task[None] | None = None
    covered_ns: int = NEVER
    held: list[Item] | None = None
    may_begin: bool = True

    @property
    def watermark_ns(self) -> int:
        """Up to where the stream is known to be complete."""
        return max(self.promised_ns, self.order.last_ns)
