"""Live runs to be measured, each in a process of its own: the flow of `flows.live`, tape, sinks and recovery store included."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir

from benchmarks.agreement import Disagreement
from benchmarks.material import KEY, Memory, frames, run, trades
from config import Settings
from connectors.recovery import forget_what_was_not_reached
from connectors.segments import SegmentSink
from connectors.sqlite import SqliteSink
from connectors.sqlite.sink import SqlitePartition, SqliteState
from events.feeds import BOOKS, FEEDS, PRELOAD, TRADES
from events.frames import Array, Frame
from events.schema import FOREVER
from events.times import MINUTE_NS, SECOND_NS
from flows.engine import dataflow
from flows.graph import build, build_live
from flows.live import LiveRun
from flows.plan import Plan
from flows.rundir import RunDirectory
from operators.keyed import Frames

T = TypeVar("T")
_LOOK_S = 0.05
_GIVE_UP_S = 3_600.0
_INSERT = "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)"


def apart(function: Callable[..., T], *given: Any) -> T:
    """What a function of a module gives in a new process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def settings_of(address: str, symbols: Sequence[str], cache: Path, **sections: Any) -> Settings:
    """Settings of a live run on a server that stands for Binance; `sections` beside them, and of `exchange`, more."""
    exchange = {
        "symbols": {"binance": list(symbols)},
        "addresses": {"binance": address},
        "cache": str(cache),
        "preload": 0,
    }
    return Settings.model_validate({**sections, "exchange": exchange | sections.get("exchange", {})})


