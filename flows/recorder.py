"""What a run on exchanges records: the feeds that its settings name, the tape in front of them, and its upkeep.

`flows.live` analyses what is recorded, `flows.ingest` writes it to Kafka.
"""

from __future__ import annotations

import atexit
import math
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from events.errors import RunError, SettingsError, TidewaxError
from events.feeds import CHECKS, CONTEXT
from events.identity import like
from flows.engine import run_flow
from flows.history_needed import required_bars
from flows.metrics import RunMetrics, serving
from flows.plan import Plan
from flows.rundir import RunDirectory
from flows.status import SourceStatus, showing

TAPE: Final = "tape"
MARKETS: Final = "markets"
_EPOCH_S: Final = 1.0
_CONTACT_S: Final = 5.0


class Recorder:
    """The exchanges of the settings, recorded on a tape in a run directory before anything else happens.

    Args:
        settings: `exchange.symbols` and `exchange.universe` say of what; the tape is `tape` in the directory, unless
            `tape.directory` is set.
        directory: locked, and empty or of a run of the same.
        store: the recovery store, None for a run that reads the whole tape again when it is started again.

    Attributes:
        source: what is handed out once it is recorded.
        upkeep: what looks after closed segments of the tape.

    Raises:
        InputError: no exchange is named, or one is not known.
        RunError: the tape in the directory is of other instruments, or cannot be written to.
    """

    def __init__(self, settings: Settings, directory: RunDirectory, store: Path | None) -> None:
        self.settings, self.directory, given = settings, directory, settings.exchange
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
            context=given.context,
            context_s=given.context_s,
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
        self.source = LiveSource(source, tape)

    @property
    def tape(self) -> Tape:
        """The tape."""
        return self.source.tape

    def check_tape(self, stored: Mapping[str, Any] | None) -> None:
        """Look whether a run that goes on does so with the tape that it has recorded to.

        Args:
            stored: what its run.json says, None of a new run.

        Raises:
            RunError: it has recorded to another one; a tape that was made for this start is removed again.
        """
        tape = self.tape
        was = stored["inputs"][0] if stored else {}
        if was.get("live_tape", tape.id) == tape.id:
            return
        if not tape.end:
            tape.discard()
        raise RunError(
            f"the run in {self.directory.path} has recorded to the tape in {was['path']}, and {tape.directory} is another one. Set "
            "tape.directory to where that tape is now, or give the run another directory; --again starts over with the other tape"
        )

    def run(
        self,
        begin: Callable[[], object],
        flow: Callable[[], Dataflow],
        metrics: RunMetrics,
        status: SourceStatus,
        console: Console | None,
        workers: int,
    ) -> None:
        """Run a flow over what is recorded until it is told to stop. Nothing is left of a run that failed before that was anything.

        Args:
            begin: makes the directory ready.
            flow: makes the flow.
            metrics: are served meanwhile.
            status: is shown meanwhile.
            console: where; None for nowhere.
            workers: threads of the engine.

        Raises:
            InputError: no exchange can be used.
            RunError: the port for metrics is taken, or the directory cannot be written to.
        """
        anew, settings = self.directory.is_new, self.settings
        epoch_s = min(_EPOCH_S, settings.run.epoch_s)
        try:
            with serving(metrics, settings.metrics) as port, stopped_by_signals(self.source.stopping):
                begin()
                if console is not None and port is not None:
                    console.print(f"metrics: http://{settings.metrics.host}:{port}/metrics", soft_wrap=True)
                beside = showing(status, console, settings.run.status_s) if console is not None else None
                try:
                    self.upkeep.start()
                    run_flow(flow(), workers, epoch_s, self.directory.recovery, beside)
                finally:
                    self.upkeep.stop()  # before the tape is closed, or removed with what it has there
        except TidewaxError:
            if anew and not self.tape.end:
                self.tape.discard()
                shutil.rmtree(self.directory.path / MARKETS, ignore_errors=True)
                self.directory.clear()
            raise


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
    return (*named, *[CONTEXT] * (given.context is not None), *[CHECKS] * bool(given.reconcile))


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
def stopped_by_signals(stopping: threading.Event) -> Iterator[None]:
    """Let the first SIGTERM or Ctrl-C end the source, so that the run ends with its snapshots made; a second one kills it.

    Args:
        stopping: of the source.
    """

    def stop(number: int, frame: object) -> None:
        stopping.set()
        signal.signal(number, before[number])

    before: Mapping[int, Any] = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def under_runner(
    metrics: RunMetrics | None, settings: Settings, stopping: threading.Event, finish: Callable[[], None]
) -> None:
    """Put beside a flow of the engine's own runner, until the process ends: metrics, how it is stopped, what finishes it."""
    beside = ExitStack()
    if metrics is not None:
        beside.enter_context(serving(metrics, settings.metrics))
    beside.enter_context(stopped_by_signals(stopping))
    atexit.register(beside.close)
    atexit.register(finish)
