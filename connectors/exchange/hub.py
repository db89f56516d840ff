"""The one thread of a process in which all feeds run, with a loop of its own, so that the engine never waits for the network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import ccxt

from connectors.exchange.feed import Feed

_CLOSING_S = 5.0
_T = TypeVar("_T")


class Hub:
    """Runs feeds. The thread starts with the first one and ends with the last one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Feed, Future[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self, feed: Feed) -> None:
        """Run a feed; what ends it is in its `error`."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop.set_exception_handler(self._strange)
                self._thread = threading.Thread(target=self._run, args=(self._loop,), name="exchange-hub", daemon=True)
                self._thread.start()
            self._running[feed] = asyncio.run_coroutine_threadsafe(_guarded(feed), self._loop)

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run something on the loop of the feeds, of which at least one runs."""
        assert self._loop is not None, "no feed runs"
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self, feed: Feed) -> None:
        """End a feed and close its connections; does nothing if it does not run."""
        with self._lock:
            running = self._running.pop(feed, None)
            if running is None or self._loop is None or self._thread is None:
                return
            if not running.done():
                self._loop.call_soon_threadsafe(running.cancel)
                with suppress(Exception, asyncio.CancelledError):
                    feed.closed.wait(_CLOSING_S)
            if not self._running:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join(_CLOSING_S)
                self._loop = self._thread = None

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    def _strange(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody caught, most likely where a message is received: that connection would stay open and silent."""
        error = context.get("exception")
        if error is None or isinstance(error, ccxt.BaseError):
            return  # of a future that nobody waited for, told already to whom it concerns
        for feed in list(self._running):
            beside = [feed.beside.client] if feed.beside.client is not None else []
            clients = [feed.client, *beside, *(connection.client for connection in feed.books.connections)]
            for connection in [connection for client in clients for connection in client.clients.values()]:
                connection.on_error(ccxt.NetworkError(f"{feed.exchange}: a message could not be read: {error!r}"))


async def _guarded(feed: Feed) -> None:
    try:
        await feed.run()
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        feed.error = error
    finally:
        feed.closed.set()
