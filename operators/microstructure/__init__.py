"""Microstructure: what books, quotes and the streams beside trades say about the next minutes."""
