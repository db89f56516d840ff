"""What tests of live books share: books made of nothing but rows, and recorded frames of books as the venues of today push them."""

from __future__ import annotations

import json
import zipfile

import numpy as np

from connectors.exchange.book_rows import packed, unpacked
from connectors.exchange.book_state import BookState
from connectors.exchange.taps import TradeReader
from events.schema import BOOK_SNAPSHOT, NEVER

PLAIN = TradeReader(lambda trade: 0, lambda trade: 0)


class Rebuilt:
    """A book as whoever takes the rows in makes it, by the plainest means: a snapshot, and the updates with higher ids."""

    def __init__(self):
        self.sides, self._updates = {1: {}, -1: {}}, []

    def take(self, rows):
        """The rows of one update."""
        if rows["kind"][0] == BOOK_SNAPSHOT:
            self.sides = {1: {}, -1: {}}
            self._apply(rows)
            later = [update for update in self._updates if update["u_last"][0] > rows["u_last"][0]]
            for update in later:
                self._apply(update)
            self._updates = []
        else:
            self._updates.append(rows)
            self._apply(rows)

    def _apply(self, rows):
        for price, qty, side in rows[["price", "qty", "side"]].tolist():
            if qty:
                self.sides[side][price] = qty
            elif side:
                self.sides[side].pop(price, None)

    def best(self, n=None):
        """(bids, asks), the best first."""
        bids, asks = self.sides[1], self.sides[-1]
        return sorted(bids.items(), reverse=True)[:n], sorted(asks.items())[:n]


def updates_of(rows):
    """Rows cut into updates."""
    return np.split(rows, np.flatnonzero(rows["last"])[:-1] + 1)


class Follower:
    """Follows recorded updates as `Books` does: state, levels that are let go, rows, and the book made of those."""

    def __init__(self, state: BookState, read=PLAIN):
        self.state, self.read, self.rebuilt, self.seq, self.updates = state, read, Rebuilt(), 0, 0

    def take(self, update, received=1):
        new = (self.state.snapshot if update.kind == BOOK_SNAPSHOT else self.state.delta)(update)
        bids, asks = self.state.cut()
        gone = {"bids": [(price, 0.0) for price in bids], "asks": [(price, 0.0) for price in asks]}
        update = update._replace(bids=update.bids + gone["bids"], asks=update.asks + gone["asks"])
        data, n = packed(update, update.at_ns, received, self.seq, self.read)
        self.seq, self.updates = self.seq + n, self.updates + 1
        rows = unpacked([data])
        assert len(rows) == n
        self.rebuilt.take(rows)
        return new


def binance_texts(session):
    """The frames of depth of a combined stream, as they come without its envelope."""
    data = [frame["data"] for frame in session.frames["/stream"]]
    return [json.dumps(found) for found in data if found.get("e") == "depthUpdate"]


def bybit_texts(session, path):
    """The frames of books of one connection."""
    frames = session.frames[path]
    return [json.dumps(frame) for frame in frames if str(frame.get("topic")).startswith("orderbook")]


def ob500_texts(folder):
    """Frames of a book of 500 levels."""
    with zipfile.ZipFile(folder / "nautilus" / "xrpusdt-ob500.data.zip") as file:
        return file.read(file.namelist()[0]).decode().splitlines()


def okx_texts(session):
    """The frames of books."""
    frames = [frame for frame in session.frames["/ws/v5/public"] if isinstance(frame, dict)]
    return [json.dumps(frame) for frame in frames if frame.get("arg", {}).get("channel") == "books" and "data" in frame]


def coinbase_texts(session):
    """The books of the Advanced Trade API in the form in which that of the Exchange, which is read, pushes them."""
    out = []
    for frame in session.frames[""]:
        for event in frame["events"] if frame.get("channel") == "l2_data" else ():
            told, updates = {"product_id": event["product_id"]}, event["updates"]
            if event["type"] == "snapshot":
                levels = {"bid": [], "offer": []}
                for update in updates:
                    levels[update["side"]].append([update["price_level"], update["new_quantity"]])
                told |= {"type": "snapshot", "bids": levels["bid"], "asks": levels["offer"]}
            else:
                sides = {"bid": "buy", "offer": "sell"}
                changes = [[sides[u["side"]], u["price_level"], u["new_quantity"]] for u in updates]
                told |= {"type": "l2update", "changes": changes, "time": updates[0]["event_time"]}
            out.append(json.dumps(told))
    return out


def kraken_texts(session):
    """(texts, digits of prices by market): books of the first websocket API in the form of the second, checksums as they were."""
    out, digits = [], {}
    for frame in session.frames[""]:
        if not isinstance(frame, list) or not str(frame[-2]).startswith("book"):
            continue
        name = frame[-1].replace("XBT", "BTC")
        told, kind, newest = {"symbol": name, "bids": [], "asks": []}, "update", "0"
        for field, levels in [item for part in frame[1:-2] for item in part.items()]:
            if field == "c":
                told["checksum"] = int(levels)
                continue
            kind = "snapshot" if field in ("as", "bs") else "update"
            told["asks" if field[0] == "a" else "bids"] = [
                {"price": float(level[0]), "qty": float(level[1])} for level in levels
            ]
            digits |= {name: len(levels[0][0].partition(".")[2])} if levels else {}
            newest = max([newest, *(level[2] for level in levels)])
        if kind == "update":
            told["timestamp"] = str(np.datetime64(round(float(newest) * 1e6), "us")) + "Z"
        out.append(json.dumps({"channel": "book", "type": kind, "data": [told]}))
    return out, digits


class Kept:
    """A book by the rules of the specification: whole after a snapshot, stale after a break. Source: file 04 section 1.

    Attributes:
        state: "empty", "whole" or "stale".
        id: of the newest update in it.
        breaks: how often it became stale.
    """

    def __init__(self):
        self.state, self.id, self.breaks, self.sides = "empty", NEVER, 0, {1: {}, -1: {}}
        self._buffer = []

    def take(self, rows):
        """The rows of one update."""
        if rows["kind"][0] == BOOK_SNAPSHOT:
            self.sides, self.state, self.id, self._fresh = {1: {}, -1: {}}, "whole", int(rows["u_last"][0]), True
            self._apply(rows)
            later, self._buffer = self._buffer, []
            for update in later:
                if update["u_last"][0] > self.id:
                    self._update(update)
        else:
            self._update(rows)

    def _update(self, rows):
        if self.state != "whole":
            self._buffer = [*self._buffer, rows][-5_000:]
            return
        first, last, prev = (int(rows[name][0]) for name in ("u_first", "u_last", "u_prev"))
        if last != NEVER:
            if last <= self.id:
                return
            begins = first - 1 if prev == NEVER else prev
            if not (begins <= self.id if self._fresh or prev == NEVER else begins == self.id):
                self._stale()
                self._buffer = [rows]
                return
            self.id, self._fresh = last, False
        self._apply(rows)

    def _apply(self, rows):
        for price, qty, side in rows[["price", "qty", "side"]].tolist():
            if qty:
                self.sides[side][price] = qty
            elif side:
                self.sides[side].pop(price, None)
        bids, asks = self.sides[1], self.sides[-1]
        if bids and asks and max(bids) >= min(asks):
            self._stale()

    def _stale(self):
        self.state, self.breaks = "stale", self.breaks + 1

    def best(self, n=None):
        """(bids, asks), the best first."""
        bids, asks = self.sides[1], self.sides[-1]
        return sorted(bids.items(), reverse=True)[:n], sorted(asks.items())[:n]
