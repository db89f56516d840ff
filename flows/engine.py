"""The engine as flows use it: build a flow from a source to sinks, run it, and tell what stopped it."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main

from config import Settings, load
from connectors.files import FileSource
from connectors.kafka.sink import KafkaSink
from connectors.kafka.source import Items, KafkaSource
from connectors.live import LiveSource
from connectors.recovery import forget_what_was_not_reached
from connectors.segments import SegmentSink, StoredSource
from connectors.sqlite import SqliteSink
from connectors.tape import TapeSource
from connectors.watch import WatchSink
from events.errors import SettingsError, TidewaxError
from operators.keyed import Frames

Sink = SegmentSink | SqliteSink | WatchSink | KafkaSink

_ONE = threading.Lock()
"""Held while the engine runs: what it redirects is the process's, so its runs take turns."""


def dataflow(
    name: str,
    source: FileSource | TapeSource | StoredSource | LiveSource | KafkaSource,
    graph: Callable[[Frames], Frames],
    *sinks: Sink,
    passing: Sequence[Callable[[Items], Items]] = (),
) -> Dataflow:
    """A flow from a source through `graph` to sinks. Step ids are constants: stored state is found by them.

    Args:
        name: of the flow.
        source: where frames come from.
        graph: what becomes of them.
        sinks: where the results go, all of them to each.
        passing: what batches of the source pass on their way.
    """
    flow = Dataflow(name)
    steps = {
        FileSource: "files",
        TapeSource: "tape",
        StoredSource: "stored",
        LiveSource: "live",
        KafkaSource: "kafka",
    }
    step = next(step for kind, step in steps.items() if isinstance(source, kind))
    market = op.input(step, flow, source)
    for place, passed in enumerate(passing):
        market = op.flat_map_batch(f"passing_{place}", market, passed)
    out = graph(market)
    outputs = {SegmentSink: "segments", SqliteSink: "sqlite", WatchSink: "watch", KafkaSink: "kafka_out"}
    for sink in sinks:
        taken = op.filter("to_kafka", out, sink.takes) if isinstance(sink, KafkaSink) else out
        op.output(next(step for kind, step in outputs.items() if isinstance(sink, kind)), taken, sink)
    return flow


def run_flow(
    flow: Dataflow,
    workers: int = 1,
    epoch_s: float = 10.0,
    store: Path | None = None,
    beside: AbstractContextManager[None] | None = None,
) -> None:
    """Run a flow to its end, or on from where its store says it was stopped; `beside` is open while the engine runs.

    Raises:
        TidewaxError: what a user can do something about, dug out of what the engine wrapped it in.
    """
    with engine_alone(beside):
        execute(flow, workers, epoch_s, store)


@contextmanager
def engine_alone(beside: AbstractContextManager[None] | None = None) -> Iterator[None]:
    """Keep other runs of the process waiting, and what the engine prints back, while flows are executed; `beside` is open too."""
    with _ONE, _engine_noise(), beside or nullcontext():  # what was held back is shown after `beside` is closed
        yield


def execute(flow: Dataflow, workers: int, epoch_s: float, store: Path | None) -> None:
    """Run a flow inside `engine_alone`; flows with one worker each may run side by side, in threads.

    With more workers, a failure of one flow would end another as if it were done: the engine has one mark for that in a process.

    Raises:
        TidewaxError: what a user can do something about, dug out of what the engine wrapped it in.
    """
    recovery: dict[str, Any] = {}
    if store is not None:
        forget_what_was_not_reached(store)
        recovery["recovery_config"] = RecoveryConfig(str(store))  # type: ignore[no-untyped-call]
    try:
        cli_main(  # type: ignore[no-untyped-call]
            flow, workers_per_process=workers, epoch_interval=timedelta(seconds=epoch_s), **recovery
        )
    except Exception as error:
        for cause in _causes(error):
            if isinstance(cause, TidewaxError):
                raise cause from None
        raise


def settings_of_runner(needed: str, given: Callable[[Settings], Any]) -> tuple[Settings, Path]:
    """The settings named in TIDEWAX_CONFIG and their `output.directory`, for a flow that the engine's own runner asks for.

    Args:
        needed: the setting without which the flow has no input.
        given: its value.

    Raises:
        SettingsError: TIDEWAX_CONFIG is not set, or the settings lack one of the two.
    """
    name = os.environ.get("TIDEWAX_CONFIG")
    if not name:
        raise SettingsError(f"set TIDEWAX_CONFIG to a settings file with {needed} and output.directory")
    settings = load(name)
    if not given(settings) or settings.output.directory is None:
        raise SettingsError(f"{name} needs {needed} and output.directory")
    return settings, Path(settings.output.directory)


def store_of_runner() -> Path | None:
    """The recovery store given to the engine's own runner by `-r`, made ready for a start; None without one.

    Where the run has several processes, the first one does that: the others wait for it, and open the store afterwards.
    """
    store = _of_runner("-r", "--recovery-directory", "BYTEWAX_RECOVERY_DIRECTORY")
    if store is None:
        return None
    if process_of_runner() == 0:
        forget_what_was_not_reached(Path(store))
    return Path(store)


def process_of_runner() -> int:
    """The number of this process among those of a cluster (`-i`), 0 where it is the only one."""
    given = _of_runner("-i", "--process-id", "BYTEWAX_PROCESS_ID")
    pod, pods = (os.environ.get(f"BYTEWAX_{name}_NAME") for name in ("POD", "STATEFULSET"))
    if given is None and pod and pods:
        given = pod.removeprefix(f"{pods}-")
    return int(given or 0)


def _of_runner(short: str, long: str, variable: str) -> str | None:
    """An option of the engine's own runner, from its command line or from the environment."""
    runner = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    runner.add_argument(short, long, dest="given", default=os.environ.get(variable))
    given: str | None = runner.parse_known_args(sys.argv[1:])[0].given
    return given


@contextmanager
def _engine_noise() -> Iterator[None]:
    """Hold back what is written to standard error while the engine runs, unless TIDEWAX_DEBUG is set.

    A failing worker prints pages of its stack, which hide the sentence that matters. After a clean end it is shown.
    """
    if os.environ.get("TIDEWAX_DEBUG"):
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
        noise.seek(0)
        sys.stderr.write(noise.read().decode(errors="replace"))


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
