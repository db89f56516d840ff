"""Trades of exchanges through ccxt: none lost, none twice, every hole that stays stated."""

import connectors.exchange.lean  # noqa: F401  # before anything imports ccxt
from connectors.exchange.frames import Position, advanced
from connectors.exchange.health import COMPONENTS, Health
from connectors.exchange.options import Options
from connectors.exchange.source import ExchangePartition, ExchangeSource, Positions
from connectors.exchange.standings import Standing, StandingState, voids
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
    "advanced",
    "sequenced",
    "voids",
]
