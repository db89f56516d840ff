"""Benchmarks: what the graph does a second, beside what the same machine does with the same trades by other means."""
