"""The exchange's own paths, under `/_simulator`: the truth, and the knobs, for who runs it as a process. Loopback only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from connectors.simulator.venue import Venue
from connectors.simulator.world import World
from events.errors import TidewaxError
from events.frames import Array
from events.times import SECOND_NS

_PAGE: Final = 10_000
_COLUMNS: Final = ("available_at", "trade_id", "price", "qty", "side")


class Admin:
    """`GET /_simulator` says how things are; what each other path takes and gives, its method says."""

    def __init__(
        self,
        world: World,
        venues: Mapping[str, Venue],
        fault: Callable[[str, float | None, str | None], None],
        advance: Callable[[int], None],
        published: Callable[[Array, str], Array],
    ) -> None:
        self._world, self._venues = world, venues
        self._fault, self._advance, self._published = fault, advance, published

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the paths."""
        router.add_get("/_simulator", self._guarded(self.state))
        router.add_get("/_simulator/traded", self._guarded(self.traded))
        router.add_post("/_simulator/{action:fault|clear|trade|burst|advance}", self._guarded(self.act))

    def _guarded(self, answer: Callable[[str, Mapping[str, Any]], Any]) -> Callable[[web.Request], Any]:
        async def guarded(request: web.Request) -> web.Response:
            if request.remote not in ("127.0.0.1", "::1"):
                return web.json_response({"error": "only from this machine"}, status=403)
            try:
                given = dict(request.query) | (json.loads(await request.text()) if request.can_read_body else {})
                return web.json_response(answer(request.match_info.get("action", ""), given))
            except (TidewaxError, ValueError, TypeError, KeyError) as error:
                return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)

        return guarded

    def state(self, _: str, __: Mapping[str, Any]) -> Any:
        """Time, next ids; of each venue connections, streams, counts, faults, and how often each of these happened."""
        return {
            "now_ns": self._world.now_ns,
            "next_ids": {key: ledger.next_id for key, ledger in self._world.ledgers.items()},
            "venues": {
                name: {
                    "connections": [list(session.streams) for session in venue.sessions],
                    "counts": dict(venue.counts),
                    "faults": {fault: str(value) for fault, value in venue.faults.values.items()},
                    "happened": dict(+venue.faults.happened),
                }
                for name, venue in self._venues.items()
            },
        }

    def traded(self, _: str, given: Mapping[str, Any]) -> Any:
        """Columns of what traded since the start, from id `from_id` on, 10,000 at most; `next_id` is where to go on."""
        ledger = self._world.ledger(str(given["instrument"]))
        first = max(int(given.get("from_id", 0)), ledger.first_live_id)
        rows = ledger.rows(first, first + _PAGE)
        columns = {name: rows[name].tolist() for name in _COLUMNS}
        return columns | {"next_id": first + len(rows), "complete": first + len(rows) == ledger.next_id}

    def act(self, action: str, given: Mapping[str, Any]) -> Any:
        """Do as the methods of `Exchange` of that name do, with their arguments as a JSON object."""
        if action == "fault":
            value = given.get("value")
            self._fault(str(given["name"]), None if value is None else float(value), given.get("venue"))
        elif action == "clear":
            for name, venue in self._venues.items():
                if given.get("venue") in (None, name):
                    venue.faults.clear(given.get("name"))
        elif action == "advance":
            self._advance(self._world.now_ns + round(float(given["seconds"]) * SECOND_NS))
        else:
            instrument = str(given["instrument"])
            if action == "burst":
                rows = self._world.burst(instrument, int(given["count"]))
            else:
                rows = self._world.trade(instrument, float(given["price"]), float(given["qty"]), int(given["side"]))
            self._published(rows, instrument)
        return {"now_ns": self._world.now_ns}
