"""What `tidewax topics` says where there is no broker to ask, and that it never shows an option."""

from __future__ import annotations

import json

import pytest
from commands import called
from confluent_kafka import Consumer, Producer

from connectors.kafka.client import Connection, client_options, opened
from events.errors import SettingsError


def test_brokers_have_to_be_named():
    for words in (("create",), ("show",)):
        done = called("topics", *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("tidewax: name the brokers: kafka.servers in the settings")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"sasl.mechanism": "hidden", "security.protocol": "SASL_PLAINTEXT"}, "sasl.mechanism"),
        ({"security.protocol": "hidden"}, "security.protocol"),
        ({"socket.timeout.ms": "hidden"}, "socket.timeout.ms"),
        ({"security.protocol": "SSL", "ssl.ca.location": "/hidden"}, "ssl.ca.location"),
        ({"security.protocol": "SSL", "ssl.key.pem": "hidden"}, "ssl.key.pem"),
        ({"hiding.place": "hidden"}, "hiding.place"),
        ({"enable.idempotence": False}, "enable.idempotence"),
        ({"bootstrap.servers": "hidden:1"}, "bootstrap.servers"),
    ],
)
def test_options_that_do_not_fit_are_named_without_their_values(options, named, tmp_path):
    config = tmp_path / "kafka.yaml"
    config.write_text(f"kafka: {json.dumps({'servers': '127.0.0.1:9', 'options': options})}\n")
    done = called("topics", "show", "--config", config)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tidewax: kafka.options")
    assert named in done.stderr
    assert "hidden" not in done.stderr


def test_a_connection_does_not_show_its_options():
    connection = Connection("127.0.0.1:9", {"sasl.password": "hidden"})
    assert "hidden" not in repr(connection) + str(connection)


def test_what_promises_hang_on_is_set_whatever_the_options_say():
    to = Connection("127.0.0.1:9", {"linger.ms": 50, "fetch.wait.max.ms": 10}, "group")
    made = client_options(Producer, to, {"batch.size": 7})
    assert (made["linger.ms"], made["acks"], made["enable.gapless.guarantee"], made["batch.size"]) == (
        50,
        "all",
        True,
        7,
    )
    read = client_options(Consumer, to)
    assert (read["group.id"], read["auto.offset.reset"], read["fetch.wait.max.ms"]) == ("group", "error", 10)
    with pytest.raises(SettingsError, match=r"kafka.options sets transactional.id"):
        opened(Producer, Connection("127.0.0.1:9", {"transactional.id": "hidden"}))
