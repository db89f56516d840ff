"""Tidewax for notebooks and plugins: `import tidewax`. Names are imported when they are first used.

>>> import tidewax
>>> tidewax.load("short").signals.tf
'1m'
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "BacktestResult": "tidewax.result",
    "RefusedRows": "tidewax.api",
    "Settings": "config",
    "indicator": "operators.declare",
    "TidewaxError": "events.errors",
    "backtest": "tidewax.api",
    "bars": "tidewax.api",
    "features": "tidewax.api",
    "load": "config",
    "rule": "operators.declare",
    "score": "operators.declare",
}
"""Where each public name lives."""

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tidewax' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
