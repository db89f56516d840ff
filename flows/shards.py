"""Shards of a live run on Kafka: each a flow in a directory of its own, those of a process side by side in threads.

A shard is a partition of every topic, and the instruments that belong to it. Nothing is shared between shards but the process, so a
directory may go on in another process, or on another host.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from config import Settings
from connectors.kafka.inputs import KafkaInputs
from connectors.kafka.names import shard_of
from connectors.watch import Watcher
from events.errors import RunError, SettingsError, TidewaxError
from flows.announce import Announcer
from flows.engine import engine_alone
from flows.following import Following, KafkaStatus
from flows.kafka_run import KafkaRun
from flows.metrics import RunMetrics, served_once, serving
from flows.plan import plan_of_inputs
from flows.recorder import stopped_by_signals
from flows.rundir import RUN_FILE, RunDirectory, shard_directory
from flows.status import showing
from flows.tally import Tally


class Shards:
    """Some shards of a live run on Kafka, ready to run; use it as a context manager, which locks their directories.

    Args:
        settings: of the run.
        inputs: all that the topic has.
        path: the directory in which each shard has its own.
        numbers: of the shards; all, if not given.
        console: where the status is shown, None for nowhere.
        until_end: end when all is read that was in the topics at the start, instead of waiting for more.

    Attributes:
        inputs: all that the topic has.
        plan: the same of every shard.
        runs: by the number of the shard.
        stopping: set it to end all of them; they go on later as if they had never stopped.

    Raises:
        RunError: a directory is in use, or holds something else.
        SettingsError: there is no such shard, or there are several with more than one worker.
    """

    def __init__(
        self,
        settings: Settings,
        inputs: KafkaInputs,
        path: Path,
        numbers: Collection[int] = (),
        console: Console | None = None,
        until_end: bool = False,
    ) -> None:
        mine = inputs.only(numbers or inputs.partitions)
        self.settings, self.path, self.console, self.inputs = settings, path, console, inputs
        self.plan = plan_of_inputs(settings, mine)
        if len(mine.partitions) > 1 and settings.run.workers > 1:
            raise SettingsError(
                f"run.workers is {settings.run.workers}, and {len(mine.partitions)} shards are to run in this process: give "
                "a shard with several workers a process of its own (--shard)"
            )
        if (path / RUN_FILE).exists():
            raise RunError(f"{path} holds a run that is not in shards: give --out another directory")
        for spot, perpetual in self.plan.links.items():
            shards = shard_of(spot, inputs.shards), shard_of(perpetual, inputs.shards)
            if shards[0] != shards[1]:
                raise SettingsError(
                    f"indicators.sentiment.link gives {spot} streams of {perpetual}, but they are in shards {shards[0]} and "
                    f"{shards[1]}, and shards share nothing: leave the link out, or run all in one flow "
                    "(python -m bytewax.run flows.live)"
                )
        self.stopping, self.tally, self.following = threading.Event(), Tally(), Following(mine)
        self.metrics = RunMetrics(self.following, self.tally, self.plan.analysis_hash, settings.metrics.per_key)
        self.watchers: list[Watcher] = [self.tally, self.metrics]
        self.runs: dict[int, KafkaRun] = {}
        self._locks = ExitStack()
        with ExitStack() as locks:
            for number in mine.partitions:
                directory = locks.enter_context(RunDirectory(shard_directory(path, number)))
                self.runs[number] = KafkaRun(
                    settings,
                    inputs.only([number]),
                    directory,
                    self.plan,
                    self.following,
                    self.stopping,
                    self.watchers,
                    store=directory.recovery,
                    until_end=until_end,
                )
            self._locks = locks.pop_all()

    def __enter__(self) -> Shards:
        """The shards, locked."""
        return self

    def __exit__(self, *_: object) -> None:
        """Unlock them."""
        self._locks.close()

    def announce(self) -> None:
        """Print signals as they come."""
        if self.console is not None:
            self.watchers.append(Announcer(self.following, self.console))

    def clear(self) -> None:
        """Start over: forget what the directories hold."""
        for run in self.runs.values():
            run.directory.clear()

    def run(self) -> dict[int, dict[str, Any]]:
        """Run all of them until they are told to stop; what run.json of each says then. If one fails, the others stop in order.

        Raises:
            TidewaxError: the first failure, which says of what shards it is.
            RunError: the port for metrics is taken.
        """
        console, settings = self.console, self.settings
        status = KafkaStatus(self.following, self.tally, self.runs)
        with serving(self.metrics, settings.metrics) as port, stopped_by_signals(self.stopping):
            for run in self.runs.values():
                run.begin()
            if console is not None and port is not None:
                console.print(f"metrics: http://{settings.metrics.host}:{port}/metrics", soft_wrap=True)
            beside = showing(status, console, settings.run.status_s) if console is not None else None
            failed: dict[int, BaseException] = {}
            try:
                with engine_alone(beside):
                    self._run_all(failed)
                    if failed:
                        raise self._failure(failed)  # in here, so that what the engine prints of it stays back
            except BaseException:
                if failed:
                    self._finish(failed)
                raise
        return self._finish(failed)

    def _finish(self, failed: Collection[int]) -> dict[int, dict[str, Any]]:
        return {number: run.finish() for number, run in self.runs.items() if number not in failed}

    def _run_all(self, failed: dict[int, BaseException]) -> None:
        def execute(number: int, run: KafkaRun) -> None:
            try:
                run.execute()
            except BaseException as error:
                failed[number] = error
                self.stopping.set()

        threads = []
        for number, run in self.runs.items():
            thread = threading.Thread(target=execute, args=(number, run), name=f"shard {number}", daemon=True)
            threads.append(thread)
            thread.start()
            served_once(thread)
        for thread in threads:
            thread.join()

    def _failure(self, failed: Mapping[int, BaseException]) -> BaseException:
        """The first failure; where it is a sentence, with the shards that it is of."""
        first = next(iter(failed.values()))  # in the order in which they failed
        if not isinstance(first, TidewaxError):
            return first
        same = sorted(number for number, error in failed.items() if str(error) == str(first))
        return type(first)(f"shard{'s' * (len(same) > 1)} {', '.join(map(str, same))}: {first}")
