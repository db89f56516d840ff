"""What the partitions of all sinks share: rows that wait, ordinals, and how to end after a failure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Generic, TypeVar

from bytewax.outputs import StatefulSinkPartition

from connectors.pending import Ordinals, OrdinalState, Pending
from events.frames import Frame
from events.streams import Stream

_State = TypeVar("_State")


class BufferedPartition(StatefulSinkPartition[Frame, _State], Generic[_State]):
    """A sink partition that keeps rows back until a batch is full or an epoch ends."""

    def __init__(self, streams: Mapping[str, Stream], ordinals: OrdinalState) -> None:
        self._ordinals = Ordinals(ordinals)
        self._pending = Pending(streams)
        self._failed = self._closed = False

    @abstractmethod
    def _sentences(self) -> AbstractContextManager[None]:
        """Turns what the store raises into errors that say what to do."""

    @abstractmethod
    def _finish(self) -> None:
        """Write what waits, and make it durable."""

    @abstractmethod
    def _release(self) -> None:
        """Close what is open; never raises."""

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            with self._sentences():
                yield
        except BaseException:
            self._failed = True
            raise

    def close(self) -> None:
        """Write what waits, and close; a second call does nothing.

        At the end of a bounded run a snapshot comes before this. Otherwise the flow failed, and the engine aborts the
        process, and loses the message, if another exception comes from here: what cannot be written is left to the
        resumed run.
        """
        if self._closed:
            return
        self._closed = True
        with suppress(Exception):
            if not self._failed:
                self._finish()
        self._release()
