"""`tidewax simulate`: a local exchange as a process, with the knobs of its faults on the command line."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from connectors.simulator.exchange import Exchange
from connectors.simulator.faults import EVENTS, KNOBS
from connectors.simulator.listings import DEFAULT_INSTRUMENTS, VENUES, Listing
from events.errors import SettingsError
from events.times import SECOND_NS, iso
from flows.recorder import stopped_by_signals

_NUMBER: Final = r"\d+(?:\.\d+)?"
_PLANNED: Final = re.compile(rf"([a-z0-9-]+)(?:=(-?{_NUMBER}))?(?:@({_NUMBER})(?:\+({_NUMBER}))?)?")


@dataclass(frozen=True)
class PlannedFault:
    """A fault that begins so many seconds after the start, and is cleared again after `for_s`, if it says so."""

    name: str
    value: float | None
    at_s: float
    for_s: float | None

    @classmethod
    def of(cls, text: str) -> PlannedFault:
        """What `NAME[=VALUE][@SECONDS[+FOR]]` means.

        >>> PlannedFault.of("skip=0.01@30+5")
        PlannedFault(name='skip', value=0.01, at_s=30.0, for_s=5.0)

        Raises:
            SettingsError: it means nothing.
        """
        match = _PLANNED.fullmatch(text)
        if match is None or match[1] not in (*KNOBS, *EVENTS):
            raise SettingsError(
                f"--fault {text!r} is none: write NAME, NAME=VALUE or NAME=VALUE@SECONDS+FOR, where NAME is one of"
                f" {', '.join([*KNOBS, *EVENTS])}"
            )
        value, at_s, for_s = (None if part is None else float(part) for part in match.groups()[1:])
        return cls(match[1], value, at_s or 0.0, for_s)


@dataclass(frozen=True)
class Simulation:
    """What `tidewax simulate` was asked for; its help says what each is."""

    venues: Sequence[str]
    instruments: Sequence[str]
    port: int
    speed: float
    activity: float
    seed: int
    history_days: float
    funding_minutes: float
    recording: Path | None
    faults: Sequence[PlannedFault]
    for_s: float | None
    host: str = "127.0.0.1"

    def exchange(self) -> Exchange:
        """The exchange, not started yet.

        Raises:
            SettingsError: a venue or an instrument that is not simulated, or nothing is left to trade.
            InputError: the recording cannot be served.
        """
        unknown = [name for name in self.venues if name not in VENUES]
        if unknown:
            raise SettingsError(f"--venue {unknown[0]!r} is not simulated; there are {', '.join(VENUES)}")
        venues = self.venues or tuple(VENUES)
        for instrument in self.instruments:
            if Listing.of(instrument).venue not in venues:
                raise SettingsError(
                    f"--instruments names {instrument}, --venue only {', '.join(venues)}: leave one of them out"
                )
        listed = self.instruments or [name for name in DEFAULT_INSTRUMENTS if Listing.of(name).venue in venues]
        return Exchange(
            listed,
            seed=self.seed,
            speed=self.speed,
            activity=self.activity,
            history_days=self.history_days,
            funding_minutes=self.funding_minutes,
            recording=self.recording,
            port=self.port,
            host=self.host,
        )

    def run(self, console: Console) -> None:
        """Serve until the time is over or somebody stops it, and say at the end what traded."""
        with self.exchange() as exchange:
            _introduce(exchange, console)
            timers = [timer for fault in self.faults for timer in _timers(fault, exchange)]
            for timer in timers:
                timer.start()
            try:
                if _stopped(self.for_s):
                    console.print("stopped")
            finally:
                for timer in timers:
                    timer.cancel()
            for instrument in exchange.instruments:
                console.print(f"{instrument}: traded {len(exchange.traded(instrument)):,} times", soft_wrap=True)


def _introduce(exchange: Exchange, console: Console) -> None:
    now = iso(exchange.now_ns // SECOND_NS * SECOND_NS)
    market = "made by a seeded model" if exchange.synthetic else "a recording, moved in time"
    console.print(f"A local exchange at {exchange.url}; its market is {market}, its time {now}", soft_wrap=True)
    console.print(
        f"Truth and faults: {exchange.url}/_simulator. Listed: {', '.join(exchange.instruments)}", soft_wrap=True
    )
    console.print(f"Fear and greed: {exchange.context}", soft_wrap=True)
    for venue in exchange.venues:
        for client in VENUES[venue]:
            config = json.dumps(exchange.config(client))
            console.print(f"ccxt.pro.{client}({config})", soft_wrap=True, markup=False)


def _timers(fault: PlannedFault, exchange: Exchange) -> list[threading.Timer]:
    timers = [threading.Timer(fault.at_s, exchange.fault, (fault.name, fault.value))]
    if fault.for_s is not None:
        timers.append(threading.Timer(fault.at_s + fault.for_s, exchange.clear, (fault.name,)))
    for timer in timers:
        timer.daemon = True
    return timers


def _stopped(seconds: float | None) -> bool:
    """Wait until the time is over, or SIGTERM or Ctrl-C come, as scripts send them, too; whether they did."""
    stopping = threading.Event()
    with stopped_by_signals(stopping):
        return stopping.wait(seconds)
