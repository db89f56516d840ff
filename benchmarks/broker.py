"""The broker of the tests, for benchmarks."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_FOLDER: Final = Path(__file__).resolve().parent.parent / "tests" / "kafka"


class NoBroker(RuntimeError):
    """There is no Kafka here; says what is missing."""


@contextmanager
def broker() -> Iterator[Any]:
    """A broker with data of its own, or that of KAFKA_BOOTSTRAP_SERVERS.

    Raises:
        NoBroker: neither is to be had.
    """
    if str(_FOLDER) not in sys.path:
        sys.path.append(str(_FOLDER))
    try:
        module, jars = importlib.import_module("broker"), importlib.import_module("broker_jars")
    except ModuleNotFoundError as missing:
        raise NoBroker(f"{_FOLDER} is not there: {missing}") from None
    with tempfile.TemporaryDirectory() as folder:
        made = module.Broker(Path(folder) / "kafka", servers=os.environ.get("KAFKA_BOOTSTRAP_SERVERS", ""))
        try:
            made.__enter__()
        except jars.NotToBeHad as missing:
            raise NoBroker(str(missing)) from None
        try:
            yield made
        finally:
            made.__exit__()
