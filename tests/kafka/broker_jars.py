"""Apache Kafka's jars, which Maven fetches once, and how to run what is in them."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache"
JAVA = ("java", "-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
TOOLS = {
    "kafka-acls": "kafka.admin.AclCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
}
LOGGING = """\
log4j.rootLogger={level}, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.target=System.err
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c: %m%n
"""


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


def java(folder: Path, level: str, main: str, *arguments: str) -> list[str]:
    """The command line of a class of the jars, which logs to the standard error output, from a level on."""
    settings = folder / f"log4j-{level}.properties"
    settings.write_text(LOGGING.format(level=level))
    return [*JAVA, f"-Dlog4j.configuration=file:{settings}", "-cp", f"{jars()}/*", main, *arguments]


def run(folder: Path, main: str, *arguments: str, within_s: float) -> str:
    """What a class of the jars prints.

    Raises:
        RuntimeError: it fails; with what it says.
    """
    line = java(folder, "WARN", main, *arguments)
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=within_s)
    if done.returncode:
        raise RuntimeError(f"{main} {' '.join(arguments)} fails:\n{done.stdout}{done.stderr}")
    return done.stdout
