"""ccxt is imported as far as it is used, and nothing of it is missing. In processes of their own, since it is imported once."""

from __future__ import annotations

import subprocess
import sys

import pytest
from commands import ROOT, environment


def told(program):
    """What a program prints that begins with the exchange source."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, connectors.exchange\n" + program],
        check=False, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_no_exchange_is_imported_before_its_class_is_asked_for():
    loaded = (
        "print(sorted(n for n in sys.modules if n.startswith('ccxt.pro.') or n.count('.') == 1 and 'binance' in n))\n"
    )
    before, after, same = told(
        loaded
        + "import ccxt, ccxt.pro\nmade = ccxt.pro.binance\n"
        + loaded
        + "from ccxt.async_support.binance import binance\n"
        "print(issubclass(made, binance), ccxt.async_support.binance is binance, ccxt.pro.binance is made)"
    )
    assert before == "[]"
    assert after == "['ccxt.pro.binance']"
    assert same == "True True True"


def test_a_class_that_is_made_of_another_exchange_has_it():
    (line,) = told("import ccxt.pro\nprint([c.__module__ for c in ccxt.pro.binanceusdm.__mro__[:3]])")
    assert line == "['ccxt.pro.binanceusdm', 'ccxt.pro.binance', 'ccxt.async_support.binance']"


@pytest.mark.slow
def test_what_else_is_asked_for_is_there():
    names = "'BadSymbol', 'Exchange', 'Precise', 'TICK_SIZE', '__version__', 'exchanges', 'kraken', 'errors'"
    program = f"import ccxt, ccxt.pro\nprint([str(getattr(ccxt, name)) for name in ({names})])\n"
    program += (
        "print(len(ccxt.pro.exchanges), ccxt.pro.Exchange, ccxt.pro.kraken, ccxt.pro.NetworkError is ccxt.NetworkError)"
    )
    plain = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=300)
    assert told(program) == plain.stdout.splitlines()


def test_what_there_is_not_is_missing():
    (line,) = told(
        "import ccxt\nprint(hasattr(ccxt, '__wrapped__'), hasattr(ccxt, 'nonsense'), hasattr(ccxt, 'exchanges'))"
    )
    assert line == "False False True"
