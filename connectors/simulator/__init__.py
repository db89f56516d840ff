"""Synthetic markets: seeded, and always said to be synthetic. `exchange.Exchange` serves one as a local exchange."""

from connectors.simulator.market import Market, write_trades

__all__ = ["Market", "write_trades"]
