"""What a live source knows of its instruments survives a restart, as far as the tape and the stored state tell."""

from __future__ import annotations

import numpy as np

from connectors.exchange import ExchangeSource, Options, voids
from connectors.exchange.frames import NO_TRADES
from connectors.live import LiveSource, universe_of
from connectors.tape import Tape
from events.frames import Frame
from events.rows import LONG_SHORT_ROW, TRADE
from events.schema import NEVER
from events.times import MINUTE_NS, SECOND_NS

BTC, ETH, PERPETUAL = "binance:BTC/USDT", "binance:ETH/USDT", "binance:BTC/USDT:USDT"
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


def ratio(at, received):
    rows = np.zeros(1, LONG_SHORT_ROW)
    rows["ts_event"], rows["available_at"], rows["long_frac"] = at, received, 0.5
    return PERPETUAL, Frame(PERPETUAL, "long_short", rows, NEVER)


def test_so_are_those_of_streams_beside_trades_and_polls_go_on_from_there(tmp_path):
    streams = ("long_short",)
    exchanges = ExchangeSource({"binance": ["BTC/USDT", "BTC/USDT:USDT"]}, Options(beside=streams))
    with Tape(tmp_path / "tape", universe_of(exchanges.exchanges, beside=streams)) as tape:
        source = LiveSource(exchanges, tape)
        assert list(source.beside) == [(PERPETUAL, "long_short")]
        tape.append([ratio(T, T + 5), (PERPETUAL, Frame(PERPETUAL, "long_short", ratio(0, 0)[1].rows[:0], T + 60))])
        first = source.build_part("live", "live", None)
        first.next_batch()
        state = first.snapshot()
        tape.append([ratio(T + 300, T + 305)])

        again = LiveSource(exchanges, tape)
        second = again.build_part("live", "live", state)
        assert again.beside[PERPETUAL, "long_short"].state[:3] == (1, T, T + 60)
        second.next_batch()
        assert again.beside[PERPETUAL, "long_short"].state[:3] == (2, T + 300, T + 60)
        assert second.snapshot()[4] == {(PERPETUAL, "long_short"): again.beside[PERPETUAL, "long_short"].state}

        older = LiveSource(exchanges, tape).build_part(
            "live", "live", state[:4]
        )  # stored before there were such streams
        assert older.snapshot()[4] == {(PERPETUAL, "long_short"): (0, NEVER, NEVER, NEVER, 0)}
