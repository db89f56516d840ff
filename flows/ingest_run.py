"""What every ingest is: an origin on one side, the market topic on the other, and a run directory that goes on."""

from __future__ import annotations

import platform
import secrets
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from rich.console import Console

from config import Settings
from connectors.files import FileSource, Inputs
from connectors.kafka.names import Topics
from connectors.kafka.routes import market_routes
from connectors.kafka.sink import KafkaSink
from connectors.kafka.universe import Announcement, announce, withdraw
from connectors.live import LiveSource
from connectors.recovery import make_store, resume_state
from connectors.tape import Recording, TapeSource, Universe
from connectors.watch import WatchSink
from events.errors import RunError, TidewaxError
from events.identity import is_among, tree_hash
from events.records import ComponentStatus
from events.schema import SCHEMA_VERSION
from flows.connection import connection_of
from flows.plan import Origin
from flows.provenance import version_of
from flows.rundir import INGEST, RunDirectory
from flows.tally import Tally
from operators.keyed import part

SINK: Final = "kafka"
_SAME: Final = {
    "fingerprint": "is of other files or another tape. Name the same ones",
    "writer": "writes as {0}, and the settings say {1} (kafka.writer). Set that as it was",
    "topic": "writes to {0}, and the settings say {1} (kafka.prefix). Set that as it was",
    "wire": "writes {0}, and the settings say {1} (kafka.wire). Set that as it was",
}
"""What an ingest that goes on must have in common with its run.json, and what is said where it has not."""


