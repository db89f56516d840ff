"""Fixtures of the tests on Kafka: a real broker, and the one inside librdkafka for what needs no real one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from broker import Broker, NotToBeHad
from confluent_kafka.admin import AdminClient

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")


@contextmanager
def running(folder: Path, **options) -> Iterator[Broker]:
    """A broker; without Kafka the tests of it skip, but not in CI."""
    try:
        made = Broker(folder, **options).__enter__()
    except NotToBeHad as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
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
    else:
        _broker_of_the_tests.start()


@pytest.fixture(scope="session")
def guarded_broker(tmp_path_factory) -> Iterator[Broker]:
    """A broker that asks for a login and for rights: `admin` has all of them, `reader` and `writer` none until given."""
    users = {"reader": "reader-password", "writer": "writer-password"}
    with running(tmp_path_factory.mktemp("kafka-guarded"), users=users) as made:
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
