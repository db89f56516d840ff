"""Instruments that stay are said to take part in front of what is said of those that come and go."""

from __future__ import annotations

from connectors.members import members_at
from events.feeds import FEEDS, GLOBAL
from events.frames import Frame
from flows.kafka_run import entering


def test_it_is_said_once_in_front_of_the_first_word_of_members():
    (entered,) = entering(["kraken:BTC/USD"])
    trades = [("x:A/B", Frame("x:A/B", "trades", FEEDS["trades"].empty, 60))]
    said = members_at(0, ["binance:BTC/USDT"])
    assert entered(trades) == trades
    out = entered([*trades, *said])
    assert [(key, frame.name) for key, frame in out] == [("x:A/B", "trades"), (GLOBAL, "members"), (GLOBAL, "members")]
    assert out[1][1].rows["member"].tolist() == [b"kraken:BTC/USD"]
    assert entered([*trades, *said]) == [*trades, *said]
    assert entering([]) == []
