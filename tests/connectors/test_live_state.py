"""What a live source knows of its instruments survives a restart, as far as the tape and the stored state tell."""

from __future__ import annotations

import numpy as np

from connectors.exchange import ExchangeSource, voids
from connectors.exchange.frames import NO_TRADES
from connectors.live import LiveSource, universe_of
from connectors.tape import Tape
from events.frames import Frame
from events.rows import TRADE
from events.schema import NEVER
from events.times import MINUTE_NS, SECOND_NS

BTC, ETH = "binance:BTC/USDT", "binance:ETH/USDT"
T = 1_750_000_080 * SECOND_NS


def trades(*at):
    rows = np.zeros(len(at), TRADE)
    rows["available_at"] = at
    return BTC, Frame(BTC, "trades", rows, NEVER)


def heartbeat(at):
    return ETH, Frame(ETH, "trades", NO_TRADES, at)


def test_standings_are_those_of_all_that_was_handed_out_wherever_it_was_stopped(tmp_path):
    exchanges = ExchangeSource({"binance": ["BTC/USDT", "ETH/USDT"]})
    with Tape(tmp_path / "tape", universe_of(exchanges.exchanges)) as tape:
        source = LiveSource(exchanges, tape)
        tape.append([trades(T, T + 1), heartbeat(T)])
        first = source.build_part("live", "live", None)
        assert len(first.next_batch()) == 2
        state = first.snapshot()
        void = voids(source.standings, [ETH], T + MINUTE_NS)
        tape.append([trades(T + 7), *void])

        again = LiveSource(exchanges, tape)
        second = again.build_part("live", "live", state)
        assert (again.rows, again.newest_ns) == (2, T + 1)
        assert len(second.next_batch()) == 2
        assert again.standings[BTC].state == (3, T + 7, T + 7, NEVER, 0)
        assert again.standings[ETH].state == (0, NEVER, T, T + MINUTE_NS, 1)
        assert second.snapshot()[3] == {name: standing.state for name, standing in again.standings.items()}
        assert not again.is_new(BTC, T + 8)  # not before the exchanges are connected to
