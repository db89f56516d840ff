"""Brokers that are away are asked again, and not by one client for ever: it may have lost its way to them for good."""

from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaError, KafkaException

from connectors.kafka.client import patiently


class Clients:
    """Makes clients of which the first ones find no brokers, whenever they ask."""

    def __init__(self, lost, code=KafkaError._TRANSPORT):
        self.lost, self.code, self.opened, self.closed, self.asked = lost, code, 0, 0, 0

    @contextmanager
    def connected(self):
        self.opened += 1
        yield self.opened
        self.closed += 1

    def ask(self, client):
        self.asked += 1
        if client <= self.lost:
            raise KafkaException(KafkaError(self.code))
        return f"answered to {client}"


def test_another_client_takes_the_place_of_one_that_finds_no_brokers(monkeypatch):
    monkeypatch.setattr("connectors.kafka.client.ANEW_S", 0.02)
    made, waited = Clients(2), []
    assert patiently(made.connected, made.ask, lambda: 60.0, waited.append) == "answered to 3"
    assert made.asked > made.opened == made.closed == 3
    assert {*waited} == {1, 2}


def test_one_that_is_answered_is_kept(monkeypatch):
    made = Clients(0)
    assert patiently(made.connected, made.ask) == "answered to 1"
    assert (made.asked, made.opened) == (1, 1)


@pytest.mark.parametrize(
    ("code", "within_s"), [(KafkaError._TRANSPORT, 0.0), (KafkaError.TOPIC_AUTHORIZATION_FAILED, 60.0)]
)
def test_what_waiting_does_not_mend_is_raised(code, within_s):
    made = Clients(9, code)
    with pytest.raises(KafkaException):
        patiently(made.connected, made.ask, lambda: within_s, lambda _: None)
    assert made.opened == 1