class Visible(SqliteSink):
    """The sink, which notes when each commit began and when it was done (ns)."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.commits: list[tuple[int, int]] = []

    def build_part(self, step_id: str, for_part: str, resume_state: SqliteState | None) -> SqlitePartition:
        """The writer."""
        part = super().build_part(step_id, for_part, resume_state)
        snapshot = part.snapshot

        def noted() -> SqliteState:
            began = time.time_ns()
            state = snapshot()
            self.commits.append((began, time.time_ns()))
            return state

        part.snapshot = noted  # type: ignore[method-assign]
        return part


class Watched(LiveRun):
    """A live run that notes what comes in and what leaves the graph.

    Attributes:
        came: by stream and instrument, the times and the times of receipt of its trades, and of the updates of its book.
        left: when a row left the graph, of which instrument and stream, and of what time it is.
    """

    def __init__(self, settings: Settings, directory: RunDirectory) -> None:
        super().__init__(settings, directory, store=directory.recovery)
        self.came: dict[str, dict[str, list[Array]]] = {TRADES: {}, BOOKS: {}}
        self.left: list[tuple[int, str, str, int]] = []
        self.visible = Visible(self.directory.sqlite, self.streams, self.plan.analysis_hash)

    def flow(self) -> Dataflow:
        """The flow, with two steps more that note and change nothing."""
        segments = SegmentSink(self.directory.path, self.streams, self.plan.analysis_hash)

        def graph(market: Frames) -> Frames:
            return op.map("left", build_live(op.map("came", market, self._came), self.plan), self._left)

        return dataflow("backtest", self.inputs, graph, segments, self.visible)

    def _came(self, item: tuple[str, Frame]) -> tuple[str, Frame]:
        instrument, frame = item
        if frame.name in self.came and len(frame.rows):
            rows = frame.rows[frame.rows["last"] > 0] if frame.name == BOOKS else frame.rows
            self.came[frame.name].setdefault(instrument, []).append(np.stack((rows["available_at"], rows["ts_recv"])))
        return item

    def _left(self, item: tuple[str, Frame]) -> tuple[str, Frame]:
        instrument, frame = item
        if len(frame.rows) and frame.name in ("confluence", "signals"):
            now = time.time_ns()
            records = isinstance(frame.rows, tuple)
            times = [r.ts for r in frame.rows] if records else frame.rows["available_at"].tolist()
            self.left += [(now, instrument, frame.name, ts) for ts in times]
        return item


class Latencies(NamedTuple):
    """Seconds, one of each row of a stream.

    Attributes:
        record: from the receipt of the trade that closed the bar to the row leaving the graph.
        close: from the end of the bar.
        visible: from the receipt to the end of the commit.
        needed: from the receipt of that trade, or of the update that closed the minute of the book where that came later.
    """

    record: Array
    close: Array
    visible: Array
    needed: Array


def watch(
    settings: Settings, folder: Path, seconds: float, step_ns: int, rate: float, at_once: int
) -> dict[str, Latencies]:
    """Run for so many seconds after the trades pushed at once are through; the latencies of confluence and of signals.

    From trade to trade `step_ns` of the market pass, and there are `rate` a second, so the market has a clock of its own pace.
    """
    with RunDirectory(folder / "run") as directory:
        live = Watched(settings, directory)
        look_at(live, lambda: _let_pass(live, at_once, seconds))
    (feed,) = live.inputs.exchange.feeds.values()
    came = {
        stream: {name: np.concatenate(parts, axis=1) for name, parts in of.items()} for stream, of in live.came.items()
    }
    return {
        name: _latencies(live, came, name, feed.clock.offset_ns, step_ns * rate / 1e9, at_once)
        for name in ("confluence", "signals")
    }


def _latencies(
    live: Watched, came: dict[str, dict[str, Array]], stream: str, offset_ns: int, pace: float, at_once: int
) -> Latencies:
    every = np.concatenate(list(came[TRADES].values()), axis=1)
    every = every[:, np.argsort(every[0], kind="stable")]
    paced = every[:, at_once:]
    # when the first of them was made, in time of receipt; what REST served has the time at which it was asked for
    origin_ns = np.percentile(paced[1] - (paced[0] - paced[0, 0]) / pace, 5)
    commits = np.array(live.visible.commits) + offset_ns
    found = []
    for left_ns, instrument, name, ts in live.left:
        if name != stream or ts <= paced[0, 0] + 2 * MINUTE_NS:
            continue
        lateness_ns = round(live.plan.lateness_s(instrument)[TRADES] * SECOND_NS)
        left, received = left_ns + offset_ns, _received(came[TRADES][instrument], ts + lateness_ns)
        needed = max(received, _received(came[BOOKS][instrument], ts)) if came[BOOKS] else received
        commit = int(np.searchsorted(commits[:, 0], left))
        if commit < len(commits):
            closed_ns = origin_ns + (ts - paced[0, 0]) / pace
            found.append((left - received, left - closed_ns, commits[commit, 1] - received, left - needed))
    return Latencies(*(np.array(found, float).reshape(-1, 4).T / 1e9))


def _received(rows: Array, at_ns: int) -> int:
    """When the first of these was received that is of a time or later."""
    return int(rows[1, np.searchsorted(np.maximum.accumulate(rows[0]), at_ns)])


def idle(settings: Settings, folder: Path, seconds: float) -> float:
    """Seconds of processor time a second of a run that has begun and settled."""
    shares: list[float] = []

    def look(live: LiveRun) -> None:
        until(lambda: begun(live))
        time.sleep(3.0)
        began, used = time.monotonic(), time.process_time()
        time.sleep(seconds)
        shares.append((time.process_time() - used) / (time.monotonic() - began))

    _run(settings, folder, look)
    return shares[0]


def memory(settings: Settings, folder: Path, count: int) -> list[tuple[int, float, float]]:
    """(trades so far, MB resident, seconds) of a run over so many trades, some hundred times."""
    samples: list[tuple[int, float, float]] = []

    def look(live: LiveRun) -> None:
        def sample() -> None:
            if not samples or live.inputs.rows - samples[-1][0] >= count // 200:
                samples.append((live.inputs.rows, resident_mb(), time.monotonic()))

        until(lambda: live.inputs.rows >= count, sample)

    _run(settings, folder, look)
    return samples


def resident_mb() -> float:
    """What the process holds in memory; where the system does not tell, the most it has held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / 1e6 if sys.platform == "darwin" else most / 1e3


def killed(settings: Settings, folder: Path, rows: int) -> None:
    """A run in a new process that is killed (`kill -9`) when so many trades are in."""
    process = get_context("spawn").Process(target=until_killed, args=(settings, folder, rows))
    process.start()
    process.join()
    if process.exitcode != -signal.SIGKILL:
        raise RuntimeError(f"the run ended by itself, with exit code {process.exitcode}")


def until_killed(settings: Settings, folder: Path, rows: int) -> None:
    """Run until so many trades are in, and kill this process."""

    def look(live: LiveRun) -> None:
        until(lambda: begun(live) and live.inputs.rows >= rows)
        os.kill(os.getpid(), signal.SIGKILL)

    _run(settings, folder, look)


