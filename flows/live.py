"""Live: the graph on exchanges, into a run directory, recorded on a tape as it goes.

`tidewax live` is the command; `python -m bytewax.run flows.live` runs the same flow under the engine's own runner, configured by
the settings file named in TIDEWAX_CONFIG (its `exchange.symbols` and `output.directory`).
"""

from __future__ import annotations

import atexit
import math
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from bytewax.dataflow import Dataflow
from rich.console import Console

from config import Settings
from connectors.exchange import ExchangeSource, Options, chosen
from connectors.exchange.universe import Largest
from connectors.live import LiveSource, universe_of
from connectors.tape import Tape
from connectors.tape.upkeep import Task, Upkeep
from connectors.watch import Watcher, WatchSink
from events.errors import RunError, SettingsError, TidewaxError
from events.feeds import CHECKS
from events.identity import like
from flows.announce import Announcer
from flows.backtest import Backtest
from flows.engine import dataflow, run_flow, settings_of_runner, store_of_runner
from flows.graph import build_live
from flows.history_needed import required_bars
from flows.metrics import RunMetrics, serving
from flows.plan import Plan
from flows.rundir import RunDirectory
from flows.status import Status, showing
from flows.tally import Tally

TAPE: Final = "tape"
MARKETS: Final = "markets"
_EPOCH_S: Final = 1.0
_CONTACT_S: Final = 5.0


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
            clock_s=given.clock_s,
            contact_s=_CONTACT_S,
            preload=history(settings),
            void_after_s=given.void_after_s,
            down_after_s=given.down_after_s,
            beside=streams_beside(settings),
            poll_s=given.poll_s,
            reconcile_s=given.reconcile * 60,
        )
        cache = directory.path / MARKETS if given.cache is None else Path(given.cache)
        source = ExchangeSource(given.symbols, options, given.addresses, cache, largest_of(settings))
        kept = settings.tape
        path = directory.path / TAPE if kept.directory is None else Path(kept.directory)
        self.upkeep = Upkeep(Task(path, kept.roll, kept.keep_days, kept.keep_bytes, store))
        tape = Tape(
            path,
            universe_of(source.named, True, options.beside, source.likes),
            kept.segment_bytes,
            kept.sync,
            self.upkeep.start,
        )
        super().__init__(settings, LiveSource(source, tape), directory, console)
        self.tally = Tally()
        self.metrics = RunMetrics(self.inputs, self.tally, self.plan.analysis_hash, settings.metrics.per_key)
        self.watchers: list[Watcher] = [self.tally, self.metrics]

    def flow(self) -> Dataflow:
        """The flow, with all sinks."""
        watch = WatchSink(*self.watchers)
        return dataflow("backtest", self.inputs, lambda market: build_live(market, self.plan), *self.sinks(), watch)

    def announce(self) -> None:
        """Print signals as they come."""
        if self.console is not None:
            self.watchers.append(Announcer(self.inputs, self.console, self.settings.exchange.fallback))

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
            InputError: no exchange can be used.
            RunError: the port for metrics is taken, or the directory cannot be written to.

        Nothing is left of a run that failed before anything was recorded.
        """
        anew, tape, console = self.directory.read() is None, self.inputs.tape, self.console
        status = Status(self.inputs, self.tally)
        epoch_s = min(_EPOCH_S, self.settings.run.epoch_s)
        try:
            with serving(self.metrics, self.settings.metrics) as port, stopped_by_signals(self.inputs):
                self.begin()
                if console is not None and port is not None:
                    console.print(f"metrics: http://{self.settings.metrics.host}:{port}/metrics", soft_wrap=True)
                beside = showing(status, console, self.settings.run.status_s) if console is not None else None
                try:
                    self.upkeep.start()
                    run_flow(self.flow(), self.settings.run.workers, epoch_s, self.directory.recovery, beside)
                finally:
                    self.upkeep.stop()  # before the tape is closed, or removed with what it has there
        except TidewaxError:
            if anew and not tape.end:
                tape.discard()
                shutil.rmtree(self.directory.path / MARKETS, ignore_errors=True)
                self.directory.clear()
            raise
        return self.finish()

    def finish(self) -> dict[str, Any]:
        """Make the Parquet files and run.json. What a start needs to go on stays."""
        trades = {instrument: standing.rows for instrument, standing in self.inputs.standings.items()}
        run = self.header | {"state": "stopped"} | self.rolled() | {"trades": trades}
        self.directory.write(run)
        self.inputs.tape.close()
        return run


def history(settings: Settings) -> tuple[tuple[str, int], ...]:
    """(timeframe, bars) of the klines that a new live run begins with, empty for none.

    Of the base there are at least as many as the longest timeframe has, whose open bar is made of them.

    >>> history(Settings())[:2]
    (('1m', 10081), ('5m', 2048))
    """
    plan, wanted = Plan(settings), settings.exchange.preload
    if wanted == 0:
        return ()
    if wanted == "auto":
        bars = {name: need.bars for name, need in required_bars(plan).items()}
    else:
        bars = {name: wanted for name, _ in plan.timeframes}
    (base, base_ns), (_, longest_ns) = plan.timeframes[0], plan.timeframes[-1]
    bars[base] = max(bars[base], longest_ns // base_ns)
    return tuple(bars.items())


def largest_of(settings: Settings) -> dict[str, Largest]:
    """Which markets a live run of these settings follows by turnover, by exchange.

    >>> settings = Settings.model_validate({"exchange": {"universe": {"binance": {"top": 10}}}})
    >>> largest_of(settings)["binance"].keep
    13
    """
    return {
        exchange: Largest(
            top=given.top,
            keep=math.ceil(1.25 * given.top) if given.keep is None else given.keep,
            quote=given.quote,
            market=given.market,
            refresh_s=given.refresh_s,
            never=given.never,
        )
        for exchange, given in settings.exchange.universe.items()
    }


def instruments_of(settings: Settings) -> list[str]:
    """The instruments that the settings name, and the names that stand for those that come and go."""
    named = [f"{exchange}:{symbol}" for exchange, listed in settings.exchange.symbols.items() for symbol in listed]
    return [*named, *(like(f"{exchange}:{rule.like}") for exchange, rule in largest_of(settings).items())]


def streams_beside(settings: Settings) -> tuple[str, ...]:
    """The streams beside trades of a live run of these settings.

    >>> streams_beside(Settings.model_validate({"exchange": {"symbols": {"kraken": ["BTC/USD"]}, "feeds": "all"}}))
    ('book', 'top', 'ticker', 'check.1m')

    Raises:
        InputError: no instrument of the run has one that they name.
    """
    given = settings.exchange
    named = chosen(given.feeds, instruments_of(settings))
    return (*named, CHECKS) if given.reconcile else named


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


def get_flow() -> Dataflow:
    """The flow of the settings named in TIDEWAX_CONFIG, for `python -m bytewax.run flows.live`.

    Give the runner `-r` with a recovery store, or a start computes everything on the tape again, which gives the same.

    Raises:
        SettingsError: TIDEWAX_CONFIG is not set, or the settings lack `exchange.symbols` or `output.directory`.
    """
    settings, path = settings_of_runner(
        "exchange.symbols", lambda settings: settings.exchange.symbols or settings.exchange.universe
    )
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
    beside = ExitStack()  # until the process ends, which is the runner's
    beside.enter_context(serving(live.metrics, settings.metrics))
    beside.enter_context(stopped_by_signals(live.inputs))
    atexit.register(beside.close)
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
