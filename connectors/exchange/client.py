"""The ccxt client of a venue: made, its markets loaded or taken from a cache, its message handler guarded."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import ccxt
import ccxt.pro

from connectors.exchange.venues import VENUES, Market, Venue
from events.errors import InputError

_CACHE_S: Final = 24 * 3600


def kind_of(symbol: str) -> str:
    """The market type of a symbol: "swap" of a perpetual contract, "spot" of everything else.

    >>> kind_of("BTC/USDT"), kind_of("BTC/USDT:USDT")
    ('spot', 'swap')
    """
    return "swap" if ":" in symbol else "spot"


def exchange_of(client: Any) -> str:
    """The name that instruments of a client's venue have before the colon.

    >>> exchange_of(ccxt.pro.coinbaseexchange())
    'coinbase'
    """
    return next(name for name, venue in VENUES.items() if venue.client == client.id)


def make_client(exchange: str, symbols: Sequence[str], address: str | None = None, keep_alive_s: float = 15.0) -> Any:
    """An unmodified ccxt.pro client for public data.

    Args:
        exchange: the venue's name.
        symbols: what it will be asked for; markets of other types are not loaded, since that would ask other hosts.
        address: host and port of a server that stands for the venue.
        keep_alive_s: how often connections are pinged.

    Raises:
        InputError: the venue is not known.
    """
    venue = VENUES.get(exchange)
    if venue is None:
        close = get_close_matches(exchange, VENUES, 1)
        raise InputError(
            f"there is no exchange {exchange!r}, only {', '.join(VENUES)}"
            + (f"; did you mean {close[0]}?" if close else "")
        )
    kinds = [venue.kinds[kind] for kind in sorted({kind_of(symbol) for symbol in symbols})]
    config: dict[str, Any] = {
        "enableRateLimit": True,
        "newUpdates": True,
        "timeout": 10_000,
        "streaming": {"keepAlive": round(keep_alive_s * 1000)},
        "options": {"fetchMarkets": {"types": kinds}, **venue.options},
    }
    if address is not None:
        config["urls"] = {"api": venue.urls(address)}
        config["rateLimit"] = 5  # it has no budget that others share
    client = getattr(ccxt.pro, venue.client)(config)
    note_status(client)
    price(client, venue.costs)
    client.has["fetchCurrencies"] = False  # asks more, and says nothing that matters here
    return client


def guard(client: Any) -> None:
    """Make a message that cannot be handled end its connection, which would else stay open and silent for minutes."""
    handle = client.handle_message

    def guarded(connection: Any, message: Any) -> None:
        try:
            handle(connection, message)
        except Exception as error:
            connection.on_error(ccxt.NetworkError(f"{client.id}: a message could not be handled: {error!r}"))

    client.handle_message = guarded


def note_status(client: Any) -> None:
    """Keep the status of the last REST answer in `last_status`: what ccxt raises does not always tell it."""
    take, client.last_status = client.on_rest_response, 0

    def noted(status: int, *rest: Any) -> Any:
        client.last_status = status
        return take(status, *rest)

    client.on_rest_response = noted


def price(client: Any, costs: Mapping[str, float]) -> None:
    """Make calls cost no less than this of the client's rate limit, by path."""
    calculate = client.calculate_rate_limiter_cost

    def priced(api: Any, method: str, path: str, *rest: Any) -> float:
        cost: float = calculate(api, method, path, *rest)
        return max(cost, costs.get(path, 0.0))

    client.calculate_rate_limiter_cost = priced


async def load_markets(
    exchange: str, client: Any, symbols: Sequence[str], cache: Path | None, load: Callable[[], Awaitable[Any]]
) -> dict[str, Market]:
    """The markets of these symbols, from the cache if it has them and is of the last day, else by `load`, and then cached.

    Raises:
        InputError: the exchange does not have one of them.
    """
    path = None if cache is None else cache / f"{exchange}.json"
    stored = _stored(path)
    if stored is not None and set(symbols) <= {market["symbol"] for market in stored}:
        client.set_markets(stored)
    else:
        await load()
    wrong = [_wrong(exchange, client, symbol) for symbol in symbols if symbol not in client.markets]
    if wrong:
        raise InputError("; ".join(wrong))
    venue = VENUES[exchange]
    wanted = {*symbols, *(name for name in venue.busy.values() if name in client.markets)}
    known = {market["symbol"]: market for market in stored or ()}
    if path is not None and not wanted <= known.keys():
        _store(path, known | {symbol: client.markets[symbol] | {"info": {}} for symbol in wanted}, bool(known))
    return {symbol: client.markets[symbol] for symbol in wanted}


def _stored(path: Path | None) -> list[dict[str, Any]] | None:
    try:
        if path is None or time.time() - path.stat().st_mtime > _CACHE_S:
            return None
        markets: list[dict[str, Any]] = json.loads(path.read_text())
        return markets
    except (OSError, ValueError):
        return None


def _store(path: Path, markets: Mapping[str, Any], older: bool) -> None:
    """Write a cache; with `older` ones in it, it stays as old as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps([markets[symbol] for symbol in sorted(markets)]))
    if older:
        os.utime(part, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    part.replace(path)


def _wrong(exchange: str, client: Any, symbol: str) -> str:
    close = get_close_matches(symbol, client.markets, 1, 0.5)
    meant = f"; did you mean {close[0]}?" if close else ""
    return (
        f"{exchange} has no market {symbol}{meant} Symbols are BASE/QUOTE, and BASE/QUOTE:QUOTE for perpetual contracts"
    )


def groups(venue: Venue, symbols: Sequence[str], busy: bool = True) -> list[tuple[str, ...]]:
    """The symbols of each subscription: of one market type, and with one that trades all the time on every connection.

    >>> groups(VENUES["binance"], ["A/USDT", "B/USDT:USDT", "C/USDT"])
    [('A/USDT', 'C/USDT', 'BTC/USDT'), ('B/USDT:USDT', 'BTC/USDT:USDT')]
    """
    out = []
    for kind in sorted({kind_of(symbol) for symbol in symbols}):
        listed = [symbol for symbol in symbols if kind_of(symbol) == kind]
        beacon = [venue.busy[kind]] if busy and kind in venue.busy and venue.busy[kind] not in listed else []
        if venue.shared:
            listed, beacon = listed + beacon, []
        out += [tuple(listed[at : at + venue.chunk] + beacon) for at in range(0, len(listed), venue.chunk)]
    return out
