"""A real broker for tests: Apache Kafka in KRaft mode, one node, killed, paused and started again as a test likes."""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from broker_access import ADMIN, Access
from broker_jars import TOOLS, jars, java, run
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

WITHIN_S = 90.0
ANEW_S = 5.0
CLUSTER = "dGlkZXdheC1icm9rZXItMQ"
PORTS = range(20_000, 32_000)
"""Below those that systems give to outgoing connections: a client that looks for a dead broker could be given its port."""
_GIVEN: set[int] = set()
PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": 1,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "broker.heartbeat.interval.ms": 500,  # after kill -9 it is let in again when its session before has ended
    "broker.session.timeout.ms": 3000,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 2,
    "log.cleaner.dedupe.buffer.size": 4 << 20,  # of the heap, from the start; 128 MB otherwise
    "log.cleaner.backoff.ms": 1000,
    "log.retention.check.interval.ms": 5000,
}


def free_port() -> int:
    """A port nobody listens on, among those that no outgoing connection is given. Nobody else gets it, as it may be used later:
    processes of tests that run side by side have ports of their own.
    """
    picked, side_by_side = random.SystemRandom(), 8
    own = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % side_by_side
    while True:
        port = picked.choice(PORTS[own::side_by_side])
        if port in _GIVEN:
            continue
        _GIVEN.add(port)
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port


class Broker:
    """Kafka on a port of its own with data of its own, from `with` to its end; nothing of it outlives the tests.

    Args:
        folder: for its data, its log (`broker.log`) and its settings; it must not be used by another.
        servers: the address of a broker that runs already: it is used, and cannot be stopped, killed or paused.
        users: passwords by name: clients then log in (SASL/PLAIN) and need rights (ACLs), which only `admin` has from the
            start; it is added.
        tls: whether connections are encrypted; clients have to trust `access.certificate`.
        settings: of `server.properties`, beside those here or instead of them.

    Raises:
        NotToBeHad: there is no Java, no Maven, or no way to the jars.
        RuntimeError: the broker does not start; with what its log says.
    """

    def __init__(
        self,
        folder: Path,
        *,
        servers: str = "",
        users: Mapping[str, str] | None = None,
        tls: bool = False,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.folder, self.bootstrap, self.owned = folder, servers, not servers
        self.access = Access(folder, {ADMIN: "admin-password", **users} if users else {}, tls)
        self.log = folder / "broker.log"
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Broker:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write("client.properties", self.access.tools())
        if not self.owned:
            self.wait()
            return self
        jars()
        self.access.prepare()
        self._choose_ports()
        properties = str(self.folder / "server.properties")
        run(self.folder, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", properties, within_s=WITHIN_S)
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.owned:
            self.kill()
            shutil.rmtree(self.folder / "data", ignore_errors=True)

    def client(self, user: str = ADMIN) -> dict[str, str]:
        """The settings of a client: where the broker is, the login of a user and the certificate where it asks for them."""
        return {"bootstrap.servers": self.bootstrap, **self.access.client(user)}

    @property
    def running(self) -> bool:
        """Whether its process is there; paused, it is."""
        return not self.owned or (self._process is not None and self._process.poll() is None)

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None, "the broker does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it, on the port and the data it had before, and wait until it answers."""
        self._own()
        assert not self.running, "the broker runs already"
        first, ends = self._process is None, time.monotonic() + WITHIN_S
        while True:
            self._spawn()
            try:
                return self.wait(ends - time.monotonic())
            except RuntimeError:
                taken = "Address already in use" in self._said()
                self.kill()
                if not taken or time.monotonic() > ends:
                    raise
                if first:
                    self._choose_ports()

    def stop(self) -> None:
        """SIGTERM, and wait until it has ended in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: it ends where it is."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections stay, and nothing is answered any more."""
        self._own()
        assert self.running, "the broker does not run"
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)  # until its last thread stands still

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        self._own()
        os.kill(self.pid, signal.SIGCONT)

    def wait(self, within_s: float = WITHIN_S) -> None:
        """Wait until it answers, takes changes, and every partition has a leader."""
        ends, anew, said = time.monotonic() + within_s, -math.inf, ""
        while self.running:
            if time.monotonic() > anew:  # a client told of no brokers, as the broker comes back, may find none for good
                admin, anew = AdminClient({**self.client(), "log_level": 0}), time.monotonic() + ANEW_S
            try:
                known = admin.list_topics(timeout=1)
                leaders = [one.leader for topic in known.topics.values() for one in topic.partitions.values()]
                if known.brokers and known.controller_id >= 0 and min(leaders, default=0) >= 0:
                    return
                said = "partitions have no leader, or the broker no controller"
                time.sleep(0.05)
            except KafkaException as error:
                said = str(error)
            if time.monotonic() > ends:
                raise RuntimeError(f"the broker does not answer within {within_s:.0f} s ({said}):\n{self._said()}")
        raise RuntimeError(f"the broker has ended:\n{self._said()}")

    def create(self, topic: str, partitions: int = 1, **settings: str) -> None:
        """Make a topic; settings as Kafka names them, with `_` for `.`: `retention_ms="1000"`."""
        self.wait()  # a client that hears of no controller, as after a pause, does not ask again for minutes
        admin = AdminClient(self.client())
        made = NewTopic(
            topic, partitions, 1, config={name.replace("_", "."): value for name, value in settings.items()}
        )
        admin.create_topics([made])[topic].result(WITHIN_S)

    def tool(self, name: str, *arguments: object) -> str:
        """What a command line tool of Kafka prints about this broker, such as `tool("kafka-topics", "--list")`.

        Raises:
            RuntimeError: it fails; with what it says.
        """
        address = ("--bootstrap-server", self.bootstrap, "--command-config", str(self.folder / "client.properties"))
        return run(self.folder, TOOLS[name], *address, *map(str, arguments), within_s=WITHIN_S)

    def _own(self) -> None:
        if not self.owned:
            raise RuntimeError("a broker of KAFKA_BOOTSTRAP_SERVERS is not ours to stop, kill, pause or start")

    def _choose_ports(self) -> None:
        port, controller, name = free_port(), free_port(), self.access.protocol
        self.bootstrap = f"127.0.0.1:{port}"
        made = {
            "listeners": f"{name}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"{name}://127.0.0.1:{port}",
            "listener.security.protocol.map": f"{name}:{name},CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": name,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": self.folder / "data",
        }
        self._write("server.properties", PROPERTIES | made | self.access.server() | self._settings)

    def _write(self, name: str, properties: Mapping[str, object]) -> None:
        (self.folder / name).write_text("".join(f"{key}={value}\n" for key, value in properties.items()))

    def _spawn(self) -> None:
        line = java(self.folder, "INFO", "kafka.Kafka", str(self.folder / "server.properties"))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)
        # the pipe ends with this process, however it ends, and the broker with the pipe
        watch = ["/bin/sh", "-c", 'read -r _; kill -9 "$1"', "watch", str(self.pid)]
        self._watch = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)

    def _end(self, how: signal.Signals) -> None:
        self._own()
        if self._process is None or self._watch is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(WITHIN_S)
        finally:
            self._watch.kill()
            self._watch.communicate()

    def _said(self) -> str:
        """What its log says of errors, and its last lines."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        wrong = [line for line in lines if any(word in line for word in (" ERROR ", " FATAL ", "Exception: "))]
        return "\n".join([*wrong[:12], "...", *lines[-12:]])
