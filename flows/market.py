"""What compares the instruments of a deployment on Kafka: it reads bars and features of all shards, and tells each instrument of
the others.

`tidewax market` is the command; `python -m bytewax.run flows.market` runs the same flow under the engine's own runner, configured
by the settings file named in TIDEWAX_CONFIG (its `kafka.servers` and `output.directory`).
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any, Final

from bytewax.dataflow import Dataflow
from rich.console import Console

from config import Settings
from connectors.kafka.inputs import MARKET as MEMBERS_PART
from connectors.kafka.inputs import KafkaInputs
from connectors.kafka.names import shard_of
from connectors.kafka.routes import cross_routes
from connectors.kafka.sink import KafkaSink
from connectors.kafka.source import Items, KafkaSource, Reading
from connectors.kafka.wire import MARKET as MARKET_STREAMS
from connectors.recovery import identity_of
from connectors.segments import roll
from connectors.watch import Watcher, WatchSink
from events.errors import RunError, SettingsError, TidewaxError
from events.feeds import GLOBAL, MEMBERS
from events.frames import Frame
from events.identity import id_of
from events.records import ComponentStatus, DeadLetter
from events.schema import NEVER
from events.streams import Columns, Stream
from events.times import iso
from flows.backtest import refusal
from flows.connection import connection_of
from flows.engine import dataflow, run_flow, settings_of_runner, store_of_runner
from flows.following import Following
from flows.graph import build_market
from flows.kafka_run import EPOCH_S, KafkaRun, check_written, kafka_inputs
from flows.metrics import RunMetrics, serving
from flows.plan import Plan, plan_of_inputs
from flows.recorder import stopped_by_signals, under_runner
from flows.report_components import read_outages, summary
from flows.rundir import MARKET, RunDirectory
from flows.status import showing
from flows.tally import Tally
from operators.market import AVERAGED, TOGETHER
from operators.market_kernels import LEAST_KEYS

WRITER: Final = "market"


class MarketRun(KafkaRun):
    """A run of what compares all instruments into a run directory, from nothing, or on from where it was stopped or killed.

    Args:
        settings: those of the shards.
        inputs: all partitions.
        directory: locked, and empty or of a run over the same.
        console: where the status is shown, None for nowhere.
        store: the recovery store, None for a run that reads everything again when it is started again.
        until_end: end when all is read that was in the topics at the start.

    Raises:
        SettingsError: there is nothing to compare, or shards do not write what is needed.
    """

    def __init__(
        self,
        settings: Settings,
        inputs: KafkaInputs,
        directory: RunDirectory,
        console: Console | None = None,
        *,
        store: Path | None,
        until_end: bool = False,
    ) -> None:
        plan = plan_of_inputs(settings, inputs)
        check_compared(settings, plan)
        following, tally, stopping = Following(inputs.only(())), Tally(), threading.Event()
        self.status = MarketStatus(following)
        self.metrics = RunMetrics(following, tally, plan.analysis_hash, settings.metrics.per_key)
        watchers: list[Watcher] = [tally, self.status]
        super().__init__(
            settings, inputs, directory, plan, following, stopping, watchers, store=store, until_end=until_end
        )
        self.console = console
        self.header |= {"streams": list(self.streams)}

    @property
    def streams(self) -> dict[str, Stream]:
        """All that the run directory gets: the figures of all instruments, and how the run fared."""
        own = (ComponentStatus.stream, DeadLetter.stream)
        return {**self.plan.cross.together, **{name: self.plan.streams[name] for name in own}}

    def source(self) -> KafkaSource:
        """Bars of all shards, averages among their features, and who takes part where instruments come and go."""
        inputs, plan = self.inputs, self.plan
        bars = _columns(plan, *(f"bars.{name}" for name, _ in plan.timeframes))
        common = Reading(inputs.topics.result("bars"), inputs.shards, inputs.partitions, bars, others=True)
        readings = {"bars": common}
        if plan.cross.averaged:
            averages = _columns(plan, AVERAGED)
            readings["features"] = common._replace(topic=inputs.topics.result("features"), streams=averages)
        if plan.cross.open:
            places, members = (
                {shard_of(name, inputs.shards) for name in plan.cross.likes},
                {MEMBERS: MARKET_STREAMS[MEMBERS]},
            )
            said = common._replace(topic=inputs.topics.market, partitions=tuple(sorted(places)), streams=members)
            readings[MEMBERS_PART] = said
        source = KafkaSource(inputs.connection, readings, tail=not self.until_end)
        source.stopping = self.stopping
        return source

    def sink(self) -> KafkaSink:
        """What tells instruments of each other."""
        wanted, plan = self.settings.kafka, self.plan
        run = id_of(WRITER, plan.analysis_hash) if self.store is None else identity_of(self.store)
        return KafkaSink(
            connection_of(self.settings),
            cross_routes(self.inputs.topics, plan.cross.told | plan.cross.together, TOGETHER),
            writer=WRITER,
            run=run,
            wire=wanted.wire,
            stopping=self.stopping,
        )

    def flow(self) -> Dataflow:
        """The flow, with all sinks."""
        source = self.source()
        passing = [self.following.follow(source), self.status.note]
        sinks = [*self.sinks(), self.sink(), WatchSink(*self.watchers)]
        return dataflow("market", source, lambda results: build_market(results, self.plan), *sinks, passing=passing)

    def run(self) -> dict[str, Any]:
        """Run until it is told to stop; what run.json says then.

        Raises:
            InputError: the brokers cannot be reached, or a topic cannot be used.
            RunError: the port for metrics is taken, or something cannot be written.
        """
        settings, console = self.settings, self.console
        anew = self.directory.is_new
        try:
            with serving(self.metrics, settings.metrics) as port, stopped_by_signals(self.stopping):
                self.begin()
                if console is not None and port is not None:
                    console.print(f"metrics: http://{settings.metrics.host}:{port}/metrics", soft_wrap=True)
                beside = showing(self.status, console, settings.run.status_s) if console is not None else None
                epoch_s = min(EPOCH_S, settings.run.epoch_s)
                run_flow(self.flow(), settings.run.workers, epoch_s, self.store, beside)
        except TidewaxError:
            if anew and not self.status.bars:
                self.directory.clear()
            raise
        return self.finish()

    def finish(self) -> dict[str, Any]:
        """Make the Parquet files and run.json. What a start needs to go on stays."""
        made = roll(self.directory.path, self.streams, self.plan.analysis_hash)
        outages = summary(read_outages(self.directory.path, self.plan.streams))
        told = {"rows": made.counts, "digests": made.digests, "components": outages, "results": {}}
        run = self.header | {"state": "stopped"} | told
        self.directory.write(run)
        return run


class MarketStatus:
    """The status line of a run that compares instruments; it hears what is read, and what is made of it.

    Args:
        following: knows how many messages wait.

    Attributes:
        bars: how many were read since the process was started.
    """

    def __init__(self, following: Following) -> None:
        self._following = following
        self.bars = self._rows = 0
        self._newest_ns = NEVER

    def note(self, items: Items) -> Items:
        """Take note of what is read, on its way."""
        self.bars += sum(len(frame.rows) for _, frame in items if frame.name.startswith("bars."))
        return items

    def __call__(self, frame: Frame) -> None:
        """Take note of what is made."""
        if frame.name == TOGETHER:
            self._rows += len(frame.rows)
            self._newest_ns = int(frame.rows["available_at"][-1])

    def line(self) -> str:
        """Bars read, rows of all instruments together, the time of the newest, and how many messages wait in the topics."""
        newest = f", the newest of {iso(self._newest_ns)}" if self._rows else ""
        waiting = sum(self._following.behind.values())
        return f"{self.bars:,} bars read, {self._rows:,} rows of {GLOBAL}{newest}; {waiting:,} messages behind"


def check_compared(settings: Settings, plan: Plan) -> None:
    """See that there is something to compare, and that shards write what is needed for it.

    Raises:
        SettingsError: there is not, or they do not.
    """
    if not settings.kafka.market:
        raise SettingsError("kafka.market is false: shards of these settings do not ask to be compared")
    if not plan.cross.told:
        raise SettingsError(
            f"there is nothing to compare: {plan.settings.beta.reference} (beta.reference) is not among the instruments, "
            f"and figures of all together need at least {LEAST_KEYS} of them"
        )
    check_written(settings, plan)


def _columns(plan: Plan, *names: str) -> dict[str, Columns]:
    found = {name: plan.streams[name] for name in names}
    return {name: stream for name, stream in found.items() if isinstance(stream, Columns)}


def get_flow() -> Dataflow:
    """The flow of the settings named in TIDEWAX_CONFIG, for `python -m bytewax.run flows.market`.

    Give the runner `-r` with a recovery store, or a start reads the topics from their beginning, which gives the same.

    Raises:
        SettingsError: TIDEWAX_CONFIG is not set, or the settings lack `kafka.servers` or `output.directory`.
    """
    settings, path = settings_of_runner("kafka.servers", lambda settings: settings.kafka.servers)
    inputs, directory, store = kafka_inputs(settings), RunDirectory(path / MARKET), store_of_runner()
    run = MarketRun(settings, inputs, directory, store=store)
    stored = directory.read()
    if stored is not None and (said := refusal(directory.path, stored, run.header)):
        raise RunError(said)
    directory.write(run.header | {"state": "unfinished"})
    if store is None:
        print("tidewax: no recovery store (-r): a restart reads the topics from their beginning", file=sys.stderr)
    under_runner(run.metrics, settings, run.stopping, lambda: _finish(run))
    return run.flow()


def __getattr__(name: str) -> Dataflow:
    """`flow`, made when the engine's runner asks for it."""
    if name == "flow":
        return get_flow()
    raise AttributeError(name)


def _finish(run: MarketRun) -> None:
    try:
        run.finish()
    except TidewaxError as error:
        print(f"tidewax: {error}")
