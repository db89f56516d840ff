"""What tests of live runs share: a real engine on a local exchange, up to the bars, while a script does things to the exchange."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager

import numpy as np

from config import Settings
from connectors.exchange import ExchangeSource, Options
from connectors.live import LiveSource, universe_of
from connectors.simulator.exchange import Exchange
from connectors.tape import Recording, Tape, TapeSource
from connectors.watch import WatchSink
from events.frames import concat
from events.records import ComponentStatus
from events.schema import COVERAGE, VOID
from events.times import MINUTE_NS, SECOND_NS
from flows.engine import dataflow, run_flow
from flows.graph import enter
from flows.plan import Plan
from operators.keyed import merge, part

MINUTE = 1_750_000_080 * SECOND_NS  # a whole minute
FIELDS = ["trade_id", "available_at", "price", "qty", "side"]
WITHIN_S = 300.0
COMPONENTS = ComponentStatus.stream
PATIENT = {"mute_s": 30.0, "keep_alive_s": 30.0, "void_after_s": 30.0, "down_after_s": 30.0}
"""For what is no reason to connect again or to do without: neither is a machine that stands still for seconds."""
FAST = {"grid_s": 60.0, "settle_s": 0.3, "mute_s": 0.5, "keep_alive_s": 1.0, "contact_s": 60.0, "down_after_s": 4.0}


def to_the_bars(market, plan):
    """The graph up to the bars, and states of components past it."""
    components, market = part("components", market, COMPONENTS)
    return merge("told", enter(market, plan), components)


def end_of_minute(at_ns):
    return at_ns // MINUTE_NS * MINUTE_NS + MINUTE_NS


class Heard:
    """What has left the graph, of a live run or a replay."""

    def __init__(self):
        self.frames = []

    def rows(self, instrument, name):
        found = [frame.rows for frame in list(self.frames) if (frame.instrument, frame.name) == (instrument, name)]
        return sum(found, ()) if found and isinstance(found[0], tuple) else concat(found) if found else ()

    def states(self, key="*"):
        return [(record.new, record.reason or "") for record in self.rows(key, COMPONENTS)]

    def dead_letters(self):
        return [letter for frame in self.frames if frame.name == "dead_letters" for letter in frame.rows]


class Bench(Heard):
    """A live run on a local exchange; scripts wait for what it says."""

    def __init__(self, directory, exchange, instruments, largest=None, **options):
        super().__init__()
        self.exchange, self.tape = exchange, directory / "tape"
        address = exchange.url.removeprefix("http://")
        symbols = {}
        for name in instruments:
            venue, symbol = name.split(":", 1)
            symbols.setdefault(venue, []).append(symbol)
        addresses = dict.fromkeys([*symbols, *(largest or ())], address)
        source = ExchangeSource(symbols, Options(**{**FAST, **options}), addresses, largest=largest)
        tape = Tape(self.tape, universe_of(source.named, beside=source.options.beside, like=source.likes))
        self.source = LiveSource(source, tape)
        known = self.source.instruments
        sequenced = frozenset(name for name in known if self.source.sequenced(name))
        self.plan = Plan(Settings(), sequenced, self.source.feeds, None, True, self.source.lacking, known)

    def run(self, script, graph=to_the_bars):
        """Run until the script has ended."""
        failures = []

        def scripted():
            try:
                script(self)
            except BaseException as error:
                failures.append(error)
            finally:
                self.source.stopping.set()

        thread = threading.Thread(target=scripted)
        flow = dataflow("proof", self.source, lambda market: graph(market, self.plan), WatchSink(self.frames.append))
        thread.start()
        try:
            run_flow(flow, epoch_s=0.5)
        finally:
            self.source.stopping.set()
            thread.join()
            self.source.tape.close()
        if failures:
            raise failures[0]

    def replayed(self, graph=to_the_bars):
        """What leaves the graph when its tape is replayed."""
        heard, source = Heard(), TapeSource(Recording(self.tape), 10_000)
        run_flow(dataflow("replay", source, lambda market: graph(market, self.plan), WatchSink(heard.frames.append)))
        return heard

    def until(self, reached, what):
        """Wait until something is so; the deadline is only there to end a test that has failed."""
        ends = time.monotonic() + WITHIN_S
        while not reached():
            assert time.monotonic() < ends, f"{what}: {self.states()}, {self.source.standings}"
            time.sleep(0.02)

    def until_market(self, at_ns):
        """Wait until it is so late at the exchange."""
        self.until(lambda: self.exchange.now_ns >= at_ns, f"never {at_ns}")

    def until_minute_has(self, seconds):
        """Wait until so many seconds of a minute are left at the exchange."""
        left_ns = round(seconds * SECOND_NS)
        self.until(lambda: end_of_minute(self.exchange.now_ns) - self.exchange.now_ns > left_ns, "no minute begins")

    def trade(self, instrument, price, qty, side):
        """Trade once; the end of the minute in which that was."""
        self.exchange.trade(instrument, price, qty, side)
        return end_of_minute(int(self.exchange.traded(instrument)["available_at"][-1]))

    def began_ns(self, instrument):
        """The time from which on the tape has all trades of an instrument."""
        said = [frame.control for _, items in Recording(self.tape).read(0) for key, frame in items if key == instrument]
        (covered,) = [row for rows in said for row in rows[rows["kind"] == COVERAGE]]
        return int(covered["since"])

    def recorded(self, instrument):
        """(rows, watermarks, voids) of an instrument on the tape."""
        rows, watermarks, voids = [], [], []
        for _, items in Recording(self.tape).read(0):
            for name, frame in items:
                if name == instrument:
                    rows += frame.rows[FIELDS].tolist()
                    watermarks.append(frame.watermark)
                    said = frame.control[frame.control["kind"] == VOID]
                    voids += said[["since", "until"]].tolist()
        return rows, watermarks, voids


@contextmanager
def market(*instruments, begins_s, trading):
    """An exchange at which time runs as it does here, begun so many seconds before a minute ends; those in `trading` trade."""
    start_ns = MINUTE + MINUTE_NS - round(begins_s * SECOND_NS)
    with Exchange(instruments, start_ns=start_ns, speed=1, activity=0, history_days=0.01) as exchange:
        ended = threading.Event()

        def trade():
            for n in itertools.count():
                for name in trading:
                    exchange.trade(name, 100.0 + n % 7, 0.5 + n % 3, 1 if n % 2 else -1)
                if ended.wait(0.05):
                    return

        thread = threading.Thread(target=trade)
        thread.start()
        try:
            yield exchange
        finally:
            ended.set()
            thread.join()


def bars_of(rows, begin, end):
    """(start, open, close, volume, trades) of each minute from trades in an interval."""
    at = np.array([row[1] for row in rows])
    found = []
    for start in range(begin, end, MINUTE_NS):
        inside = [row for row, ns in zip(rows, at.tolist()) if start <= ns < start + MINUTE_NS]
        volume = sum(row[3] for row in inside)
        found.append((start, inside[0][2], inside[-1][2], volume, len(inside)))
    return found
