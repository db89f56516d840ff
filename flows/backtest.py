"""Backtest: the graph over files, or a replay: over a tape; into a run directory.

`tidewax backtest` is the command; `python -m bytewax.run flows.backtest` runs the same flow under the engine's own runner,
configured by the settings file named in TIDEWAX_CONFIG (its sections `input` and `output`).
"""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any

from bytewax.dataflow import Dataflow
from rich.console import Console

from config import Settings
from connectors.files import FileSource
from connectors.kafka.inputs import KafkaInputs
from connectors.live import LiveSource
from connectors.progress import Progress
from connectors.recovery import make_store
from connectors.segments import SegmentSink, roll
from connectors.sqlite import SqliteSink
from connectors.tape import Recording, TapeSource
from events.errors import InputError, RunError, TidewaxError
from events.streams import Stream
from flows.engine import Sink, dataflow, run_flow, settings_of_runner, store_of_runner
from flows.file_options import inputs_of_settings
from flows.graph import build, conclude
from flows.plan import Origin, Plan, plan_of_inputs
from flows.progress import watching
from flows.provenance import run_header
from flows.report import summarise
from flows.reuse import Reused
from flows.rundir import RunDirectory, changed_plugins, first_difference, other_lateness


class Backtest:
    """A backtest or a replay into a run directory, from nothing or from where it was stopped.

    Args:
        settings: of the analysis, and how the run is cut up.
        inputs: the files, the tape, or the exchanges.
        directory: locked, and empty or of an unfinished run.
        console: where the progress is shown, None for nowhere.
        reused: a finished run over the same files whose bars, or features too, are taken as they are.
        plan: what the settings come to with the inputs, where that is known already.
    """

    def __init__(
        self,
        settings: Settings,
        inputs: Origin,
        directory: RunDirectory,
        console: Console | None = None,
        reused: Reused | None = None,
        plan: Plan | None = None,
    ) -> None:
        self.settings, self.inputs, self.directory, self.console = settings, inputs, directory, console
        self.plan = plan_of_inputs(settings, inputs) if plan is None else plan
        self.failure: InputError | None = None
        _ = self.plan.signals  # what is wrong with them is said before anything is written
        self.reused, self.progress = reused, Progress(inputs.total_bytes)
        told = None if reused is None else {"run": reused.directory.name, "streams": reused.streams}
        self.header = run_header(settings, inputs, self.plan) | {"reused": told}

    def same_as(self, stored: dict[str, Any]) -> bool:
        """Whether the run of this run.json is of the same analysis and files."""
        return all(stored[name] == self.header[name] for name in ("analysis_hash", "fingerprint"))

    @property
    def streams(self) -> dict[str, Stream]:
        """All that leaves the graph."""
        return self.plan.streams

    def flow(self) -> Dataflow:
        """The flow, with all sinks."""
        if self.reused is not None:
            studied = self.reused.studied
            stored = self.reused.source(self.plan)
            return dataflow("backtest", stored, lambda bars: conclude(bars, self.plan, studied), *self.sinks())
        return dataflow("backtest", self._source(), lambda market: build(market, self.plan), *self.sinks())

    def sinks(self) -> list[Sink]:
        """The sinks, each of which gets all streams."""
        identity = self.plan.analysis_hash
        segments = SegmentSink(self.directory.path, self.streams, identity)
        return [segments, SqliteSink(self.directory.sqlite, self.streams, identity)]

    def _source(self) -> FileSource | TapeSource:
        assert not isinstance(self.inputs, LiveSource | KafkaInputs), "its flow is its own"
        chunk = self.settings.run.chunk
        source: FileSource | TapeSource
        if isinstance(self.inputs, Recording):
            source = TapeSource(self.inputs, chunk, self._fail)
        else:
            source = FileSource(self.inputs, chunk, max(self.plan.lateness_ns.values()), self._fail)
        self.progress = source.progress
        return source

    def _fail(self, error: InputError) -> None:
        self.failure = error

    def begin(self) -> bool:
        """Make the directory ready; whether an unfinished run goes on in it.

        Raises:
            RunError: the unfinished run is of other settings, files or another tape.
        """
        stored = self.directory.read()
        if stored is None:
            self.directory.clear()
            self.directory.write(self.header | {"state": "unfinished"})
        elif said := refusal(self.directory.path, stored, self.header):
            raise RunError(said)
        if not self.directory.recovery.exists():
            make_store(self.directory.recovery)
            return False
        return stored is not None

    def run(self) -> dict[str, Any]:
        """Run to the end, or on from where it was stopped; what run.json says.

        Raises:
            InputError: a file or the tape turned out to be damaged; nothing is left of a run that began with it.
        """
        resumed = self.begin()
        run = self.settings.run
        flow = self.flow()
        beside = watching(self.progress, self.console) if self.console else None
        run_flow(flow, run.workers, run.epoch_s, self.directory.recovery, beside)
        if self.failure is not None:
            if not resumed:
                self.directory.clear()
            raise self.failure
        return self.finish()

    def finish(self) -> dict[str, Any]:
        """Make the Parquet files and the final run.json."""
        run = self.header | {"state": "finished"} | self.rolled()
        self.directory.finish(run)
        return run

    def rolled(self) -> dict[str, Any]:
        """Make the Parquet files; what they hold, for run.json."""
        made = roll(self.directory.path, self.streams, self.plan.analysis_hash)
        return {"rows": made.counts, "digests": made.digests} | summarise(self.directory.path, self.plan, made.counts)


