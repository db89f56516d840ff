"""Fixtures of the tests on Kafka: a real broker, and the one inside librdkafka for what needs no real one."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from broker import Broker
from broker_jars import NotToBeHad
from confluent_kafka.admin import AdminClient

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
BROKERS = {"broker", "own_broker", "guarded_broker", "encrypted_broker"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests on a real broker are marked `kafka`, which leaves them out of `make check`."""
    for item in items:
        if BROKERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")


def without(missing: str) -> NoReturn:
    """Skip a test for want of what it needs, but not in CI."""
    pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)


@contextmanager
def running(folder: Path, **options) -> Iterator[Broker]:
    """A broker; without Kafka the tests of it skip."""
    try:
        made = Broker(folder, **options).__enter__()
    except NotToBeHad as missing:
        without(str(missing))
    try:
        yield made
    finally:
        made.__exit__()


@pytest.fixture(scope="session")
def broker(tmp_path_factory) -> Iterator[Broker]:
    """The broker of KAFKA_BOOTSTRAP_SERVERS, else one that runs for the session; `own_broker` is the one to break."""
    with running(tmp_path_factory.mktemp("kafka"), servers=SERVERS) as made:
        yield made


@pytest.fixture(scope="session")
def _broker_of_the_tests(request, tmp_path_factory) -> Iterator[Broker]:
    if not SERVERS:
        yield request.getfixturevalue("broker")
        return
    with running(tmp_path_factory.mktemp("kafka")) as made:
        yield made


@pytest.fixture
def own_broker(_broker_of_the_tests) -> Iterator[Broker]:
    """A broker that may be stopped, killed and paused; it runs again when the next test begins."""
    yield _broker_of_the_tests
    if _broker_of_the_tests.running:
        _broker_of_the_tests.resume()
        _broker_of_the_tests.wait()
    else:
        _broker_of_the_tests.start()


@pytest.fixture(scope="session")
def guarded_broker(tmp_path_factory) -> Iterator[Broker]:
    """A broker that asks for a login and for rights: `admin` has all of them, `reader` and `writer` none until given."""
    users = {"reader": "reader-password", "writer": "writer-password"}
    with running(tmp_path_factory.mktemp("kafka-guarded"), users=users) as made:
        yield made


@pytest.fixture(scope="session")
def encrypted_broker(tmp_path_factory) -> Iterator[Broker]:
    """A broker whose connections are encrypted, with a certificate of its own (`access.certificate`), and that asks for a
    login: `reader` has no rights until given.
    """
    with running(tmp_path_factory.mktemp("kafka-encrypted"), users={"reader": "reader-password"}, tls=True) as made:
        yield made


@pytest.fixture
def prefix() -> str:
    """Of the names of topics and groups of one test."""
    return f"t{uuid.uuid4().hex[:10]}."


@pytest.fixture
def mock_broker() -> Iterator[str]:
    """The address of the broker inside librdkafka, which ends with the test: no groups' lag, no retention, quick."""
    cluster = AdminClient({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
    (found,) = cluster.list_topics(timeout=10).brokers.values()
    yield f"{found.host}:{found.port}"
    del cluster


@pytest.fixture
def kcat() -> str:
    """The command line client of that name."""
    return shutil.which("kcat") or without("no kcat: install it for the test that reads Kafka with it")
