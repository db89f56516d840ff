"""One websocket connection of a client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from aiohttp import web

_OUTBOX: Final = 500_000
"""Frames that wait for a client at most; one that is slower is thrown out, as real exchanges do."""


class Session:
    """Sends frames in order, from a queue of its own, so that a slow client holds up nobody.

    Attributes:
        streams: what it subscribed to, in that order.
        heard_ns: time of the market when market data was last sent to it.
    """

    def __init__(self, request: web.Request, websocket: web.WebSocketResponse, prefix: str = "") -> None:
        self._request, self.websocket, self.prefix = request, websocket, prefix
        self.streams: dict[str, None] = {}
        self.heard_ns = 0
        self._outbox: deque[str] = deque()
        self._waiting, self._closing = asyncio.Event(), False

    def send(self, frames: Iterable[str]) -> None:
        """Put frames into the queue."""
        self._outbox.extend(frames)
        self._waiting.set()
        if len(self._outbox) > _OUTBOX:
            self.abort()

    async def write(self) -> None:
        """Send what is in the queue, until the connection is gone."""
        try:
            while True:
                await self._waiting.wait()
                self._waiting.clear()
                while self._outbox:
                    await self.websocket.send_str(self._outbox.popleft())
                if self._closing:
                    await self.websocket.close(code=1001, message=b"going away")
                    return
        except ConnectionError:
            return  # the reading side sees it too, and ends the session

    def close_soon(self) -> None:
        """Close it cleanly, after what is in the queue: code 1001, as of a server that is restarted."""
        self._closing = True
        self._waiting.set()

    def abort(self) -> None:
        """Drop it without a word."""
        if self._request.transport is not None:
            self._request.transport.abort()
