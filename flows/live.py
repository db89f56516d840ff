"""Live: the graph on exchanges, into a run directory, recorded on a tape as it goes.

`tidewax live` is the command; `python -m bytewax.run flows.live` runs the same flow under the engine's own runner, configured by
the settings file named in TIDEWAX_CONFIG (its `exchange.symbols` and `output.directory`).
"""

from __future__ import annotations

import atexit
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bytewax.dataflow import Dataflow
from rich.console import Console
from rich.live import Live
from rich.text import Text

from config import Settings
from connectors.exchange import ExchangeSource, Options
from connectors.live import LiveSource, universe_of
from connectors.tape import Tape
from connectors.tape.upkeep import Task, Upkeep
from events.errors import InputError, RunError, SettingsError, TidewaxError
from events.schema import NEVER
from events.times import SECOND_NS, iso
from flows.backtest import Backtest
from flows.engine import run_flow, settings_of_runner, store_of_runner
from flows.rundir import RunDirectory

TAPE: Final = "tape"
MARKETS: Final = "markets"
_EPOCH_S: Final = 1.0
_CONTACT_S: Final = 8.0


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
        given = settings.exchange
        options = Options(
            queue=given.queue,
            stale_s=given.stale_s,
            mute_s=given.mute_s,
            grid_s=given.grid_s,
            refill_s=given.refill_s,
            contact_s=_CONTACT_S,
        )
        cache = directory.path / MARKETS if given.cache is None else Path(given.cache)
        source = ExchangeSource(given.symbols, options, given.addresses, cache)
        kept = settings.tape
        path = directory.path / TAPE if kept.directory is None else Path(kept.directory)
        self.upkeep = Upkeep(Task(path, kept.roll, kept.keep_days, kept.keep_bytes, store))
        tape = Tape(path, universe_of(source.exchanges), kept.segment_bytes, kept.sync, self.upkeep.start)
        super().__init__(settings, LiveSource(source, tape), directory, console)

    def begin(self) -> bool:
        """Make the directory ready; whether a run goes on in it. What was rolled at a stop is out of date from here on.

        Raises:
            RunError: the run in it was of other settings, or recorded to another tape.
        """
        self.check_tape()
        resumed = super().begin()
        self.directory.write(self.header | {"state": "unfinished"})
        return resumed

    def check_tape(self) -> None:
        """Look whether a run that goes on does so with the tape that it has recorded to.

        Raises:
            RunError: it has recorded to another one; a tape that was made for this start is removed again.
        """
        stored, tape = self.directory.read(), self.inputs.tape
        was = stored["inputs"][0] if stored else {}
        if was.get("live_tape", tape.id) == tape.id:
            return
        if not tape.end:
            tape.discard()
        raise RunError(
            f"the run in {self.directory.path} has recorded to the tape in {was['path']}, and {tape.directory} is another one. Set "
            "tape.directory to where that tape is now, or give the run another directory; --again starts over with the other tape"
        )

    def run(self) -> dict[str, Any]:
        """Run until it is told to stop; what run.json says then.

        Raises:
            InputError: no exchange can be used; nothing is left of a run that began with it.
        """
        resumed, tape = self.begin(), self.inputs.tape
        self.upkeep.start()
        beside = showing(self.inputs, self.console) if self.console else None
        epoch_s = min(_EPOCH_S, self.settings.run.epoch_s)
        try:
            try:
                with stopped_by_signals(self.inputs):
                    run_flow(self.flow(), self.settings.run.workers, epoch_s, self.directory.recovery, beside)
            finally:
                self.upkeep.stop()
        except InputError:
            if not resumed and not tape.end:
                tape.discard()
                shutil.rmtree(self.directory.path / MARKETS, ignore_errors=True)
                self.directory.clear()
            raise
        return self.finish()

    def finish(self) -> dict[str, Any]:
        """Make the Parquet files and run.json. What a start needs to go on stays."""
        run = self.header | {"state": "stopped"} | self.rolled()
        self.directory.write(run)
        self.inputs.tape.close()
        return run


def exchanges_of(instruments: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Instruments as symbols by exchange.

    >>> exchanges_of(["binance:BTC/USDT", "kraken:ETH/USD", "binance:BTC/USDT:USDT"])
    {'binance': ('BTC/USDT', 'BTC/USDT:USDT'), 'kraken': ('ETH/USD',)}

    Raises:
        SettingsError: one is not exchange:BASE/QUOTE.
    """
    found: dict[str, tuple[str, ...]] = {}
    for instrument in instruments:
        exchange, _, symbol = instrument.partition(":")
        if not exchange or "/" not in symbol:
            raise SettingsError(f"{instrument!r} is not exchange:BASE/QUOTE, such as binance:BTC/USDT")
        found[exchange] = (*found.get(exchange, ()), symbol)
    return found


@contextmanager
def stopped_by_signals(source: LiveSource) -> Iterator[None]:
    """Let the first SIGTERM or Ctrl-C end the source, so that the run ends with its snapshots made; a second one kills it."""

    def stop(number: int, frame: object) -> None:
        source.stopping.set()
        signal.signal(number, before[number])

    before: Mapping[int, Any] = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def showing(source: LiveSource, console: Console) -> Iterator[None]:
    """Show how the run is going in a line until the block ends; nothing where standard output is no terminal."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield
        return
    with Live(
        console=console,
        get_renderable=lambda: Text(status_line(source)),
        refresh_per_second=2,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield


def status_line(source: LiveSource) -> str:
    """Trades, the time of the newest one (UTC), and per exchange its connections made, lost and holes stated."""
    if not source.live.is_set():
        return f"reading the tape: {source.rows:,} trades"
    newest = "none yet" if source.newest_ns == NEVER else iso(source.newest_ns // SECOND_NS * SECOND_NS)
    told = "; ".join(
        f"{name}: {feed.counts['connected']} connected, {feed.counts['lost']} lost, {feed.counts['holes']} holes"
        for name, feed in source.exchange.feeds.items()
    )
    return f"{source.rows:,} trades, newest {newest}; {told}"


def get_flow() -> Dataflow:
    """The flow of the settings named in TIDEWAX_CONFIG, for `python -m bytewax.run flows.live`.

    Give the runner `-r` with a recovery store, or a start computes everything on the tape again, which gives the same.

    Raises:
        SettingsError: TIDEWAX_CONFIG is not set, or the settings lack `exchange.symbols` or `output.directory`.
    """
    settings, path = settings_of_runner("exchange.symbols", lambda settings: settings.exchange.symbols)
    directory = RunDirectory(path)
    store = store_of_runner()
    live = LiveRun(settings, directory, store=store)
    live.check_tape()
    directory.write(live.header | {"state": "unfinished"})
    if store is None:
        kept = settings.tape.keep_days is None and settings.tape.keep_bytes is None
        more = "" if kept else ", so nothing of it is removed, whatever the settings say"
        print(f"tidewax: no recovery store (-r): a restart computes the whole tape again{more}", file=sys.stderr)
    live.upkeep.start()
    signals = stopped_by_signals(live.inputs)
    signals.__enter__()  # until the process ends, which is the runner's
    atexit.register(signals.__exit__, None, None, None)
    atexit.register(_finish, live)
    return live.flow()


def __getattr__(name: str) -> Dataflow:
    """`flow`, made when the engine's runner asks for it."""
    if name == "flow":
        return get_flow()
    raise AttributeError(name)


def _finish(live: LiveRun) -> None:
    live.upkeep.stop()
    try:
        live.finish()
    except TidewaxError as error:
        print(f"tidewax: {error}")
