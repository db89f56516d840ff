"""A live run on Kafka: the graph over what `tidewax ingest` writes, or over some partitions of it, into a run directory and back to
Kafka.

Each shard is such a run in a directory of its own (`flows.shards`); `python -m bytewax.run flows.live` is one over all of them, with
one or more workers or processes.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

from bytewax.dataflow import Dataflow
from rich.console import Console

from config import Settings
from connectors.kafka.client import Connection
from connectors.kafka.inputs import KafkaInputs, open_kafka
from connectors.kafka.source import KafkaSource
from connectors.watch import Watcher, WatchSink
from events.errors import SettingsError
from flows.backtest import Backtest
from flows.engine import dataflow, execute
from flows.following import Following
from flows.graph import build_live
from flows.plan import Plan
from flows.rundir import RunDirectory

EPOCH_S: Final = 1.0


def on_kafka(settings: Settings) -> bool:
    """Whether a live run of these settings takes its market data from Kafka."""
    return settings.kafka.servers is not None and settings.kafka.source == "kafka"


def kafka_inputs(settings: Settings) -> KafkaInputs:
    """What a live run of these settings reads, all partitions.

    Raises:
        InputError: the brokers cannot be reached, a topic is missing or may not be read, or nobody has announced anything.
        SettingsError: the options do not fit, or rows of files are farther out of order than the settings allow for.
    """
    given = settings.kafka
    assert given.servers is not None
    inputs = open_kafka(Connection(given.servers, given.options, given.group), given.prefix, given.instruments)
    allowed, needed = settings.sources.lateness_s or 0.0, inputs.announced.lateness_s
    if allowed < needed:
        raise SettingsError(
            f"{inputs.topics.market} was written with sources.lateness_s {needed:g}, and these settings have {allowed:g}: rows would be "
            "refused as late. Set sources.lateness_s as it was there"
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
        until_end: end when all is read that was in the topics at the start.
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
        until_end: bool = False,
    ) -> None:
        super().__init__(settings, inputs, directory, plan=plan)
        self.following, self.stopping, self.watchers, self.until_end = following, stopping, watchers, until_end

    def begin(self) -> bool:
        """Make the directory ready; whether a run goes on in it. What was rolled at a stop is out of date from here on.

        Raises:
            RunError: the run in it was of other settings, or over other partitions.
        """
        resumed = super().begin()
        self.directory.write(self.header | {"state": "unfinished"})
        return resumed

    def execute(self) -> None:
        """Run in this thread, inside `engine_alone`, until it is told to stop."""
        epoch_s = min(EPOCH_S, self.settings.run.epoch_s)
        execute(self.flow(), self.settings.run.workers, epoch_s, self.directory.recovery)
