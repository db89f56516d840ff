"""A live run on Kafka: the graph over what `tidewax ingest` writes, or over some partitions of it, into a run directory and back to
Kafka.

Each shard is such a run in a directory of its own (`flows.shards`); `python -m bytewax.run flows.live` is one over all of them,
with one or more workers or processes.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from bytewax.dataflow import Dataflow

from config import Settings
from connectors.kafka.inputs import MARKET, KafkaInputs, open_kafka
from connectors.kafka.names import Topics
from connectors.kafka.routes import result_routes
from connectors.kafka.sink import KafkaSink
from connectors.kafka.source import Items
from connectors.kafka.waiting import Waiting
from connectors.recovery import identity_of, resume_state
from connectors.tape.batches import absent
from connectors.watch import Watcher, WatchSink
from events.errors import InputError, RunError, SettingsError, TidewaxError
from events.feeds import FEEDS, TRADES
from events.identity import entry, id_of
from flows.backtest import Backtest, refusal
from flows.connection import connection_of
from flows.engine import dataflow, execute, process_of_runner, store_of_runner
from flows.following import Following
from flows.graph import build_live
from flows.metrics import RunMetrics
from flows.plan import Plan, plan_of_inputs
from flows.recorder import under_runner
from flows.rundir import RunDirectory, shard_directory
from flows.tally import Tally

EPOCH_S: Final = 1.0
WRITER: Final = "live"


def on_kafka(settings: Settings) -> bool:
    """Whether a live run of these settings takes its market data from Kafka."""
    return settings.kafka.servers is not None and settings.kafka.source == "kafka"


def kafka_inputs(settings: Settings) -> KafkaInputs:
    """What a live run of these settings reads, all partitions.

    Raises:
        InputError: the brokers cannot be reached, a topic is missing or may not be read, or nobody has announced anything.
        SettingsError: the options do not fit, or rows of files are farther out of order than the settings allow for.
    """
    inputs = open_kafka(connection_of(settings), settings.kafka.prefix, settings.kafka.instruments)
    allowed, needed = settings.sources.lateness_s or 0.0, inputs.announced.lateness_s
    if allowed < needed:
        raise SettingsError(
            f"{inputs.topics.market} was written with sources.lateness_s {needed:g}, and these settings have {allowed:g}: rows "
            "would be refused as late. Set sources.lateness_s as it was there"
        )
    return inputs


class KafkaRun(Backtest):
    """A live run over partitions of a deployment into a run directory, from nothing, or on from where it was stopped or killed.

    Args:
        settings: of the analysis, and of what goes back to Kafka.
        inputs: the partitions.
        directory: locked, and empty or of a run over the same partitions.
        plan: what the settings come to with all that the topics have, whatever partitions are read.
        following: is told what is read.
        stopping: set it to end the run; it says no END, so that the run can go on later as if it had never stopped.
        watchers: are told what leaves the graph.
        store: the recovery store, None for a run that reads everything again when it is started again.
        until_end: end when all is read that was in the topics at the start.

    Raises:
        SettingsError: it is a shard that does not write what shards are compared by.
    """

    inputs: KafkaInputs

    def __init__(
        self,
        settings: Settings,
        inputs: KafkaInputs,
        directory: RunDirectory,
        plan: Plan,
        following: Following,
        stopping: threading.Event,
        watchers: list[Watcher],
        *,
        store: Path | None,
        until_end: bool = False,
    ) -> None:
        if plan.cross.where == "apart":
            check_written(settings, plan)
        super().__init__(settings, inputs, directory, plan=plan)
        self.following, self.stopping, self.watchers = following, stopping, watchers
        self.store, self.until_end = store, until_end

    def begin(self) -> bool:
        """Make the directory ready; whether a run goes on in it. What was rolled at a stop is out of date from here on.

        Raises:
            RunError: the run in it was of other settings, or over other partitions.
        """
        resumed = super().begin()
        self.directory.write(self.header | {"state": "unfinished"})
        return resumed

    def flow(self) -> Dataflow:
        """The flow, with all sinks."""
        told = self.plan.cross.told if self.plan.cross.where == "apart" else {}
        source = self.inputs.source(told, tail=not self.until_end)
        source.stopping = self.stopping
        passing: list[Callable[[Items], Items]] = [
            self.following.follow(source),
            *opening(self.inputs.announced.unsaid),
            *[Waiting(told)] * bool(told),
        ]
        to_kafka = result_sinks(self.settings, self.plan, self.store, self.stopping, self.inputs)
        sinks = [*self.sinks(), *to_kafka, WatchSink(*self.watchers)]
        return dataflow("backtest", source, lambda market: build_live(market, self.plan), *sinks, passing=passing)

    def execute(self) -> None:
        """Run in this thread, inside `engine_alone`, until it is told to stop."""
        epoch_s = min(EPOCH_S, self.settings.run.epoch_s)
        execute(self.flow(), self.settings.run.workers, epoch_s, self.store)

    def finish(self) -> dict[str, Any]:
        """Make the Parquet files and run.json. What a start needs to go on stays."""
        run = self.header | {"state": "stopped"} | self.rolled() | {"trades": self._trades()}
        self.directory.write(run)
        return run

    def _trades(self) -> dict[str, int]:
        """How many trades of each instrument were read since the topic began, or where that is not known, since the start."""
        counted = {instrument: standing.rows for instrument, standing in self.following.standings.items()}
        for number in self.inputs.partitions:
            state = None if self.store is None else resume_state(self.store, "kafka", f"{MARKET}/{number}")
            places = {} if state is None else state[-1]
            counted |= {instrument: rows for (instrument, stream), rows in places.items() if stream == TRADES}
        return {instrument: rows for instrument, rows in sorted(counted.items()) if self.inputs.has(instrument)}


def check_written(settings: Settings, plan: Plan) -> None:
    """See that shards write what they are compared by.

    Raises:
        SettingsError: they do not.
    """
    needed = ["bars", *["features"] * plan.cross.averaged] if plan.cross.told else []
    if lacking := [kind for kind in needed if kind not in settings.kafka.results]:
        raise SettingsError(
            f"kafka.results lacks {' and '.join(lacking)}, of which `tidewax market` makes what instruments are told of each "
            "other: add that, or set kafka.market to false, which leaves bitcoin beta and GLOBAL out"
        )


def result_sinks(
    settings: Settings, plan: Plan, store: Path | None, stopping: threading.Event, inputs: KafkaInputs | None = None
) -> list[KafkaSink]:
    """The sink of results on Kafka; none where the settings name no brokers, or want nothing there.

    Args:
        settings: `kafka` says where, and what is wanted.
        plan: of the run.
        store: its recovery store, by which its run is told from others. One without always makes the same of the same.
        stopping: set when the run is to stop.
        inputs: what it reads of Kafka, if it does: results stand in the same partitions.

    Raises:
        InputError: a topic is not there, has other partitions than what is read, or no broker answers.
        SettingsError: the options of the connection do not fit.
    """
    wanted = settings.kafka
    if wanted.servers is None or not wanted.results:
        return []
    sink = KafkaSink(
        connection_of(settings),
        result_routes(Topics(wanted.prefix), plan.streams, wanted.results),
        writer=WRITER,
        run=id_of("live", plan.analysis_hash) if store is None else identity_of(store),
        wire=wanted.wire,
        shards=None if inputs is None else inputs.partitions,
        stopping=stopping,
    )
    if inputs is not None and sink.partitions != inputs.shards:
        raise InputError(
            f"the topics of results have {sink.partitions} partitions, and {inputs.topics.market} has {inputs.shards}: instruments "
            "would be in different shards of them. Make topics under another kafka.prefix with `tidewax topics create --apply`"
        )
    return [sink]


def opening(unsaid: Mapping[str, frozenset[str]]) -> list[Callable[[Items], Items]]:
    """What says in front of each instrument of a batch what its own writer does not, as it knows nothing of those streams: that
    nothing will come of them. To say it again after a restart changes nothing.
    """
    begun: set[str] = set()

    def opened(items: Items) -> Items:
        new = {instrument for instrument, frame in items if instrument not in begun and frame.name in FEEDS}
        begun.update(new)
        return [one for name in sorted(new) for one in absent(name, {name: entry(unsaid, name, frozenset())})] + items

    return [opened] if unsaid else []


def kafka_flow(settings: Settings, path: Path) -> Dataflow:
    """The flow of these settings for the engine's own runner: over all partitions, or as a shard, that of TIDEWAX_SHARD.

    A run of several processes has one directory and one recovery store, which all of them reach; the first one looks after both.

    Raises:
        InputError, RunError, SettingsError: as a run of `flows.shards`.
    """
    inputs, shard, process = kafka_inputs(settings), os.environ.get("TIDEWAX_SHARD"), process_of_runner()
    if shard is not None:
        if not shard.isdecimal():
            raise SettingsError(f"TIDEWAX_SHARD is {shard!r}, it must be the number of a shard")
        inputs, path = inputs.only([int(shard)]), shard_directory(path, int(shard))
    plan, directory, store = plan_of_inputs(settings, inputs), RunDirectory(path, process), store_of_runner()
    following, tally, stopping = Following(inputs), Tally(), threading.Event()
    metrics = RunMetrics(following, tally, plan.analysis_hash, settings.metrics.per_key)
    run = KafkaRun(settings, inputs, directory, plan, following, stopping, [tally, metrics], store=store)
    if process == 0:
        stored = directory.read()
        if stored is not None and (said := refusal(path, stored, run.header)):
            raise RunError(said)
        directory.write(run.header | {"state": "unfinished"})
        if store is None:
            print("tidewax: no recovery store (-r): a restart reads the topics from their beginning", file=sys.stderr)
    under_runner(metrics, settings, stopping, lambda: _finish(run) if process == 0 else None)
    return run.flow()


def _finish(run: KafkaRun) -> None:
    try:
        run.finish()
    except TidewaxError as error:
        print(f"tidewax: {error}")
