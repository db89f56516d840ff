"""Live: the graph on exchanges, into a run directory, recorded on a tape as it goes.

`tidewax live` is the command; `python -m bytewax.run flows.live` runs the same flow under the engine's own runner, configured by
the settings file named in TIDEWAX_CONFIG (its `exchange.symbols` and `output.directory`). With `kafka.servers`, the runner's is a
flow over what `tidewax ingest` writes, all of it or the shard of TIDEWAX_SHARD; then it may have several processes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bytewax.dataflow import Dataflow
from rich.console import Console

from config import Settings
from connectors.live import LiveSource
from connectors.watch import Watcher, WatchSink
from events.errors import TidewaxError
from flows.announce import Announcer
from flows.backtest import Backtest
from flows.engine import dataflow, settings_of_runner, store_of_runner
from flows.graph import build_live
from flows.kafka_run import kafka_flow, on_kafka, result_sinks
from flows.metrics import RunMetrics
from flows.recorder import Recorder, under_runner
from flows.rundir import RunDirectory
from flows.status import Status
from flows.tally import Tally


class LiveRun(Backtest):
    """A live run into a run directory, from nothing, or on from where it was stopped or killed.

    Args:
        settings: of the analysis; `exchange.symbols` says of what.
        directory: locked, and empty or of a live run; the tape is `tape` in it, unless `tape.directory` is set.
        console: where the status is shown, None for nowhere.
        store: the recovery store, None for a run that computes the whole tape again when it is started again.

    Raises:
        InputError: no exchange is named, or one is not known.
        RunError: the tape in the directory is of other instruments, or cannot be written to.
    """

    inputs: LiveSource

    def __init__(
        self, settings: Settings, directory: RunDirectory, console: Console | None = None, *, store: Path | None
    ) -> None:
        self.recorder, self.store = Recorder(settings, directory, store), store
        super().__init__(settings, self.recorder.source, directory, console)
        self.tally = Tally()
        self.metrics = RunMetrics(self.inputs, self.tally, self.plan.analysis_hash, settings.metrics.per_key)
        self.watchers: list[Watcher] = [self.tally, self.metrics]

    def flow(self) -> Dataflow:
        """The flow, with all sinks."""
        to_kafka = result_sinks(self.settings, self.plan, self.store, self.inputs.stopping)
        sinks = [*self.sinks(), *to_kafka, WatchSink(*self.watchers)]
        return dataflow("backtest", self.inputs, lambda market: build_live(market, self.plan), *sinks)

    def announce(self) -> None:
        """Print signals as they come."""
        if self.console is not None:
            self.watchers.append(Announcer(self.inputs, self.console, self.settings.exchange.fallback))

    def begin(self) -> bool:
        """Make the directory ready; whether a run goes on in it. What was rolled at a stop is out of date from here on.

        Raises:
            RunError: the run in it was of other settings, or recorded to another tape.
        """
        self.recorder.check_tape(self.directory.read())
        resumed = super().begin()
        self.directory.write(self.header | {"state": "unfinished"})
        return resumed

    def run(self) -> dict[str, Any]:
        """Run until it is told to stop; what run.json says then.

        Raises:
            InputError: no exchange can be used.
            RunError: the port for metrics is taken, or the directory cannot be written to.

        Nothing is left of a run that failed before anything was recorded.
        """
        status, workers = Status(self.inputs, self.tally), self.settings.run.workers
        self.recorder.run(self.begin, self.flow, self.metrics, status, self.console, workers)
        return self.finish()

    def finish(self) -> dict[str, Any]:
        """Make the Parquet files and run.json. What a start needs to go on stays."""
        trades = {instrument: standing.rows for instrument, standing in self.inputs.standings.items()}
        run = self.header | {"state": "stopped"} | self.rolled() | {"trades": trades}
        self.directory.write(run)
        self.inputs.tape.close()
        return run


def get_flow() -> Dataflow:
    """The flow of the settings named in TIDEWAX_CONFIG, for `python -m bytewax.run flows.live`.

    Give the runner `-r` with a recovery store, or a start computes everything on the tape again, which gives the same.

    Raises:
        SettingsError: TIDEWAX_CONFIG is not set, or the settings lack `exchange.symbols` or `output.directory`.
    """
    settings, path = settings_of_runner(
        "exchange.symbols or kafka.servers",
        lambda settings: settings.exchange.symbols or settings.exchange.universe or on_kafka(settings),
    )
    if on_kafka(settings):
        return kafka_flow(settings, path)
    directory = RunDirectory(path)
    store = store_of_runner()
    live = LiveRun(settings, directory, store=store)
    live.recorder.check_tape(directory.read())
    directory.write(live.header | {"state": "unfinished"})
    if store is None:
        kept = settings.tape.keep_days is None and settings.tape.keep_bytes is None
        more = "" if kept else ", so nothing of it is removed, whatever the settings say"
        print(f"tidewax: no recovery store (-r): a restart computes the whole tape again{more}", file=sys.stderr)
    live.recorder.upkeep.start()
    under_runner(live.metrics, settings, live.inputs.stopping, lambda: _finish(live))
    return live.flow()


def __getattr__(name: str) -> Dataflow:
    """`flow`, made when the engine's runner asks for it."""
    if name == "flow":
        return get_flow()
    raise AttributeError(name)


def _finish(live: LiveRun) -> None:
    live.recorder.upkeep.stop()
    try:
        live.finish()
    except TidewaxError as error:
        print(f"tidewax: {error}")
