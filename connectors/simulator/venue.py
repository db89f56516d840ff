"""What venues have in common: connections, and the faults that stand between the market and its clients."""

from __future__ import annotations

import asyncio
import inspect
import json
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

from aiohttp import WSMsgType, web

from connectors.simulator.faults import Answer, Faults
from connectors.simulator.ledger import Ledger
from connectors.simulator.session import Session
from connectors.simulator.world import World
from events.frames import Array


class Refused(Exception):
    """A request that is answered with an error of the venue."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(str(body))
        self.status, self.body = status, body


class Venue(ABC):
    """One venue: its REST answers and its streams.

    Attributes:
        name: of the venue.
        faults: its knobs.
        sessions: open connections, in the order in which they were opened.
        counts: of requests by path, of `dials`, and of those that a fault answered (`faulted`).
        requests: the last paths with their queries.
    """

    name: ClassVar[str]

    def __init__(self, world: World, changed: Callable[[], None]) -> None:
        self.world, self._changed = world, changed
        self.faults = Faults(world.seed)
        self.sessions: dict[Session, None] = {}
        self.counts: Counter[str] = Counter()
        self.requests: deque[str] = deque(maxlen=10_000)
        self.ledgers: dict[str, Ledger] = {
            key: ledger for key, ledger in world.ledgers.items() if ledger.listing.venue == self.name
        }

    @abstractmethod
    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the paths of the venue."""

    @abstractmethod
    def answer(self, path: str, query: Mapping[str, str]) -> Any:
        """What a REST request gets, as JSON, or what is awaited for it.

        Raises:
            Refused: with an error.
        """

    @abstractmethod
    def received(self, session: Session, message: Any) -> None:
        """Take a message of a client."""

    @abstractmethod
    def frames(self, wanted: Mapping[str, None], fresh: Mapping[str, Array]) -> dict[str, list[str]]:
        """The frames of each of these streams, after these rows have traded; time may have passed without any."""

    @abstractmethod
    def streams_of(self, ledger: Ledger) -> tuple[str, ...]:
        """The streams of its trades."""

    @abstractmethod
    def config(self, url: str, client: str) -> dict[str, Any]:
        """What a ccxt client of that id is to be constructed with, to talk to the server at that URL alone."""

    @property
    def client_now_ns(self) -> int:
        """The time that clients are told."""
        self.faults.met("clock-skew")
        return self.world.now_ns + self.faults.ns("clock-skew")

    @property
    def history_ns(self) -> int:
        """The time until which REST knows what has traded."""
        return self.world.now_ns - self.faults.ns("rest-lag")

    def history_end(self, ledger: Ledger) -> int:
        """The first id that REST does not know yet."""
        end = ledger.id_at(self.history_ns + 1) if "rest-lag" in self.faults else ledger.next_id
        self.faults.happened["rest-lag"] += end < ledger.next_id
        return end

    def publish(self, fresh: Mapping[str, Array]) -> None:
        """Tell every connection what has traded, as far as faults let it."""
        wanted = {stream: None for session in self.sessions for stream in session.streams}
        frames = self.frames(wanted, {key: rows for key, rows in fresh.items() if key in self.ledgers})
        for session in self.sessions:
            mine = [frame for stream in session.streams for frame in frames.get(stream, ())]
            self.tell(session, mine)

    def tell(self, session: Session, frames: list[str]) -> None:
        """Send market data to one connection, as far as faults let it."""
        if frames:
            session.heard_ns = self.world.now_ns
            session.send(self.faults.frames(frames))

    async def rest(self, request: web.Request) -> web.StreamResponse:
        """Answer a REST request."""
        self.counts[request.path] += 1
        self.requests.append(request.path_qs)
        answer = self.faults.request(self.is_history(request.path))
        if answer is not None:
            self.counts["faulted"] += 1
            return _response(answer)
        query: Mapping[str, str] = request.query
        if request.method == "POST":
            query = {**request.query, **{key: str(value) for key, value in (await request.post()).items()}}
        try:
            body, status = self.answer(request.path, query), 200
            if inspect.isawaitable(body):
                body = await body
        except Refused as refused:
            body, status = refused.body, refused.status
        return web.json_response(body, status=status, headers={"X-MBX-USED-WEIGHT-1M": "1"})

    @abstractmethod
    def is_history(self, path: str) -> bool:
        """Whether that path gives trades or klines."""

    async def dial(self, request: web.Request) -> web.StreamResponse:
        """Serve a websocket connection."""
        self.counts["dials"] += 1
        answer = self.faults.dial()
        if answer is not None:
            self.counts["faulted"] += 1
            return _response(answer)
        websocket = web.WebSocketResponse(autoping=False, compress=False, timeout=1.0)
        try:
            await websocket.prepare(request)
        except ConnectionError:
            return websocket  # it is gone already
        session = self.opened(request, websocket)
        self.sessions[session] = None
        writer = asyncio.create_task(session.write())
        self._changed()
        try:
            await self._read(session)
        finally:
            del self.sessions[session]
            writer.cancel()
            self._changed()
            with suppress(asyncio.CancelledError):
                await writer
        return websocket

    def opened(self, request: web.Request, websocket: web.WebSocketResponse) -> Session:
        """The session of a new connection."""
        return Session(request, websocket)

    async def _read(self, session: Session) -> None:
        async for message in session.websocket:
            if message.type is WSMsgType.PING:
                if not self.faults.met("no-pong"):
                    await session.websocket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                try:
                    data = json.loads(message.data)
                except ValueError:
                    continue
                if isinstance(data, dict):
                    self.received(session, data)
                    self._changed()


def _response(answer: Answer) -> web.Response:
    headers = {} if answer.retry_after_s is None else {"Retry-After": str(answer.retry_after_s)}
    return web.Response(status=answer.status, text=answer.text, content_type=answer.content_type, headers=headers)
