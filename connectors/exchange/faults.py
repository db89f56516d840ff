"""What went wrong at an exchange: what may be tried again, and sentences for what may not."""

from __future__ import annotations

from typing import Any, Final

import ccxt

from connectors.exchange.taps import NotATrade
from events.errors import InputError
from events.times import SECOND_NS

AGAIN: Final = (ccxt.OperationFailed, NotATrade)
"""Failures that may pass: connections, timeouts, refusals for a while, answers that are none."""

NEVER_AGAIN: Final = (ccxt.BadRequest, ccxt.NotSupported, ccxt.ArgumentsRequired, ccxt.AuthenticationError)
"""Failures that trying again does not change. Others that ccxt names are tried again for a while: with some answers of a server in
trouble it can do no better.
"""

_UNKNOWN: Final = "EQuery:Unknown asset pair"  # of Kraken, which ccxt does not tell from any other error

REFUSALS: Final = 3
"""So often a 403 or 451 is taken for a mistake."""


def refused(error: BaseException, status: int = 0) -> bool:
    """Whether the exchange does not serve us at all: forbidden, or not in this country.

    Args:
        error: what ccxt made of it.
        status: of the last REST answer.

    >>> refused(ccxt.ExchangeError("no"), 451), refused(ccxt.ExchangeNotAvailable("busy"), 503)
    (True, False)
    """
    statuses = {status, *(getattr(cause, "status", 0) for cause in error.args)}  # of a websocket that was not let in
    return bool(statuses & {403, 451}) or "restricted location" in str(error)


def unknown_symbol(error: BaseException) -> bool:
    """Whether the exchange says that it has no such market, where ccxt does not.

    >>> unknown_symbol(ccxt.ExchangeError('kraken {"error":["EQuery:Unknown asset pair"]}'))
    True
    """
    return _UNKNOWN in str(error)


def retry_after_s(client: Any) -> float:
    """For how many seconds the exchange asked to be left alone in its last answer; 0 if it did not."""
    headers = client.last_response_headers or {}
    try:
        return float(next(value for name, value in headers.items() if name.lower() == "retry-after"))
    except (StopIteration, ValueError):
        return 0.0


def not_served(exchange: str) -> InputError:
    """The sentence for `refused`."""
    return InputError(
        f"{exchange} refuses to serve this address (403 or 451): it blocks some countries and data centres. Use another exchange,"
        " or run where it is allowed"
    )


def unreachable(exchange: str, client: Any, seconds: float, error: BaseException) -> InputError:
    """The sentence for an exchange that has not answered at all."""
    return InputError(
        f"{exchange} did not answer within {seconds:g} s; tried {host(client)}. Last: {reason(error)}. Look at the"
        " network (`tidewax doctor` does), or run without one: `make demo` or `tidewax demo` shows what comes out, and `tidewax"
        " simulate` is an exchange on this machine"
    )


def wrong_clock(exchange: str, offset_ns: int) -> InputError:
    """The sentence for a clock that is far off.

    >>> print(wrong_clock("binance", -90_000_000_000))
    the clock of this machine is 90 s ahead of that of binance: set it, best by NTP
    """
    how = "behind" if offset_ns > 0 else "ahead of"
    return InputError(
        f"the clock of this machine is {abs(offset_ns) / SECOND_NS:.0f} s {how} that of {exchange}: set it, best by NTP"
    )


def unexpected(exchange: str, error: BaseException) -> InputError:
    """The sentence for an answer that trying again will not change."""
    said = " ".join(str(error).split())[:300]
    return InputError(f"{exchange} says: {type(error).__name__}: {said}")


def reason(error: BaseException) -> str:
    """What went wrong, as the library underneath said it, of which ccxt tells the address alone.

    >>> reason(TimeoutError()), reason(ccxt.BadSymbol("no  BTC/USTD"))
    ('it took too long', 'BadSymbol: no BTC/USTD')
    """
    if isinstance(error, TimeoutError):
        return "it took too long"
    error = error.__cause__ or error
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".removesuffix(": ")


def words(error: BaseException) -> str:
    """What an error says, on one line; its name if it says nothing.

    >>> words(OSError("no  route")), words(TimeoutError())
    ('no route', 'TimeoutError')
    """
    return " ".join(str(error).split()) or type(error).__name__


def host(client: Any) -> str:
    """Whom a client asked last."""
    return str(client.last_request_url or client.id).split("/")[2 if client.last_request_url else 0]