def warmed(folder: Path, days: float, instruments: Sequence[str]) -> int:
    """Give every instrument of a run that was killed the features of one that has run for days, nearly all of its state; its bytes.

    The other steps and the source keep theirs, so the run goes on where it was.
    """
    # features may have columns for the figures of all instruments together; what comes after them waits for the others
    plan = Plan(Settings(), feeds=frozenset({TRADES, PRELOAD}), instruments=instruments)
    rows = trades(days, 2.0)
    with tempfile.TemporaryDirectory() as store:
        init_db_dir(store, 1)  # type: ignore[no-untyped-call]
        nothing_before = Frame(KEY, PRELOAD, FEEDS[PRELOAD].empty, FOREVER)
        data = [nothing_before, *frames(rows, 10_000, int(rows["available_at"][-1]))]
        config = RecoveryConfig(store)  # type: ignore[no-untyped-call]
        run(Memory(data), lambda market: build(market, plan), epoch_interval=timedelta(hours=1), recovery_config=config)
        with closing(sqlite3.connect(next(Path(store).glob("*.sqlite3")))) as warm:
            query = "SELECT step_id, ser_change FROM snaps WHERE state_key = ? ORDER BY snap_epoch"
            steps = {step.partition(".")[2]: state for step, state in warm.execute(query, (KEY,)).fetchall()}
    newest = {step: state for step, state in steps.items() if step.startswith("features_")}
    forget_what_was_not_reached(folder / "run" / "recovery")
    with closing(sqlite3.connect(next((folder / "run" / "recovery").glob("*.sqlite3")))) as store_, store_:
        query = "SELECT step_id, state_key, max(snap_epoch) FROM snaps WHERE step_id LIKE '%.bars' GROUP BY state_key"
        bars = store_.execute(query).fetchall()
        for step, state in newest.items():
            names = [(bars_step.replace(".bars", f".{step}"), key, epoch) for bars_step, key, epoch in bars]
            store_.executemany("DELETE FROM snaps WHERE step_id = ? AND state_key = ?", [name[:2] for name in names])
            store_.executemany(_INSERT, [(*name, state) for name in names])
    return sum(map(len, newest.values()))


class Restart(NamedTuple):
    """Seconds from the start of the process: its imports are done, the tape is read, the first trade that is new is handed out."""

    imported: float
    read: float
    first: float
    tape_rows: int


def restart(settings: Settings, folder: Path, started: float) -> Restart:
    """Go on with a run that was killed, until the first trade that it had not yet; `started` is `time.time()` before that."""
    imported = time.time() - started
    found: list[Restart] = []

    def look(live: LiveRun) -> None:
        until(live.inputs.live.is_set)
        read, before = time.time() - started, live.inputs.rows
        until(lambda: live.inputs.rows > before)
        found.append(Restart(imported, read, time.time() - started, before))

    _run(settings, folder, look)
    return found[0]


def _run(settings: Settings, folder: Path, look: Callable[[LiveRun], None]) -> None:
    with RunDirectory(folder / "run") as directory:
        live = LiveRun(settings, directory, store=directory.recovery)
        look_at(live, lambda: look(live))


def look_at(live: LiveRun, look: Callable[[], None]) -> None:
    """Run until `look`, called in a thread beside it, is done.

    Raises:
        Disagreement: the run refused rows.
    """
    with _beside(live, look):
        _nothing_refused(live.run())


def _nothing_refused(found: dict[str, Any]) -> None:
    refused = found["rows"].get("dead_letters", 0)
    if refused:
        raise Disagreement(
            f"the run refused {refused} of what the venue pushed, so it is not the run that was to be measured"
        )


@contextmanager
def _beside(live: LiveRun, look: Callable[[], None]) -> Iterator[None]:
    """Call a function in a thread, and stop the run when it is done."""
    failures: list[BaseException] = []

    def watching() -> None:
        try:
            look()
        except BaseException as error:
            failures.append(error)
        finally:
            live.inputs.stopping.set()

    thread = threading.Thread(target=watching, daemon=True)
    thread.start()
    yield
    thread.join(10)
    if failures:
        raise failures[0]


def begun(live: LiveRun) -> bool:
    """Whether the trades of all instruments come, and nothing is asked for any more."""
    feeds = list(live.inputs.exchange.feeds.values())
    return bool(feeds) and all(
        len(feed.instruments) == len(feed.symbols)
        and all(one.order.next_id is not None and one.task is None for one in feed.instruments.values())
        for feed in feeds
    )


def _let_pass(live: LiveRun, rows: int, seconds: float) -> None:
    until(lambda: live.inputs.rows >= rows)
    time.sleep(seconds)


def until(reached: Callable[[], bool], look: Callable[[], None] = lambda: None) -> None:
    """Wait until something is so, and `look` meanwhile; not for ever, and not longer than the benchmark itself."""
    ends, parent = time.monotonic() + _GIVE_UP_S, parent_process()
    while not reached():
        if time.monotonic() > ends or (parent is not None and not parent.is_alive()):
            raise TimeoutError(f"a live run has not come to where it is measured in {_GIVE_UP_S:.0f} s")
        look()
        time.sleep(_LOOK_S)
