"""Books as Binance sent them: the raw messages of captures as rows, and the best quotes that it stated beside them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from events.frames import Array
from events.rows import BOOK
from events.schema import BOOK_DELTA, BOOK_SNAPSHOT, NEVER

CAPTURES = {
    "spot BTC": ("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz"),
    "spot ETH": ("spot_ethusdt_20240808.gz", "spot_ethusdt_20240809.gz"),
    "USD-M BTC": ("hist_usdm_btcusdt_20240718.gz", "hist_usdm_btcusdt_20240719.gz"),
}


class Captured(NamedTuple):
    """The updates of a book in the order in which they came, and best quotes by update id: (bid, its size, ask, its size)."""

    updates: list[Array]
    quotes: dict[int, tuple[float, float, float, float]]

    @property
    def rows(self) -> Array:
        """All updates, each with its place among them."""
        rows = np.concatenate(self.updates)
        rows["seq"] = np.arange(len(rows))
        return rows


def update(kind: int, at: int, ids: tuple[int, int, int], bids: Any, asks: Any) -> Array:
    """The rows of one update."""
    changes = [(1, float(p), float(q)) for p, q in bids] + [(-1, float(p), float(q)) for p, q in asks]
    changes = changes or [(0, 0.0, 0.0)]
    rows = [
        (at, at, 0, *ids, price, qty, side, kind, k == len(changes) - 1, 0)
        for k, (side, price, qty) in enumerate(changes)
    ]
    return np.array(rows, BOOK)


def captured(folder: Path, name: str) -> Captured:
    """What these files hold of the book."""
    updates: list[Array] = []
    quotes: dict[int, tuple[float, float, float, float]] = {}
    for file in CAPTURES[name]:
        with gzip.open(folder / "hftbacktest" / file, "rt") as lines:
            for line in lines:
                said = json.loads(line.split(" ", 1)[1])
                data = said.get("data", said)
                if "lastUpdateId" in said:
                    at = int(updates[-1]["available_at"][0])  # when it was asked for, updates went on
                    ids = (NEVER, said["lastUpdateId"], NEVER)
                    updates.append(update(BOOK_SNAPSHOT, at, ids, said["bids"], said["asks"]))
                elif said["stream"].endswith("@bookTicker"):
                    quotes[data["u"]] = (float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"]))
                elif data["e"] == "depthUpdate":
                    ids = (data["U"], data["u"], data.get("pu", NEVER))
                    updates.append(update(BOOK_DELTA, data["E"] * 10**6, ids, data["b"], data["a"]))
    return Captured(updates, quotes)