def refusal(path: Path, stored: dict[str, Any], header: dict[str, Any]) -> str | None:
    """Why the unfinished run at `path`, whose run.json is `stored`, cannot go on as that of this header; None if it can."""
    if stored["analysis_hash"] != header["analysis_hash"]:
        setting = first_difference(header["analysis"], stored["analysis"])
        return f"{path} holds an unfinished run of other settings: {setting}. Run with those, or --again"
    if stored["fingerprint"] != header["fingerprint"]:
        return f"{path} holds an unfinished run over other files, another tape or other partitions. Name the same ones, or --again"
    if late := other_lateness(header, stored):
        return f"{path} holds an unfinished run with another allowed lateness: {late}. Set sources.lateness_s as it was, or --again"
    if changed := changed_plugins(header, stored):
        return f"{path} holds an unfinished run, and {changed[0]} was changed since. Go back to the file as it was, or --again"
    if taken_from(stored) != taken_from(header):
        return (
            f"{path} holds an unfinished run that takes {taken_from(stored) or 'no streams'} from another one: "
            "go on with the sweep that it is part of, or --again"
        )
    return None


def taken_from(run: dict[str, Any]) -> str | None:
    """What a run takes from another one, None for nothing."""
    reused = run.get("reused")
    return reused and str(reused["streams"])


def get_flow() -> Dataflow:
    """The flow of the settings named in TIDEWAX_CONFIG, for `python -m bytewax.run flows.backtest`.

    The Parquet files and run.json are made when the process ends. Give the runner `-r` to be able to resume.

    Raises:
        SettingsError: TIDEWAX_CONFIG is not set, or the settings lack `input.files` or `output.directory`.
    """
    settings, path = settings_of_runner("input.files", lambda settings: settings.input.files)
    inputs = inputs_of_settings(settings)
    directory = RunDirectory(path)
    backtest = Backtest(settings, inputs, directory)
    stored = directory.read()
    if stored is not None and stored["state"] == "finished":
        raise RunError(f"{directory.path} holds a finished run: give output.directory another one")
    directory.write(backtest.header | {"state": "unfinished"})
    store_of_runner()
    atexit.register(_finish, backtest)
    return backtest.flow()


def __getattr__(name: str) -> Dataflow:
    """`flow`, made when the engine's runner asks for it."""
    if name == "flow":
        return get_flow()
    raise AttributeError(name)


def _finish(backtest: Backtest) -> None:
    try:
        if backtest.failure is None:
            backtest.finish()
    except TidewaxError as error:
        print(f"tidewax: {error}")
