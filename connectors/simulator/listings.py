"""What the local exchange lists: instruments, their steps of price and quantity, and how lively they are."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from events.errors import SettingsError

VENUES: Final = {"binance": ("binance", "binanceusdm"), "kraken": ("kraken",)}
"""The venues there are, each with the ccxt ids of the clients that talk to it."""

DEFAULT_INSTRUMENTS: Final = (
    "binance:BTC/USDT",
    "binance:ETH/USDT",
    "binance:SOL/USDT",
    "binance:DOGE/USDT",
    "binance:LTC/USDT",
    "binance:BTC/USDT:USDT",
    "binance:ETH/USDT:USDT",
    "kraken:BTC/USD",
    "kraken:ETH/USD",
    "kraken:ADA/USD",
)


@dataclass(frozen=True)
class Asset:
    """How the price of a base asset behaves.

    Attributes:
        price: where it begins, in quote.
        price_decimals: digits after the point of a price.
        qty_decimals: digits after the point of a quantity.
        daily_volatility: of log returns, as a fraction.
        trades_per_minute: on average, of one listing.
    """

    price: float = 1.0
    price_decimals: int = 5
    qty_decimals: int = 1
    daily_volatility: float = 0.05
    trades_per_minute: float = 2.0


ASSETS: Final = {
    "BTC": Asset(60_000.0, 2, 5, 0.025, 40.0),
    "ETH": Asset(3_000.0, 2, 4, 0.035, 30.0),
    "SOL": Asset(150.0, 2, 3, 0.045, 15.0),
    "DOGE": Asset(0.15, 5, 0, 0.055, 4.0),
    "ADA": Asset(0.45, 6, 8, 0.05, 1.0),
    "LTC": Asset(80.0, 2, 3, 0.04, 0.5),
}
"""By base asset."""


def asset_of(base: str) -> Asset:
    """That of the table, or for any other base one that is more or less lively, by its name.

    >>> asset_of("BTC").price, asset_of("ABC").price, asset_of("ABC").trades_per_minute > asset_of("XYZ").trades_per_minute
    (60000.0, 1.0, True)
    """
    if base in ASSETS:
        return ASSETS[base]
    share = zlib.crc32(base.encode()) / 2**32
    return Asset(trades_per_minute=round(0.25 * 32**share, 3))


@dataclass(frozen=True)
class Listing:
    """One instrument of a venue.

    >>> listing = Listing.of("binance:BTC/USDT:USDT")
    >>> listing.venue, listing.market_id, listing.linear
    ('binance', 'BTCUSDT', True)
    """

    venue: str
    base: str
    quote: str
    linear: bool
    asset: Asset

    @classmethod
    def of(cls, instrument: str, asset: Asset | None = None) -> Listing:
        """The listing of `exchange:BASE/QUOTE`, or of `exchange:BASE/QUOTE:QUOTE` for a linear perpetual.

        `binanceusdm:` may be written for `binance:`. An asset given replaces that of the table.

        Raises:
            SettingsError: no venue that is simulated, or not an instrument.
        """
        exchange, _, symbol = instrument.partition(":")
        pair, _, settle = symbol.partition(":")
        base, slash, quote = pair.partition("/")
        venue = next((name for name, ids in VENUES.items() if exchange in ids), None)
        if venue is None:
            raise SettingsError(
                f"{instrument!r}: exchange {exchange!r} is not simulated; there are {', '.join(VENUES)}"
            )
        if not (slash and base and quote) or settle not in ("", quote) or (settle and venue != "binance"):
            raise SettingsError(
                f"{instrument!r} is not listed anywhere: write binance:BTC/USDT, binance:BTC/USDT:USDT or kraken:BTC/USD"
            )
        asset = asset or asset_of(base)
        if venue == "kraken":
            asset = replace(asset, qty_decimals=8)  # of every pair
        return cls(venue, base, quote, bool(settle), asset)

    @property
    def instrument(self) -> str:
        """`exchange:symbol`, with ccxt's unified symbol."""
        return f"{self.venue}:{self.symbol}"

    @property
    def symbol(self) -> str:
        """The unified symbol, as ccxt writes it."""
        return f"{self.base}/{self.quote}" + (f":{self.quote}" if self.linear else "")

    @property
    def market_id(self) -> str:
        """The venue's name of it in REST requests."""
        if self.venue == "binance":
            return self.base + self.quote
        base, quote = kraken_asset(self.base), kraken_asset(self.quote)
        if base[0] == "X" and quote[0] == "Z":
            return base + quote
        return kraken_altname(self.base) + kraken_altname(self.quote)

    @property
    def tick(self) -> float:
        """The step of its price."""
        return float(f"1e-{self.asset.price_decimals}")

    @property
    def resolution_ns(self) -> int:
        """The venue's times are multiples of it."""
        return 1_000_000 if self.venue == "binance" else 1_000

    def level_texts(self, levels: Iterable[tuple[int, int]]) -> Iterator[tuple[str, str]]:
        """Prices in ticks with quantities in lots, as the venue writes them.

        >>> list(Listing.of("binance:BTC/USDT").level_texts([(6_000_001, 250_000)]))
        [('60000.01', '2.50000')]
        """
        price, qty = self.asset.price_decimals, self.asset.qty_decimals
        tick, lot = 10**price, 10**qty
        for ticks, lots in levels:
            yield f"{ticks / tick:.{price}f}", f"{lots / lot:.{qty}f}"

    def price_text(self, price: float) -> str:
        """A price as the venue writes it."""
        return f"{price:.{self.asset.price_decimals}f}"

    def qty_text(self, qty: float) -> str:
        """A quantity as the venue writes it."""
        return f"{qty:.{self.asset.qty_decimals}f}"


def kraken_altname(code: str) -> str:
    """Kraken's other name of an asset: `XBT` for BTC, `XDG` for DOGE."""
    return {"BTC": "XBT", "DOGE": "XDG"}.get(code, code)


def kraken_asset(code: str) -> str:
    """Kraken's name of an asset: the old ones begin with X, or with Z if they are money.

    >>> kraken_asset("BTC"), kraken_asset("USD"), kraken_asset("SOL")
    ('XXBT', 'ZUSD', 'SOL')
    """
    altname = kraken_altname(code)
    if altname in ("XBT", "ETH", "LTC", "XDG", "XRP"):
        return "X" + altname
    return "Z" + altname if altname in ("USD", "EUR", "GBP") else altname
