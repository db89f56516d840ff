"""Every fault of the local exchange, alone and mixed: the bars get all that was traded, in order, none twice, none late."""

from __future__ import annotations

import os
import random
import time

import pytest
from simulator_bench import BUSY, PER_SECOND, bench
from simulator_clients import loopback_only  # noqa: F401
from soak_rows import keep

from connectors.simulator.faults import EVENTS, KNOBS

SOAK = bool(os.environ.get("TIDEWAX_SOAK"))
SEEDS, COUNT = (range(1, 11), 17_000) if SOAK else ((1,), 5_000)  # of each of three instruments
SECONDS = COUNT / PER_SECOND
MILLISECOND_NS = 1_000_000

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("loopback_only")]


def on(name, value=None):
    return lambda bench: bench.exchange.fault(name, value)


def event(name):
    def act(bench):
        bench.until_connected()
        bench.exchange.fault(name)

    return act


def until_noticed(name, count):
    """A fault that lasts until every feed has counted once more what it does to them."""

    def act(bench):
        before = bench.told(count)
        bench.exchange.fault(name)
        bench.until(lambda: all(now > then for now, then in zip(bench.told(count), before)))
        bench.exchange.clear(name)

    return act


def now_and_then(r, *acts, every_s=0.8):
    """Things to do one after the other, again and again, at moments of chance."""
    at, script = r.uniform(0.2, 0.5), []
    while at < SECONDS - 0.2:
        script += [(at, act) for act in acts]
        at += r.uniform(0.5, 1.5) * every_s
    return script


def burst(count):
    """So many trades at one time, and no more: Kraken does not serve more than 1,000 of one time."""

    def act(bench):
        began = bench.exchange.now_ns
        bench.exchange.fault("burst", count)
        bench.until(lambda: bench.exchange.now_ns > began + MILLISECOND_NS, polling=False)

    return act


def overflow(bench):
    """More trades at once than there is room for, while nobody takes any."""
    burst(900)(bench)
    bench.until_overflow()


def refused(name):
    """The exchange will not serve us any more, until the source has given up; then one goes on where that one was."""

    def act(bench):
        bench.exchange.fault(name)
        event("reset")(bench)
        said = str(bench.until_refused())
        assert {"geo-block": "refuses to serve this address", "bad-symbol": " says: "}[name] in said
        bench.disconnect()
        bench.exchange.clear(name)
        bench.connect()

    return act


def script_of(name, r):
    """What happens under this name."""
    scripts = {
        "close": lambda: now_and_then(r, event("close")),
        "reset": lambda: now_and_then(r, event("reset")),
        "burst": lambda: now_and_then(r, overflow, every_s=2.0),
        "mute": lambda: now_and_then(r, until_noticed("mute", "mute"), every_s=6.0),
        "refuse": lambda: now_and_then(r, on("refuse", 3), event("reset"), every_s=1.5),
        "no-pong": lambda: now_and_then(r, until_noticed("no-pong", "lost"), every_s=6.0),
        "rest-429": lambda: now_and_then(r, on("rest-429", 2), event("reset"), every_s=2.0),
        "rest-html": lambda: now_and_then(r, on("rest-html", 2), event("reset"), every_s=1.5),
        "rest-lag": lambda: [(0.1, on("rest-lag", 0.5)), *now_and_then(r, event("reset"), every_s=1.5)],
        "duplicates": lambda: [(0.1, on("duplicates", 0.2))],
        "reorder": lambda: [(0.1, on("reorder", 0.5))],
        "skip": lambda: [(0.1, on("skip", 0.02))],
        "clock-skew": lambda: [],  # it is there from the beginning
        "geo-block": lambda: now_and_then(r, refused("geo-block"), every_s=5.0),
        "bad-symbol": lambda: now_and_then(r, refused("bad-symbol"), every_s=5.0),
        "stream mix": lambda: [
            (0.1, on("skip", 0.01)),
            (0.2, on("duplicates", 0.1)),
            (0.3, on("reorder", 0.2)),
            *now_and_then(r, event("reset"), every_s=2.0),
            *now_and_then(r, event("close"), every_s=2.0),
        ],
        "outage mix": lambda: [
            (0.1, on("rest-lag", 0.3)),
            (0.2, on("skip", 0.01)),
            *now_and_then(r, until_noticed("mute", "mute"), every_s=6.0),
            *now_and_then(r, on("refuse", 2), on("rest-429", 1), on("rest-html", 1), event("reset"), every_s=3.0),
            *now_and_then(r, burst(500), every_s=2.0),
        ],
    }
    return scripts[name]()


MET = {
    "stream mix": ("skip", "duplicates", "reorder", "reset", "close", "clock-skew"),
    "outage mix": ("rest-lag", "skip", "mute", "refuse", "rest-429", "rest-html", "reset", "burst"),
}
"""What is in a mix."""
OPTIONS = {"burst": {"queue": 300, "waiting": 100}, "no-pong": {"keep_alive_s": 0.3}, "clock-skew": {"grid_s": 0.1}}
ALL = [*EVENTS, *(name for name, knob in KNOBS.items() if not knob.of_books), *MET]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ALL)
def test_what_reaches_the_bars_is_what_was_traded(tmp_path_factory, name, seed):
    faults = MET.get(name, (name,))
    skew_s = (30.0 if seed % 2 else -30.0) if "clock-skew" in faults else 0.0

    def before(exchange):
        if skew_s:
            exchange.fault("clock-skew", skew_s)

    folder, began_s = tmp_path_factory.getbasetemp(), time.monotonic()
    with bench(folder, seed, SECONDS, before, **OPTIONS.get(name, {})) as run:
        # a clock that is ahead must not let heartbeats run ahead; one that is behind lets nothing be promised yet
        run.run(
            SECONDS,
            script_of(name, random.Random(seed)),
            lambda: (
                all(counted[fault] for counted in run.happened.values() for fault in faults)
                and (name != "clock-skew" or skew_s < 0 or run.heartbeats > 0)
            ),
        )
        made = run.outcome()
        keep("faults", name, seed, vars(made) | {"seconds": time.monotonic() - began_s})
    assert made.trades >= len(BUSY) * COUNT * 0.7  # of this seed, as many as there happen to be
    assert (made.lost, made.twice, made.out_of_order, made.wrong, made.refused, made.gaps) == (0, 0, 0, 0, 0, 0), made
    needed = {
        **dict.fromkeys(("close", "reset", "refuse", "mute", "no-pong"), made.reconnects > 3),
        **dict.fromkeys(("skip", "rest-429", "rest-html", "rest-lag", "geo-block", "bad-symbol"), made.refilled),
        "burst": made.let_go,
        "duplicates": made.repeated,
    }
    assert needed.get(name, True), made