class Ingest(ABC):
    """A run that writes what an origin has to Kafka, from nothing, or on from where it was stopped or killed.

    Args:
        settings: `kafka` says where to.
        origin: where the rows come from.
        directory: locked, and empty or of an ingest of the same.
        console: where it is told how it goes, None for nowhere.
        store: the recovery store, None for a run that reads again all that it has recorded and written when it is started again.

    Attributes:
        stored: what run.json said before, None of a new run.
        writer: the name that it writes under.
        stopping: set it to end the run; it says no END then, so that it can go on later as if it had never stopped.

    Raises:
        RunError: the directory is of something else.
        SettingsError: no brokers are named.
    """

    def __init__(
        self, settings: Settings, origin: Origin, directory: RunDirectory, console: Console | None, store: Path | None
    ) -> None:
        given, self.connection = settings.kafka, connection_of(settings)
        self.settings, self.origin, self.directory = settings, origin, directory
        self.console, self.store, self.stored = console, store, directory.read(INGEST)
        self.topics, self.writer = Topics(given.prefix), given.writer or writer_of(origin)
        self.run_id: str = secrets.token_hex(8) if self.stored is None else self.stored["run"]
        self.stopping = threading.Event()
        self._sink: KafkaSink | None = None

    @property
    def universe(self) -> Universe:
        """What it may write, known before its first frame."""
        origin = self.origin
        sequenced = frozenset(name for name in origin.instruments if origin.sequenced(name))
        return Universe(tuple(origin.instruments), sequenced, origin.feeds, origin.lacking)

    @property
    def header(self) -> dict[str, Any]:
        """The part of run.json that is known before the run."""
        settings = self.settings.model_dump(mode="json")
        return {
            "kind": INGEST,
            "tidewax": version_of("tidewax"),
            "schema_v": SCHEMA_VERSION,
            "python": platform.python_version(),
            "settings": settings,
            "settings_hash": tree_hash(settings),
            **self.universe.tree,
            "inputs": self.origin.describe(),
            "fingerprint": self.origin.fingerprint,
            "run": self.run_id,
            "writer": self.writer,
            "topic": self.topics.market,
            "wire": self.settings.kafka.wire,
        }

    @property
    @abstractmethod
    def source(self) -> LiveSource | TapeSource | FileSource:
        """Hands out the rows."""

    def flow(self) -> Dataflow:
        """The flow. States of components are of this process: they go past the topic."""
        assert self._sink is not None, "a run that has not begun"
        flow = Dataflow("ingest")
        step = {LiveSource: "live", TapeSource: "tape", FileSource: "files"}[type(self.source)]
        components, market = part("components", op.input(step, flow, self.source), ComponentStatus.stream)
        op.output(SINK, market, self._sink)
        op.output("watch", components, WatchSink(*self.watchers()))
        return flow

    def watchers(self) -> list[Tally]:
        """What hears of the states of components."""
        return []

    def begin(self) -> None:
        """Make the directory ready, and announce what will be written.

        Raises:
            InputError: the brokers or their topics cannot be used.
            RunError: the run in the directory was of something else, or cannot go on.
        """
        header = self.header
        if self.stored is not None:
            self.check_same(self.stored)
        given = self.settings.kafka
        universe = self.universe
        more = isinstance(self.origin, Inputs) and any(file.instrument is None for file in self.origin.files)
        self._sink = KafkaSink(
            self.connection,
            market_routes(self.topics),
            writer=f"ingest.{self.writer}",
            run=self.run_id,
            wire=given.wire,
            own=lambda key: more or is_among(key, universe.instruments),
            stopping=self.stopping,
        )
        if self.stored is None:
            self.directory.clear()
        self.directory.write(header | {"state": "unfinished"})
        if self.store is not None and not self.store.exists():
            make_store(self.store)
        lateness_s = self.settings.sources.lateness_s or 0.0 if isinstance(self.origin, Inputs) else 0.0
        live, made_by = not isinstance(self.origin, Inputs), version_of("tidewax")
        mine = Announcement(self.writer, self.run_id, universe, live, given.wire, lateness_s, made_by)
        announce(self.connection, self.topics.universe, mine)

    def check_same(self, stored: dict[str, Any]) -> None:
        """Look whether a run that goes on writes the same, in the same way, to the same topic.

        Raises:
            RunError: it does not, or cannot go on.
        """
        header = self.header
        for name, said in _SAME.items():
            if stored[name] != header[name]:
                told = said.format(stored[name], header[name])
                raise RunError(f"the ingest in {self.directory.path} {told}, or give --out another directory")
        gone = isinstance(self.origin, LiveSource) and self.origin.tape.first > 0
        if gone and self.store is not None and not self.store.exists():
            raise RunError(
                f"the recovery store of {self.directory.path} is gone, and the beginning of its tape was removed, so nobody knows "
                "how much of it was written. Bring the store back, or begin anew in another directory under another kafka.prefix"
            )

    def withdraw(self) -> None:
        """Take back the announcement of a run that has come to nothing, as far as the brokers can be reached."""
        try:
            withdraw(self.connection, self.topics.universe, self.writer, self.run_id)
        except TidewaxError:
            return

    @abstractmethod
    def run(self) -> dict[str, Any]:
        """Run to the end, or until it is told to stop; what run.json says then."""

    @property
    def state(self) -> str:
        """What has become of the run."""
        return "stopped"

    def finish(self) -> dict[str, Any]:
        """Write run.json. What a start needs to go on stays."""
        run = self.header | {"state": self.state, "rows": self.written()}
        self.directory.write(run)
        return run

    def written(self) -> dict[str, dict[str, int]]:
        """Rows that the topic has of this run, by instrument and stream; of none where nothing is stored."""
        found: dict[str, dict[str, int]] = {}
        for place in self._sink.list_parts() if self._sink is not None and self.store is not None else ():
            assert self.store is not None
            _, standings = resume_state(self.store, SINK, place) or ((), ())
            for instrument, stream, rows, *_ in standings:
                if rows:
                    found.setdefault(instrument, {})[stream] = rows
        return {instrument: dict(sorted(streams.items())) for instrument, streams in sorted(found.items())}


def writer_of(origin: Origin) -> str:
    """The name of a writer where the settings give none: its exchanges, or its tape or files by their fingerprint.

    >>> from connectors.exchange import ExchangeSource
    >>> class Some(LiveSource):
    ...     def __init__(self, exchange): self.exchange = exchange
    >>> writer_of(Some(ExchangeSource({"kraken": ["BTC/USD"], "binance": ["BTC/USDT"]})))
    'binance-kraken'
    """
    if isinstance(origin, LiveSource):
        return "-".join(sorted(origin.exchange.exchanges))
    return f"{'tape' if isinstance(origin, Recording) else 'files'}-{origin.fingerprint}"
