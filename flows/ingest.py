"""Ingest: what exchanges send, a tape holds or files hold, into the market topic of Kafka; nothing is lost, nothing comes twice.

`tidewax ingest` is the command; `python -m bytewax.run flows.ingest` runs the same flow under the engine's own runner, configured
by the settings file named in TIDEWAX_CONFIG (its `kafka.servers`, `exchange.symbols` or `input.files`, and `output.directory`).
There is no graph in it: rows are checked where they are read, so that the topic holds what the exchange said.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bytewax.dataflow import Dataflow
from rich.console import Console

from config import Settings
from connectors.files import FileSource, Inputs
from connectors.live import LiveSource
from connectors.tape import Recording, TapeSource
from events.errors import InputError, RunError, TidewaxError
from events.times import SECOND_NS
from flows.engine import run_flow, settings_of_runner, store_of_runner
from flows.file_options import inputs_of_settings
from flows.ingest_run import Ingest
from flows.metrics import RunMetrics
from flows.progress import watching
from flows.recorder import Recorder, stopped_by_signals, under_runner
from flows.rundir import RunDirectory
from flows.status import SourceStatus
from flows.tally import Tally


class LiveIngest(Ingest):
    """An ingest of exchanges, which are recorded on a tape before they are written.

    Raises:
        InputError: no exchange is named, or one is not known.
        RunError: the directory or the tape in it is of something else, or cannot be written to.
        SettingsError: no brokers are named.
    """

    def __init__(
        self, settings: Settings, directory: RunDirectory, console: Console | None = None, *, store: Path | None
    ) -> None:
        self.recorder = Recorder(settings, directory, store)
        super().__init__(settings, self.recorder.source, directory, console, store)
        self.stopping, self.tally = self.recorder.source.stopping, Tally()
        self.metrics = RunMetrics(self.recorder.source, self.tally, "", settings.metrics.per_key)

    @property
    def source(self) -> LiveSource:
        """The exchanges, behind their tape."""
        return self.recorder.source

    def watchers(self) -> list[Tally]:
        """What counts changes of states."""
        return [self.tally]

    def begin(self) -> None:
        """Make the directory ready, and announce what will be written.

        Raises:
            InputError: the brokers or their topics cannot be used.
            RunError: the run in the directory was of something else, or has recorded to another tape.
        """
        self.recorder.check_tape(self.stored)
        super().begin()

    def run(self) -> dict[str, Any]:
        """Run until it is told to stop; what run.json says then.

        Raises:
            InputError: no exchange can be used, or Kafka cannot.
            RunError: Kafka takes nothing any more, or the directory cannot be written to.
        """
        try:
            self.recorder.run(self.begin, self.flow, self.metrics, SourceStatus(self.source), self.console, workers=1)
        except TidewaxError:
            if self.directory.is_new:  # nothing was recorded, and nothing is left
                self.withdraw()
            raise
        return self.finish()

    def finish(self) -> dict[str, Any]:
        """Write run.json, and close the tape."""
        run = super().finish()
        self.source.tape.close()
        return run


class StoredIngest(Ingest):
    """An ingest of files or a tape, to their end.

    Raises:
        InputError: an instrument has nothing to make bars of.
        RunError: the directory is of something else.
        SettingsError: no brokers are named.
    """

    origin: Inputs | Recording

    def __init__(
        self,
        settings: Settings,
        inputs: Inputs | Recording,
        directory: RunDirectory,
        console: Console | None = None,
        *,
        store: Path | None,
    ) -> None:
        super().__init__(settings, inputs, directory, console, store)
        self.failure: InputError | None = None
        chunk, lateness_ns = settings.run.chunk, round((settings.sources.lateness_s or 0.0) * SECOND_NS)
        self._source: TapeSource | FileSource
        if isinstance(inputs, Recording):
            self._source = TapeSource(inputs, chunk, self._fail)
        else:
            self._source = FileSource(inputs, chunk, lateness_ns, self._fail)
        self._source.stopping = self.stopping

    @property
    def source(self) -> TapeSource | FileSource:
        """The files or the tape."""
        return self._source

    @property
    def state(self) -> str:
        """What has become of the run."""
        return "stopped" if self.stopping.is_set() or self.failure is not None else "finished"

    def run(self) -> dict[str, Any]:
        """Run to the end, or until it is told to stop; what run.json says then.

        Raises:
            InputError: a file or the tape turned out to be damaged, or Kafka cannot be used.
            RunError: Kafka takes nothing any more, or the directory cannot be written to.
        """
        try:
            self.begin()
        except TidewaxError:
            if self.stored is None:
                self.directory.clear()
            raise
        run = self.settings.run
        beside = watching(self.source.progress, self.console) if self.console else None
        with stopped_by_signals(self.stopping):
            run_flow(self.flow(), 1, run.epoch_s, self.store, beside)
        if self.failure is not None:
            raise self.failure
        return self.finish()

    def finish(self) -> dict[str, Any]:
        """Write run.json; of a run that has come to its end, what only an unfinished one needs goes."""
        run = super().finish()
        if run["state"] == "finished":
            self.directory.tidy()
        return run

    def _fail(self, error: InputError) -> None:
        self.failure = error


def get_flow() -> Dataflow:
    """The flow of the settings named in TIDEWAX_CONFIG, for `python -m bytewax.run flows.ingest`.

    Give the runner `-r` with a recovery store, or a start reads again all that was recorded and written, which gives the same.

    Raises:
        SettingsError: TIDEWAX_CONFIG is not set, or the settings lack what is to be written, or `output.directory`.
    """

    def given(settings: Settings) -> Any:
        return settings.exchange.symbols or settings.exchange.universe or settings.input.files

    settings, path = settings_of_runner("exchange.symbols or input.files", given)
    directory, store = RunDirectory(path), store_of_runner()
    run: LiveIngest | StoredIngest
    if settings.input.files:
        run = StoredIngest(settings, inputs_of_settings(settings), directory, store=store)
    else:
        run = LiveIngest(settings, directory, store=store)
    if run.stored is not None and run.stored["state"] == "finished":
        raise RunError(f"{directory.path} holds a finished ingest: give output.directory another one")
    run.begin()
    if store is None:
        print("tidewax: no recovery store (-r): a restart reads all it has recorded and written again", file=sys.stderr)
    if isinstance(run, LiveIngest):
        run.recorder.upkeep.start()
    under_runner(run.metrics if isinstance(run, LiveIngest) else None, settings, run.stopping, lambda: _finish(run))
    return run.flow()


def __getattr__(name: str) -> Dataflow:
    """`flow`, made when the engine's runner asks for it."""
    if name == "flow":
        return get_flow()
    raise AttributeError(name)


def _finish(run: LiveIngest | StoredIngest) -> None:
    if isinstance(run, LiveIngest):
        run.recorder.upkeep.stop()
    try:
        run.finish()
    except TidewaxError as error:
        print(f"tidewax: {error}")
