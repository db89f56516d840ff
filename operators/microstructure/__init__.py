"""Microstructure: what books, quotes, funding, open interest, ratios and liquidations say."""
