"""Cores: pure, deterministic, without clocks or I/O; and `keyed`, the one adapter that runs them in Bytewax."""
