"""What `docker compose up` runs, run by hand: the very commands, health checks and order of docker-compose.yml, on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from broker import free_port
from commands import ROOT, environment, start
from shards_bench import messages_of

from connectors.kafka.names import Topics
from connectors.kafka.wire import position_of

WITHIN_S = 180.0
GRACE_S = 30.0
pytestmark = [pytest.mark.slow, pytest.mark.kafka]


class Composition:
    """The services that are built here, as processes.

    Args:
        folder: stands for the volumes.
        servers: the broker, which stands for the service `kafka`.
        prefix: of the topics, so that tests on one broker do not meet.
    """

    def __init__(self, folder: Path, servers: str, prefix: str) -> None:
        services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        self.services = {name: service for name, service in services.items() if service.get("build")}
        self.folder, self.servers, self.prefix = folder, servers, prefix
        self.ports = {name: str(free_port()) for name in self.services}
        self.running: dict[str, subprocess.Popen[str]] = {}

    def here(self, name: str, word: str) -> str:
        """A word of a command of a service, as it is on this machine."""
        for there, found in (
            ("/etc/tidewax/settings.yaml", str(ROOT / "deploy" / "settings.yaml")),
            ("/data", str(self.folder)),
            ("0.0.0.0", "127.0.0.1"),
            ("9464", self.ports[name]),
            ("9000", self.ports["simulator"]),
        ):
            word = word.replace(there, found)
        return word

    def up(self, name: str) -> None:
        """Start a service when those that it depends on are as they have to be."""
        service = self.services[name]
        for other, asked in service.get("depends_on", {}).items():
            if other in self.services:
                {"service_healthy": self.until_healthy, "service_completed_successfully": self.until_done}[
                    asked["condition"]
                ](other)
        given = {
            "KAFKA_SERVERS": self.servers,
            "SIMULATOR": f"127.0.0.1:{self.ports['simulator']}",
            "METRICS_HOST": "127.0.0.1",
            "METRICS_PORT": self.ports[name],
        }
        assert given.keys() == service["environment"].keys()
        faster = ["--speed", "20"] if name == "simulator" else []
        words = [self.here(name, str(word)) for word in service["command"]]
        self.running[name] = start(*words, *faster, **given, TIDEWAX__KAFKA__PREFIX=self.prefix)

    def until_done(self, name: str) -> None:
        process = self.running[name]
        out, err = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 0, out + err

    def until_healthy(self, name: str) -> None:
        """Ask as the health check of a service does, or of the image, until it is well."""
        own = self.services[name].get("healthcheck")
        line = own["test"] if own else ["CMD", "python", "-c", IMAGE_CHECK]
        assert line[:2] == ["CMD", "python"]
        words, ends_s = [self.here(name, word) for word in line[2:]], time.monotonic() + WITHIN_S
        while subprocess.run([sys.executable, *words], capture_output=True, check=False, env=environment()).returncode:
            assert self.running[name].poll() is None, self.running[name].communicate()
            assert time.monotonic() < ends_s, f"{name} is not well"
            time.sleep(0.2)

    def stop(self, name: str) -> None:
        """What `docker compose stop` does to a service."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        began_s = time.monotonic()
        out, err = process.communicate(timeout=WITHIN_S)
        if name != "simulator":  # it has nothing to save
            assert (process.returncode, err) == (0, ""), out
        assert time.monotonic() - began_s < GRACE_S

    def end(self) -> None:
        for process in self.running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _image_check() -> str:
    text = (ROOT / "Dockerfile").read_text()
    line = next(line for line in text.splitlines() if '"import urllib.request' in line)
    words: list[str] = yaml.safe_load(line.strip().removeprefix("CMD "))
    return words[-1]


IMAGE_CHECK = _image_check()


def who_is_in(broker, topic, stream):
    """The instruments that have rows of a stream in a topic."""
    messages = [(m.key().decode(), position_of(m.headers())) for m in messages_of(broker, topic)]
    return {key for key, at in messages if at.stream == stream and at.rows}


def test_the_services_of_the_composition_make_results_and_stop_in_order(broker, prefix, tmp_path):
    made = Composition(tmp_path, broker.bootstrap, prefix.rstrip("."))
    instruments = {
        f"binance:{symbol}"
        for symbol in yaml.safe_load((ROOT / "deploy" / "settings.yaml").read_text())["exchange"]["symbols"]["binance"]
    }
    topics, ends_s = Topics(made.prefix), time.monotonic() + WITHIN_S
    try:
        for name in made.services:
            made.up(name)
        for name in ("ingest", "live-a", "live-b", "market"):
            made.until_healthy(name)
        wanted = {"market.1m": topics.cross, "bars.1m": topics.result("bars")}
        while any(lacking := [instruments - who_is_in(broker, topic, stream) for stream, topic in wanted.items()]):
            assert time.monotonic() < ends_s, lacking
            for name, process in made.running.items():
                assert process.poll() is None or name == "topics", (name, process.communicate())
            time.sleep(0.3)
        made.until_done("topics")
        for name in ("ingest", "live-a", "live-b", "market", "simulator"):
            made.stop(name)
    finally:
        made.end()
