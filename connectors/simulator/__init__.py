"""Synthetic markets: seeded, and always said to be synthetic."""

from connectors.simulator.market import Market, write_trades

__all__ = ["Market", "write_trades"]
