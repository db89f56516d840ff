"""The broker of the tests, for benchmarks."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_FILE: Final = Path(__file__).resolve().parent.parent / "tests" / "kafka" / "broker.py"


class NoBroker(RuntimeError):
    """There is no Kafka here; says what is missing."""


@contextmanager
def broker() -> Iterator[Any]:
    """A broker with data of its own, or that of KAFKA_BOOTSTRAP_SERVERS.

    Raises:
        NoBroker: neither is to be had.
    """
    spec = importlib.util.spec_from_file_location("broker_of_the_tests", _FILE)
    if spec is None or spec.loader is None:
        raise NoBroker(f"{_FILE} is not there")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    with tempfile.TemporaryDirectory() as folder:
        made = module.Broker(Path(folder) / "kafka", servers=os.environ.get("KAFKA_BOOTSTRAP_SERVERS", ""))
        try:
            made.__enter__()
        except module.NotToBeHad as missing:
            raise NoBroker(str(missing)) from None
        try:
            yield made
        finally:
            made.__exit__()
