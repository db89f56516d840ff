"""The one place where the engine meets the cores; nothing else under `operators` imports Bytewax."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import bytewax.operators as op
from bytewax.operators import KeyedStream, StatefulBatchLogic

from events.errors import StateMismatch, StepError
from events.frames import Frame
from events.identity import tree_hash
from events.schema import LEAVE, SCHEMA_VERSION
from operators.core import Core, Stage
from operators.ordered import Ordered

log = logging.getLogger(__name__)
Frames = KeyedStream[Frame]


def _plain(parameter: Any) -> Any:
    """A parameter as plain data: by its `identity()`, where it has one."""
    if hasattr(parameter, "identity"):
        return parameter.identity()
    return [_plain(item) for item in parameter] if isinstance(parameter, tuple | list) else parameter


def _share(rows: Any) -> None:
    if type(rows) is not tuple:
        rows.setflags(False)


class _Logic(StatefulBatchLogic[Frame, Frame, Any]):
    """One stage for one instrument. Its snapshots are (schema version, hash of the step's settings, payload)."""

    def __init__(self, step: str, identity: str, build: Callable[[], Stage], resume: Any) -> None:
        self.step, self.identity, self.build, self.stage = step, identity, build, build()
        self.gone: set[str] = (
            set()
        )  # the streams on which the instrument has left the universe, while others lag behind
        self.later: list[Frame] = []  # what came on them since: it is of the instrument when it has joined again
        self.fresh = True  # whether nothing was pushed into the stage
        if resume is not None:
            schema, settings, payload = resume
            if (schema, settings) != (SCHEMA_VERSION, identity):
                raise StateMismatch(
                    f"step {step!r}: its stored state is of schema {schema} and settings {settings}, this program has "
                    f"schema {SCHEMA_VERSION} and settings {identity}. Go back to the settings of the stored run, or start over."
                )
            held, gone, later = payload
            self.stage.restore(held)
            self.gone, self.later, self.fresh = set(gone), list(later), False

    def on_batch(self, values: list[Frame]) -> tuple[Iterable[Frame], bool]:
        try:
            out: list[Frame] = []
            for frame in values:
                self._push(frame, out)
            if not self.fresh:
                out += self.stage.advance()
        except Exception as error:
            said = f"step {self.step!r} stopped the flow at {values[0].instrument}: {type(error).__name__}: {error}"
            log.exception(said)  # Bytewax loses tracebacks between processes, so it is told here
            raise StepError(said) from error
        for frame in out:
            _share(frame.rows)  # branches of the graph share them
        return out, StatefulBatchLogic.DISCARD if self.fresh else StatefulBatchLogic.RETAIN

    def _push(self, frame: Frame, out: list[Frame]) -> None:
        if self.gone and frame.name in self.gone:
            self.later.append(frame)
            return
        _share(frame.rows)  # arrays come writeable from sources and from other processes
        self.stage.push(frame)
        self.fresh = False
        if len(frame.control) and LEAVE in frame.control["kind"]:
            self.gone.add(frame.name)
            out += self.stage.advance()
            if self.stage.left:
                self.stage, self.fresh = self.build(), True
                later, self.later, self.gone = self.later, [], set()
                for held in later:
                    self._push(held, out)

    def on_eof(self) -> tuple[Iterable[Frame], bool]:
        """Nothing: the end of a run is not an event of the market."""
        return (), StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        payload = self.stage.snapshot(), tuple(sorted(self.gone)), tuple(self.later)
        return SCHEMA_VERSION, self.identity, payload


def staged(step: str, build: Callable[[], Stage], settings: Any, *ups: Frames) -> Frames:
    """Run a stage for every instrument.

    Args:
        step: the id of the step, a constant: stored state is found by it.
        build: makes the stage of one instrument.
        settings: plain data that decides what the stage computes; stored state of other settings is refused.
        ups: the streams of frames it takes, in any order.
    """
    identity = tree_hash(settings)
    up = merge(f"{step}_in", *ups)
    return op.stateful_batch(step, up, lambda resume: _Logic(step, identity, build, resume))


def keyed(
    step: str, core: Callable[..., Core], parameters: tuple[Any, ...], streams: tuple[str, ...], *ups: Frames
) -> Frames:
    """Run `core(*parameters)` for every instrument behind the ordered merge of `streams`, the first of which drives.

    `parameters` are plain data or say what they are with a method `identity()`.
    """
    settings = [core.__name__, _plain(parameters), list(streams)]
    return staged(step, lambda: Ordered(core(*parameters), streams), settings, *ups)


def route(step: str, up: Frames, where: Callable[[Frame], Iterable[tuple[str, Frame]]]) -> Frames:
    """For each frame the frames under the keys that `where` says."""
    return op.flat_map(step, up, lambda item: where(item[1]))


def home(step: str, up: Frames) -> Frames:
    """The frames under the keys of their own instruments."""
    return op.map(step, up, lambda item: (item[1].instrument, item[1]))


def merge(step: str, *ups: Frames) -> Frames:
    """All frames in any order, which is order enough for `keyed`."""
    return ups[0] if len(ups) == 1 else op.merge(step, *ups)


def omit(step: str, up: Frames, *names: str) -> Frames:
    """All frames but those of these streams."""
    return op.filter(step, up, lambda item: item[1].name not in names)


def pick(step: str, up: Frames, *names: str) -> Frames:
    """The frames of these streams."""
    return op.filter(step, up, lambda item: item[1].name in names)


def part(step: str, up: Frames, *names: str) -> tuple[Frames, Frames]:
    """The frames of these streams, and all others: what `pick` and `omit` give, in one pass."""
    parted = op.branch(step, up, lambda item: item[1].name in names)
    return parted.trues, parted.falses
