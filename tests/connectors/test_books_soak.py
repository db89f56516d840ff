"""Every fault of books on live books of the local exchange, again and again at moments of chance: what the graph keeps of what was
handed out is the book of REST, every break is stated and healed, and no trade is lost.
"""

from __future__ import annotations

import os
import random
import time
from functools import partial

import numpy as np
import pytest
from live_books import Client, connected, in_order
from simulator_clients import KRAKEN, LINEAR, SPOT, loopback_only  # noqa: F401
from soak_rows import keep

from connectors.simulator.faults import KNOBS
from events.feeds import BOOKS, FEEDS, TRADES
from events.frames import Frame
from events.schema import HOLE, NEVER, SYNCED, VOID
from events.times import SECOND_NS
from operators.intake import Intake
from operators.microstructure.book import BOOK_GAPS, BookMinutes, BookSettings
from operators.ordered import Ordered

SOAK = bool(os.environ.get("TIDEWAX_SOAK"))
SEEDS, ROUNDS = (range(1, 11), 8) if SOAK else ((1,), 3)
BREAKS = ("skipped", "crossed", "unlike its checksum", "silent", "unfit")
"""What a feed counts of a fault that it has noticed."""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("loopback_only")]


def noticed(client):
    return sum(client.counts[reason] for reason in BREAKS)


def turned(client, name, value, reached):
    """A fault until something is so; one that happens so many times is turned again each second of the market, since not every
    update shows in a book.
    """
    exchange, again_ns = client.exchange, 0

    def looked():
        nonlocal again_ns
        if exchange.now_ns >= again_ns and (value is not None or again_ns == 0):
            exchange.fault(name, value)
            again_ns = exchange.now_ns + SECOND_NS
        return reached()

    client.until(looked)
    exchange.clear(name)


def until_noticed(client, name, value=None):
    """A fault until it has been noticed."""
    before = noticed(client)
    turned(client, name, value, lambda: noticed(client) > before)


def stale(client, value):
    """Snapshots that are too old, at a time when one is needed: updates are left out until one has come."""
    before = client.counts["unfit"]
    client.exchange.fault("stale-depth", value)
    turned(client, "sequence-skip", 1, lambda: client.counts["unfit"] > before)
    client.exchange.clear("stale-depth")


def act(name, r):
    """What is done once under this name."""
    acts = {
        "stale-depth": lambda: partial(stale, value=r.randint(1, 3)),
        "sequence-skip": lambda: partial(until_noticed, name="sequence-skip", value=r.randint(1, 3)),
        "crossed-book": lambda: partial(until_noticed, name="crossed-book", value=r.randint(1, 3)),
        "muted-depth": lambda: partial(until_noticed, name="muted-depth"),
    }
    return acts[r.choice([*acts]) if name == "book mix" else name]()


class Graph:
    """What the graph makes of the frames of a book: intake, order, and the core that keeps it."""

    def __init__(self, frames):
        self.core, self.made = BookMinutes(BookSettings()), {}
        intake, ordered = Intake(), Ordered(self.core, (BOOKS,))
        end = max(int(frame.rows["available_at"][-1]) for frame in frames if len(frame.rows)) + 1
        for frame in [*frames, Frame(frames[0].instrument, BOOKS, FEEDS[BOOKS].empty, end)]:
            intake.push(frame)
            for taken in intake.advance():
                if taken.name == BOOKS:
                    ordered.push(taken)
                elif len(taken.rows):
                    self.made.setdefault(taken.name, []).append(taken.rows)
            for found in ordered.advance():
                if len(found.rows):
                    self.made.setdefault(found.name, []).append(found.rows)

    def sides(self):
        """(bids, asks), the best first."""
        counts = [int(self.core.state[n][0]) for n in ("n_bids", "n_asks")]
        keys = [self.core.levels[side, :, :count][:, ::-1] for side, count in enumerate(counts)]
        return [[(sign * key, size) for key, size in side.T.tolist()] for sign, side in zip((1, -1), keys)]

    def rows(self, name):
        parts = self.made.get(name, [])
        return np.concatenate(parts) if parts else np.empty(0, [("until", "i8")])

    @property
    def dead(self):
        return [letter for letters in self.made.get("dead_letters", ()) for letter in letters]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [*(name for name, knob in KNOBS.items() if knob.of_books), "book mix"])
def test_the_book_of_the_graph_is_that_of_the_exchange(name, seed):
    r, began_s = random.Random(seed), time.monotonic()
    row = dict.fromkeys(("updates", "compared", "different", "refused", "stated", "unhealed", "snapshots", "lost"), 0)
    for instruments in ((SPOT, LINEAR), (KRAKEN,)):
        fault = name
        if KRAKEN in instruments and name in ("stale-depth", "book mix"):
            fault = "crossed-book"  # it pushes its snapshots
        with connected(*instruments, seed=seed) as (exchange, client):
            for _ in range(ROUNDS):
                calm_ns = exchange.now_ns + round(r.uniform(0.5, 3.0) * SECOND_NS)
                client.until(lambda calm_ns=calm_ns: exchange.now_ns >= calm_ns)
                act(fault, r)(client)
                client.right()
                row["compared"] += len(instruments)
            add(row, client)
            in_order(client)
            happened = next(iter(exchange.venues.values())).faults.happened
        assert all(happened[met] for met in ([fault] if fault != "book mix" else []))
        assert row["stated"] >= ROUNDS
    keep("books", name, seed, row | {"seconds": time.monotonic() - began_s})
    assert (row["different"], row["refused"], row["unhealed"], row["lost"]) == (0, 0, 0, 0), row


def add(row, client: Client):
    """Add to a row what came of the books of a client."""
    row["snapshots"] += client.counts["snapshots"]
    for instrument, frames in client.frames.items():
        book, graph = client.books[instrument], Graph([frame for frame in frames if frame.name == BOOKS])
        assert graph.core.state["state"][0] == SYNCED
        rows, trades = client.rows(instrument), client.rows(instrument, TRADES)["trade_id"]
        row["updates"] += int(np.count_nonzero(rows["last"]))
        row["lost"] += int(trades[-1] - trades[0]) + 1 - len(set(trades.tolist()))
        for ours, theirs in zip(graph.sides(), book.best(1_000)):
            row["different"] += len(set(ours) ^ set(theirs))
        broken = [letter for letter in graph.dead if letter.reason in ("BOOK_SEQ", "CROSSED")]
        row["refused"] += len(graph.dead) - len(broken)
        stated, healed = (
            int(np.count_nonzero((graph.rows(BOOK_GAPS)["until"] == NEVER) == is_open)) for is_open in (1, 0)
        )
        row["stated"] += stated + len(client.said(instrument, VOID))
        row["unhealed"] += stated - healed
        assert len(broken) == book.breaks, "whatever the ids show"
        assert stated == book.breaks + len(client.said(instrument, HOLE)), "and what the source alone can see"
