"""Figures of fear and greed, one a day, as the site that makes them serves them."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from connectors.simulator.quotes import fear_greed
from connectors.simulator.world import World
from events.times import DAY_NS, SECOND_NS

PATH: Final = "/fng/"
_KINDS: Final = (
    (25, "Extreme Fear"),
    (46, "Fear"),
    (55, "Neutral"),
    (75, "Greed"),
    (101, "Extreme Greed"),
)  # up to these, exclusive


class Context:
    """`GET /fng/?limit=N`: the newest N days, 1 if not given and all of a year if 0, newest first."""

    def __init__(self, world: World) -> None:
        self._world = world

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the path."""
        router.add_get(PATH, self._figures)

    async def _figures(self, request: web.Request) -> web.Response:
        limit = request.query.get("limit", "1")
        if not limit.isdecimal():
            return web.json_response({"metadata": {"error": "limit is not a number"}}, status=400)
        today = self._world.now_ns // DAY_NS
        figures = {day: fear_greed(self._world.seed, day) for day in range(today, today - (int(limit) or 365), -1)}
        data = [
            {
                "value": str(value),
                "value_classification": next(name for end, name in _KINDS if value < end),
                "timestamp": str(day * DAY_NS // SECOND_NS),
            }
            for day, value in figures.items()
        ]
        return web.json_response({"name": "Fear and Greed Index", "data": data, "metadata": {"error": None}})
