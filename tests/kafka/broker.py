"""A real broker for tests: Apache Kafka in KRaft mode, one node, killed, paused and started again as a test likes."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache"
WITHIN_S = 90.0
ADMIN = "admin"
PORTS = range(20_000, 32_000)
"""Below those that systems give to outgoing connections: a client that looks for a dead broker could be given its port."""
JAVA = ("java", "-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
TOOLS = {
    "kafka-acls": "kafka.admin.AclCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
}
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
LOGGING = """\
log4j.rootLogger=INFO, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%d %p %c: %m%n
"""
QUIET = LOGGING.replace("INFO, stdout", "WARN, stderr").replace(".stdout", ".stderr") + (
    "log4j.appender.stderr.target=System.err\n"
)


class NotToBeHad(RuntimeError):
    """There is no Kafka here; says what is missing."""


def version() -> str:
    """The version of Kafka that the pom names."""
    pom = ElementTree.parse(HERE / "pom.xml")
    found = pom.findtext(".//{http://maven.apache.org/POM/4.0.0}kafka.version")
    assert found, "tests/kafka/pom.xml names no kafka.version"
    return found


def jars() -> Path:
    """The folder of Kafka's jars: fetched by Maven the first time, by one process while others wait.

    Raises:
        NotToBeHad: there is no Java, no Maven, or no way to the jars.
    """
    if shutil.which("java") is None:
        raise NotToBeHad("no java: install a Java runtime, 17 or later, for the tests on a real Kafka broker")
    folder = CACHE / f"kafka-{version()}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return folder
        if shutil.which("mvn") is None:
            raise NotToBeHad("no mvn: install Maven, which fetches Kafka for the tests on a real broker")
        fetched = Path(tempfile.mkdtemp(prefix="kafka-", dir=CACHE))
        line = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
        done = subprocess.run(
            [*line, f"-DoutputDirectory={fetched}"], capture_output=True, text=True, check=False, timeout=600
        )
        if done.returncode:
            shutil.rmtree(fetched)
            raise NotToBeHad(f"Maven could not fetch Kafka:\n{(done.stdout + done.stderr)[-2000:]}")
        fetched.rename(folder)
    return folder


def free_port() -> int:
    """A port nobody listens on, among those that no outgoing connection is given."""
    picked = random.SystemRandom()
    while True:
        port = picked.choice(PORTS)
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
        settings: of `server.properties`, beside those here or instead of them.

    Raises:
        NotToBeHad: there is no Java, no Maven, or no way to the jars.
        RuntimeError: the broker does not start; with the end of its log.
    """

    def __init__(
        self,
        folder: Path,
        *,
        servers: str = "",
        users: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.folder, self.bootstrap, self.owned = folder, servers, not servers
        self.users = {ADMIN: "admin-password", **users} if users else {}
        self.log = folder / "broker.log"
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Broker:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "log4j.properties").write_text(LOGGING)
        (self.folder / "tools.properties").write_text(QUIET)
        jaas = self._jaas() if self.users else ""
        login = f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={jaas}\n"
        (self.folder / "client.properties").write_text(login if self.users else "")
        if self.owned:
            self._choose_ports()
            properties = str(self.folder / "server.properties")
            self._java("kafka.tools.StorageTool", "format", "-t", "dGlkZXdheC1icm9rZXItMQ", "-c", properties)
            try:
                self.start()
            except BaseException:
                self.kill()
                raise
        else:
            self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self.owned:
            self.kill()
            shutil.rmtree(self.folder / "data", ignore_errors=True)

    def client(self, user: str = ADMIN) -> dict[str, str]:
        """The settings of a client: where the broker is, and the login of a user where it asks for one."""
        if not self.users:
            return {"bootstrap.servers": self.bootstrap}
        login = {"sasl.username": user, "sasl.password": self.users[user]}
        return {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            **login,
        }

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
        """SIGSTOP: connections stay, and nothing is answered."""
        self._own()
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        self._own()
        os.kill(self.pid, signal.SIGCONT)

    def wait(self, within_s: float = WITHIN_S) -> None:
        """Wait until it answers and every partition has a leader."""
        admin, ends, said = AdminClient({**self.client(), "log_level": 0}), time.monotonic() + within_s, ""
        while self.running:
            try:
                known = admin.list_topics(timeout=1)
                leaders = [one.leader for topic in known.topics.values() for one in topic.partitions.values()]
                if known.brokers and min(leaders, default=0) >= 0:
                    return
                said = "partitions have no leader"
                time.sleep(0.05)
            except KafkaException as error:
                said = str(error)
            if time.monotonic() > ends:
                raise RuntimeError(f"the broker does not answer within {within_s:.0f} s ({said}):\n{self._said()}")
        raise RuntimeError(f"the broker has ended:\n{self._said()}")

    def create(self, topic: str, partitions: int = 1, **settings: str) -> None:
        """Make a topic; settings as Kafka names them, with `_` for `.`: `retention_ms="1000"`."""
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
        return self._java(TOOLS[name], *address, *map(str, arguments))

    def _own(self) -> None:
        if not self.owned:
            raise RuntimeError("a broker of KAFKA_BOOTSTRAP_SERVERS is not ours to stop, kill, pause or start")

    def _choose_ports(self) -> None:
        port, controller = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        name = "SASL_PLAINTEXT" if self.users else "PLAINTEXT"
        made = PROPERTIES | {
            "listeners": f"{name}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"{name}://127.0.0.1:{port}",
            "listener.security.protocol.map": f"{name}:{name},CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": name,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": self.folder / "data",
        }
        if self.users:
            known = " ".join(f'user_{user}="{password}"' for user, password in self.users.items())
            made |= {
                "sasl.enabled.mechanisms": "PLAIN",
                "sasl.mechanism.inter.broker.protocol": "PLAIN",
                "listener.name.sasl_plaintext.plain.sasl.jaas.config": self._jaas(known),
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": f"User:{ADMIN};User:ANONYMOUS",  # no login where the broker meets its controller
            }
        lines = [f"{name}={value}\n" for name, value in (made | self._settings).items()]
        (self.folder / "server.properties").write_text("".join(lines))

    def _jaas(self, known: str = "") -> str:
        login = f'username="{ADMIN}" password="{self.users[ADMIN]}"'
        return f"org.apache.kafka.common.security.plain.PlainLoginModule required {login} {known};"

    def _spawn(self) -> None:
        logging = f"-Dlog4j.configuration=file:{self.folder}/log4j.properties"
        line = [*JAVA, logging, "-cp", f"{jars()}/*", "kafka.Kafka", str(self.folder / "server.properties")]
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

    def _java(self, main: str, *arguments: str) -> str:
        logging = f"-Dlog4j.configuration=file:{self.folder}/tools.properties"
        line = [*JAVA, logging, "-cp", f"{jars()}/*", main, *arguments]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=WITHIN_S)
        if done.returncode:
            raise RuntimeError(f"{main} {' '.join(arguments)} fails:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _said(self) -> str:
        """What its log says of errors, and its last lines."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        wrong = [line for line in lines if any(word in line for word in (" ERROR ", " FATAL ", "Exception: "))]
        return "\n".join([*wrong[:12], "...", *lines[-12:]])
