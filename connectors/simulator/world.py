"""The simulated market as a whole: every ledger, and the one clock that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from connectors.simulator.book_model import BookModel
from connectors.simulator.books import Books
from connectors.simulator.ledger import Ledger
from connectors.simulator.listings import Listing
from connectors.simulator.model import ModelTape, Path, Tape, Volatility, generator
from connectors.simulator.recording import RecordedTape
from events.errors import SettingsError
from events.frames import Array
from events.rows import TRADE
from events.times import DAY_NS


@dataclass
class World:
    """What is true, whatever clients are told.

    Attributes:
        ledgers: by instrument.
        books: by instrument.
        seed: of everything random.
        now_ns: the time of the market; everything before it has traded.
        funding_ns: how long a funding interval is.
    """

    ledgers: Mapping[str, Ledger]
    books: Mapping[str, Books]
    seed: int
    now_ns: int
    funding_ns: int

    @classmethod
    def of(cls, tapes: Mapping[Listing, Tape], seed: int, start_ns: int, history_ns: int, funding_ns: int) -> World:
        """The world of these tapes at its start."""
        ledgers = {
            listing.instrument: Ledger(listing, tape, start_ns - history_ns, start_ns)
            for listing, tape in tapes.items()
        }
        recorded = {listing.instrument: tape.book for listing, tape in tapes.items() if isinstance(tape, RecordedTape)}
        books = {key: recorded.get(key) or BookModel(ledger, seed) for key, ledger in ledgers.items()}
        return cls(ledgers, books, seed, start_ns, funding_ns)

    def advance(self, until_ns: int) -> dict[str, Array]:
        """Let the market trade until that time (exclusive); the new TRADE rows, by instrument."""
        self.now_ns = max(self.now_ns, until_ns)
        fresh = {instrument: ledger.until(self.now_ns) for instrument, ledger in self.ledgers.items()}
        return {instrument: rows for instrument, rows in fresh.items() if len(rows)}

    def ledger(self, instrument: str) -> Ledger:
        """The ledger of an instrument; `binanceusdm:` may be written for `binance:`.

        Raises:
            SettingsError: it is not listed.
        """
        ledger = self.ledgers.get(Listing.of(instrument).instrument)
        if ledger is None:
            raise SettingsError(f"{instrument} is not listed; listed are {', '.join(self.ledgers)}")
        return ledger

    def trade(self, instrument: str, price: float, qty: float, side: int) -> Array:
        """One trade, now; its row. Price and quantity are rounded to the instrument's steps.

        Raises:
            SettingsError: not listed, or price or quantity are not positive after rounding, or side is not +1 or -1.
        """
        ledger = self.ledger(instrument)
        asset = ledger.listing.asset
        row = np.zeros(1, TRADE)
        row["price"], row["qty"] = round(price, asset.price_decimals), round(qty, asset.qty_decimals)
        row["side"] = side
        if not (row["price"][0] > 0 and row["qty"][0] > 0 and side in (1, -1)):
            raise SettingsError(
                f"{instrument}: {qty} at {price}, side {side} is no trade: side is 1 or -1, the rest positive"
            )
        return self._now(ledger, row)

    def burst(self, instrument: str, count: int) -> Array:
        """So many trades at once, now: all in one millisecond or microsecond, as the venue counts; their rows."""
        ledger = self.ledger(instrument)
        asset = ledger.listing.asset
        r = generator(self.seed, "burst " + instrument, ledger.next_id)
        rows = np.zeros(count, TRADE)
        steps = r.integers(-1, 2, count)
        ticks = round(ledger.last_price * 10**asset.price_decimals) + np.cumsum(steps)
        rows["price"] = np.maximum(ticks, 1) / 10.0**asset.price_decimals
        rows["qty"] = r.integers(1, 1_000, count) / 10.0**asset.qty_decimals
        rows["side"] = np.where(steps >= 0, 1, -1)
        return self._now(ledger, rows)

    def _now(self, ledger: Ledger, rows: Array) -> Array:
        last = ledger.rows(ledger.next_id - 1, ledger.next_id)
        now = self.now_ns // ledger.listing.resolution_ns * ledger.listing.resolution_ns
        rows["available_at"] = rows["ts_recv"] = max(now, int(last["available_at"][0]) if len(last) else now)
        return ledger.append(rows)


def model_tapes(instruments: tuple[str, ...], seed: int, origin_ns: int, activity: float) -> dict[Listing, Tape]:
    """Tapes of the seeded model; instruments of one base asset share its price."""
    volatility = Volatility(seed, origin_ns // DAY_NS)
    paths: dict[str, Path] = {}
    tapes: dict[Listing, Tape] = {}
    for instrument in instruments:
        listing = Listing.of(instrument)
        path = paths.setdefault(listing.base, Path(volatility, listing.base, listing.asset))
        tapes[listing] = ModelTape(listing, volatility, path, activity)
    return tapes
