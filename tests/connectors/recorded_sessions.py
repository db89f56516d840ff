"""Plays recorded sessions of real exchanges to clients: REST answers by their path, frames of trades to who subscribed."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from aiohttp import WSMsgType, web


def market(symbol, name, **more):
    """A market as ccxt has it; not all sessions have a list of them that it can read."""
    base, _, rest = symbol.partition("/")
    quote, _, settle = rest.partition(":")
    kind = {"type": "swap" if settle else "spot", "spot": not settle, "swap": bool(settle), "contract": bool(settle)}
    linear = {"linear": settle == quote, "inverse": settle == base} if settle else {}
    precision = {"precision": {"price": 0.01, "amount": 1e-8}, "limits": {}, "info": {}, "active": True}
    named = {"id": name, "lowercaseId": name.lower(), "symbol": symbol, "base": base, "quote": quote, "settle": settle}
    return {**named, **kind, **linear, **precision, **more}


class Session:
    """A recorded session: its REST answers, and what came in on the connections to each path."""

    def __init__(self, path):
        self.answers, self.frames, paths = [], {}, {}
        with pa.CompressedInputStream(str(path), "zstd") as lines:
            for line in lines.read().decode().splitlines():
                record = json.loads(line)
                if record["t"] == "http":
                    url = urlsplit(record["url"])
                    self.answers.append((url.path, dict(parse_qsl(url.query)), record["data"]))
                elif record["t"] == "connect":
                    paths[record["conn"]] = urlsplit(record["addr"]).path
                elif record["t"] == "recv":
                    self.frames.setdefault(paths[record["conn"]], []).append(json.loads(record["data"]))

    def answer(self, path, query):
        """The answer to the request that shares most with this one and contradicts it nowhere; nothing, if there is none."""
        fitting = [
            (sum(query.get(key) == value for key, value in asked.items()), text)
            for recorded, asked, text in self.answers
            if recorded.rstrip("/") == path.rstrip("/")
            and all(query.get(key, value) == value for key, value in asked.items())
        ]
        return max(fitting)[1] if fitting else '{"retCode":0,"code":"0","result":{"list":[]},"data":[],"products":[]}'


@asynccontextmanager
async def played(session, path, sent):
    """Serve it: every connection that subscribes is sent, in order, what `sent` makes of the frames that came in on `path`.

    `sent` gives None for a frame that is left out.
    """

    async def rest(request):
        return web.Response(text=session.answer(request.path, dict(request.query)), content_type="application/json")

    async def connection(request):
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        begun = False
        async for message in websocket:
            if message.type is WSMsgType.TEXT and not begun and "subscribe" in message.data.lower():
                begun = True
                for frame in filter(None, map(sent, session.frames[path])):
                    await websocket.send_json(frame)
        return websocket

    async def either(request):
        return await (connection if request.headers.get("Upgrade", "").lower() == "websocket" else rest)(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", either)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
