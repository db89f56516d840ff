"""ccxt without the hundred exchanges that nobody asked for: importing them takes every command seconds.

To import any part of ccxt is to run the `__init__` of its packages, which import every exchange there is, three times over. Here
those packages stand in `sys.modules` before, and import a class from its module when it is asked for: `ccxt.pro.binance` from
`ccxt/pro/binance.py`. Whatever else is asked for, such as `ccxt.exchanges`, runs the real `__init__`, so nothing is missing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, Final

_BASES: Final = {
    "ccxt": "ccxt.base.exchange",
    "ccxt.async_support": "ccxt.async_support.base.exchange",
    "ccxt.pro": "ccxt.async_support.base.exchange",
}
"""The packages, and where each has its class `Exchange` from."""


class _Package(ModuleType):
    """One of them, its `__init__` not run yet."""

    def __getattr__(self, name: str) -> Any:
        """What is not there yet: the class of an exchange, an error, or what only `__init__` makes."""
        if name.startswith("__") and name not in ("__all__", "__version__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")  # somebody looks what this is
        if name == "Exchange":
            return import_module(_BASES[self.__name__]).Exchange
        errors = import_module("ccxt.base.errors")
        if hasattr(errors, name):
            return getattr(errors, name)
        if find_spec(f"{self.__name__}.{name}") is not None:
            import_module(f"{self.__name__}.{name}")
            return self.__dict__[name]
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__class__ = ModuleType  # type: ignore[assignment]  # from here on it is as any other
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Where the import system puts the module of an exchange, ccxt has its class."""
        super().__setattr__(name, vars(value).get(name, value) if isinstance(value, ModuleType) else value)


def import_lean() -> None:
    """Prepare it; does nothing once ccxt has been imported."""
    if "ccxt" in sys.modules:
        return
    for name in _BASES:
        spec = find_spec(name)
        assert spec is not None, name
        package = sys.modules[name] = module_from_spec(spec)
        package.__class__ = _Package
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, package)


import_lean()
