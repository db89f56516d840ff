"""Which instrument a file is of: from its rows, from its name, or as the user says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from events.errors import InputError

QUOTES: Final = (
    *(
        "FDUSD",
        "USDT",
        "USDC",
        "BUSD",
        "TUSD",
        "USDP",
        "USDD",
        "USDS",
        "USD1",
        "DAI",
        "PAX",
        "UST",
        "AEUR",
        "EURI",
    ),
    *("BTC", "ETH", "BNB", "XRP", "TRX", "DOGE", "DOT", "SOL", "VAI"),
    *(
        "USD",
        "EUR",
        "GBP",
        "JPY",
        "TRY",
        "BRL",
        "AUD",
        "RUB",
        "UAH",
        "NGN",
        "ZAR",
        "PLN",
        "RON",
        "ARS",
        "MXN",
        "CZK",
    ),
    *("COP", "IDR", "BIDR", "IDRT", "BVND", "KRW", "INR", "CAD", "CHF", "SGD", "BKRW"),
)
"""Quote currencies by which symbols without a separator are split."""

EVERY: Final = "*"
"""In place of an instrument: the rows are of every instrument of the run."""
_INSTRUMENT: Final = re.compile(r"[a-z0-9_]+:[^\s:/|]+/[^\s:/|]+(:[^\s:/|]+)?")
_BINANCE_DUMP: Final = re.compile(
    r"(?:^|[^A-Z0-9])([A-Z0-9]{5,})-(?:aggTrades|trades|(fundingRate|metrics|liquidationSnapshot)|[1-9]\d?[smhdw]|1mo)-\d{4}-\d\d"
)
_SEPARATED: Final = re.compile(r"(?<![A-Za-z0-9])([A-Z0-9]{2,10})([_-])([A-Z]{3,5})(?:\2([A-Z]{3,5}))?(?![A-Za-z0-9])")


def check_instrument(name: str, where: str = "--instrument") -> str:
    """The instrument itself, if it is written as one.

    >>> check_instrument("kraken:BTC/USD")
    'kraken:BTC/USD'

    Raises:
        InputError: it is not `exchange:BASE/QUOTE`, optionally with `:SETTLE`.
    """
    if _INSTRUMENT.fullmatch(name) is None:
        pair = split_symbol(name) or "BTC/USDT"
        raise InputError(
            f"{where}: {name!r} is not an instrument: write exchange:BASE/QUOTE, such as binance:{pair}, "
            f"or exchange:BASE/QUOTE:SETTLE for a perpetual, such as binance:{pair}:{pair.split('/')[1]}."
        )
    return name


def split_symbol(symbol: str) -> str | None:
    """BASE/QUOTE of a symbol, None if it ends in no known quote currency.

    >>> split_symbol("BTCUSDT"), split_symbol("ETHBTC"), split_symbol("BTC-EUR"), split_symbol("BTCUSD_PERP")
    ('BTC/USDT', 'ETH/BTC', 'BTC/EUR', None)
    """
    separated = re.fullmatch(r"([A-Za-z0-9]+)[-_]([A-Z0-9]+)", symbol)
    if separated is not None and separated[2] in QUOTES:
        return f"{separated[1]}/{separated[2]}"
    for quote in QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote) and symbol.isalnum():
            return f"{symbol[: -len(quote)]}/{quote}"
    return None


def binance_instrument(symbol: str, perpetual: bool) -> str | None:
    """The instrument of a Binance symbol: spot, or the USD-M perpetual; None if the symbol cannot be split.

    >>> binance_instrument("BTCUSDT", perpetual=True)
    'binance:BTC/USDT:USDT'
    """
    pair = split_symbol(symbol)
    if pair is None:
        return None
    return f"binance:{pair}:{pair.split('/')[1]}" if perpetual else f"binance:{pair}"


def binance_dump_instrument(path: Path, member: str | None = None) -> str | None:
    """The instrument that the name of an official Binance file says; None if it says none.

    The name itself does not tell spot from futures: it is spot unless `futures` or `um` is a folder of the
    path or a part of the name between dashes, or the file holds what only futures have.

    >>> binance_dump_instrument(Path("BTCUSDT-trades-2024-10-18.zip"))
    'binance:BTC/USDT'
    >>> binance_dump_instrument(Path("data/futures/um/daily/BTCUSDT-aggTrades-2024-10-18.zip"))
    'binance:BTC/USDT:USDT'
    >>> binance_dump_instrument(Path("BTCUSDT-fundingRate-2024-10.zip"))
    'binance:BTC/USDT:USDT'
    """
    for name in (path.name, member or ""):
        match = _BINANCE_DUMP.search(name)
        if match is not None:
            marks = {part.lower() for part in (*path.parts[:-1], *re.split(r"[-.]", path.name))}
            return binance_instrument(match[1], perpetual=bool(match[2] or marks & {"futures", "um"}))
    return None


def pair_in_name(name: str) -> str | None:
    """The pair that a file name shows, None if it shows none.

    >>> pair_in_name("BTC_USDT-trades.feather"), pair_in_name("trades_ETHUSDT.csv"), pair_in_name("day.csv")
    ('BTC/USDT', 'ETH/USDT', None)
    >>> pair_in_name("BTC_USDT_USDT-trades.feather")
    'BTC/USDT:USDT'
    """
    for match in _SEPARATED.finditer(name.replace("_trades", "").replace("trades_", "")):
        base, quote, settle = match[1], match[3], match[4]
        if quote in QUOTES:
            return f"{base}/{quote}:{settle}" if settle in QUOTES else f"{base}/{quote}"
    for token in re.findall(r"[A-Z0-9]{5,}", name):
        pair = split_symbol(token)
        if pair is not None:
            return pair
    return None


def check_exchange(name: str) -> str:
    """The exchange itself, if it is written as one.

    Raises:
        InputError: it is not a short name in lower case.
    """
    if re.fullmatch(r"[a-z0-9_]+", name) is None:
        raise InputError(
            f"--exchange: {name!r} is not an exchange: write its short name in lower case, such as {_short(name)}."
        )
    return name


def _short(name: str) -> str:
    return re.sub(r"[^a-z0-9_]", "", name.lower()) or "binance"


def instrument_of_exchange(exchange: str, name: str) -> str | None:
    """The instrument of this exchange whose pair a file name shows, None if it shows none.

    >>> instrument_of_exchange("binance", "BTC_USDT_USDT-1m-futures.feather")
    'binance:BTC/USDT:USDT'
    """
    pair = pair_in_name(name)
    return f"{exchange}:{pair}" if pair else None


def no_instrument(label: str, name: str, symbol: str | None = None, exchange: str | None = None) -> InputError:
    """The error for a file that does not say of which instrument its rows are.

    Args:
        label: the file, as messages name it.
        name: its file name, perhaps with a pair in it.
        symbol: what it holds as a symbol, if anything.
        exchange: the exchange that the user named.
    """
    if exchange is not None:
        return InputError(
            f"{label}: --exchange {exchange} needs the pair in the file's name, such as BTC_USDT-1m.feather, or in a column "
            f"`symbol`. Name the instrument with --instrument {exchange}:BASE/QUOTE, or rename the file."
        )
    unified = symbol if symbol is not None and "/" in symbol else None
    pair = unified or pair_in_name((symbol or "").upper()) or pair_in_name(name)
    example = f"--instrument binance:{pair or 'BTC/USDT'}"
    held = f" (it holds the symbol {symbol!r}, without an exchange)" if symbol else ""
    return InputError(
        f"{label}: the file does not say which instrument its rows are of{held}. Name it with --instrument "
        f"exchange:BASE/QUOTE, for example {example} if they are from Binance; if files show their pairs by their names, "
        "name only the exchange with --exchange."
    )
