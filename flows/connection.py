"""The brokers of Kafka that settings name."""

from __future__ import annotations

from config import Settings
from connectors.kafka.client import Connection
from events.errors import SettingsError


def connection_of(settings: Settings) -> Connection:
    """Where the brokers of these settings are, and how to log in.

    >>> connection_of(Settings.model_validate({"kafka": {"servers": "localhost:9092"}}))
    Connection(servers='localhost:9092', group='tidewax')

    Raises:
        SettingsError: they name none.
    """
    given = settings.kafka
    if given.servers is None:
        raise SettingsError(
            "name the brokers: kafka.servers in the settings, or TIDEWAX__KAFKA__SERVERS=localhost:9092"
        )
    return Connection(given.servers, given.options, given.group)
