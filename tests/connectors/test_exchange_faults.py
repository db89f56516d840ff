"""Unmodified ccxt clients against stand-ins with faults, of exchanges that the local exchange does not speak for."""

import json

import pytest
from exchange_bench import connected, exact, start, trading

from events.schema import COVERAGE, HOLE

COUNT = 5_000
PATIENT = dict.fromkeys(("mute_s", "stale_s", "keep_alive_s"), 120.0)
"""For what is no reason to connect again: neither is a machine that stands still for seconds."""


def set_to(server, **values):
    def change():
        for name, value in values.items():
            setattr(server, name, value)

    return change


def repeated(what, *at):
    return [(n, what) for n in at]


def fault(server, name):
    """Things to do while trading, of this name."""
    cuts = repeated(server.cut, 800, 2000, 3100)
    return {
        "none": [],
        "close": cuts,
        "reset": repeated(lambda: server.cut(hard=True), 800, 2000, 3100),
        "mute": [
            (700, set_to(server, mute=True)),
            (1800, set_to(server, mute=False)),
            (COUNT - 100, set_to(server, mute=True)),
        ],
        "refuse": [(800, set_to(server, refuse=3)), *cuts],
        "429": [(700, set_to(server, failing=[429, 429])), *cuts],
        "503": [(700, set_to(server, failing=[503] * 4)), *cuts],
        "html": [(700, set_to(server, failing=[200] * 4)), *cuts],
        "lag": [(1, set_to(server, lag_s=0.4)), *cuts],
        "repeats": [(1, set_to(server, repeat=0.3))],
        "swaps": [(1, set_to(server, swap=0.3)), (COUNT - 200, set_to(server, swap=0.0))],
        "skips": [(1, set_to(server, skip=0.02))],
    }[name]


FAULTS = ["none", "close", "reset", "mute", "refuse", "429", "503", "html", "lag", "repeats", "swaps", "skips"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_everything_traded_comes_out_once_and_in_order(name):
    with connected("coinbase", **(PATIENT if name in ("none", "swaps", "repeats") else {})) as (server, client):
        done = start(server, trading(server, COUNT, fault(server, name)))
        client.until(lambda: done() and client.complete())
        exact(client)
        orders = [one.order for one in client.part.feed.instruments.values()]
        counts = client.part.feed.counts
        met = {
            "none": counts["connected"] == 1,
            "mute": any(order.filled for order in orders) and counts["connected"] > 1,
            "repeats": any(order.repeated for order in orders),
            "swaps": counts["connected"] == 1,
            "skips": any(order.filled for order in orders),
            **dict.fromkeys(("429", "503", "html"), not server.failing),
        }
        assert met.get(name, counts["connected"] > 1), (counts, name)


@pytest.mark.slow
def test_a_burst_into_a_small_queue_is_refilled():
    with connected("coinbase", queue=300, waiting=100) as (server, client):
        for symbol in server.symbols:
            server.do(server.trade(symbol, COUNT))  # nobody takes anything meanwhile
        pages = len(server.symbols) * (1000 + 100)  # one at most is on its way for each instrument
        assert len(client.part.feed.queue) <= 300 + pages
        client.until(client.complete)
        exact(client)
        assert sum(one.order.let_go for one in client.part.feed.instruments.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FAULTS if name not in ("swaps", "skips")])
def test_where_ids_do_not_count_every_loss_is_stated(name):
    with connected("bybit", **(PATIENT if name in ("none", "repeats") else {})) as (server, client):
        server.page = 200
        done = start(server, trading(server, COUNT, fault(server, name)))
        client.until(done)
        server.mute, symbol = False, server.symbols[0]
        server.do(server.cut())
        server.do(server.trade(symbol))
        newest = client.traded(symbol, "")[-1][1:]
        client.until(lambda: client.rows(symbol) and client.rows(symbol)[-1][1:] == newest)
        (covered,) = client.said(symbol, COVERAGE)
        made = [row[1:] for row in client.traded(symbol, "") if row[1] > covered["since"]]
        out = [row[1:] for row in client.rows(symbol)]
        came, holes = iter(made), client.said(symbol, HOLE)
        skipped = []
        for row in out:  # what came out is what was made, in order, less what is skipped
            while (one := next(came)) != row:
                skipped.append(one)
        assert all(any(hole["since"] <= row[0] <= hole["until"] for hole in holes) for row in skipped)
        assert bool(skipped) <= bool(holes)
        if name in ("none", "repeats"):
            assert out == made


@pytest.mark.slow
@pytest.mark.parametrize("name", ["none", "close", "reset", "mute", "lag", "repeats", "skips"])
def test_where_the_stream_sums_trades_up_every_id_is_in_one_row(name):
    with connected("okx") as (server, client):
        pushed = {}

        async def push(symbol, frame, sent=server.push):
            (trade,) = json.loads(frame)["data"]
            pushed[symbol, int(trade["tradeId"])] = int(trade["count"]), float(trade["sz"])
            await sent(symbol, frame)

        server.push = push
        done = start(server, trading(server, COUNT, fault(server, name)))
        client.until(lambda: done() and client.complete())
        for symbol in client.symbols:
            (covered,) = client.said(symbol, COVERAGE)
            made = {row[0]: row for row in client.traded(symbol, int(covered["id_from"]))}
            following = int(covered["id_from"])
            for row in client.rows(symbol):
                count, qty = pushed.get((symbol, row[0]), (1, None))
                if (row[0] - following + 1, row[3]) == (count, qty):  # a sum that was pushed
                    assert row[:3] == made[row[0]][:3]
                else:
                    assert row == made[row[0]]
                    assert row[0] == following
                following = row[0] + 1
            assert following == server.traded[symbol][-1]["id"] + 1
            assert not client.said(symbol, HOLE)
