"""Market data of exchanges through ccxt: no trade lost, none twice, every hole that stays stated; and the streams beside trades."""

import connectors.exchange.lean  # noqa: F401  # before anything imports ccxt
from connectors.exchange.frames import Position, advanced
from connectors.exchange.health import COMPONENTS, Health, StreamHealth
from connectors.exchange.offers import chosen, lacking, offered
from connectors.exchange.options import Options
from connectors.exchange.source import ExchangePartition, ExchangeSource, Positions
from connectors.exchange.standings import Standing, StandingState, voids, voids_beside
from connectors.exchange.venues import VENUES, sequenced

__all__ = [
    "COMPONENTS",
    "VENUES",
    "ExchangePartition",
    "ExchangeSource",
    "Health",
    "Options",
    "Position",
    "Positions",
    "Standing",
    "StandingState",
    "StreamHealth",
    "advanced",
    "chosen",
    "lacking",
    "offered",
    "sequenced",
    "voids",
    "voids_beside",
]
