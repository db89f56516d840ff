"""Who may talk to a broker of the tests, and how: logins, rights, certificates; the settings of either side."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ADMIN = "admin"
PASSWORD = "of-a-key-store"
MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"


@dataclass(frozen=True)
class Access:
    """What a broker asks of its clients.

    Attributes:
        folder: for the certificate.
        users: passwords by name; none for a broker that asks for no login.
        tls: whether connections are encrypted.
    """

    folder: Path
    users: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False

    @property
    def protocol(self) -> str:
        """As Kafka names it."""
        return ("SASL_" if self.users else "") + ("SSL" if self.tls else "PLAINTEXT")

    @property
    def certificate(self) -> Path:
        """Of the broker, which clients have to trust."""
        return self.folder / "certificate.pem"

    def prepare(self) -> None:
        """Make the certificate, of 127.0.0.1, signed by itself; Java brings the tool."""
        if not self.tls:
            return
        key = ("-alias", "broker", "-keystore", str(self.folder / "keys.p12"), "-storepass", PASSWORD)
        made = ("-genkeypair", "-keyalg", "EC", "-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1", "-validity", "30")
        for step in (made, ("-exportcert", "-rfc", "-file", str(self.certificate))):
            subprocess.run(["keytool", *step, *key], check=True, capture_output=True, timeout=60)

    def server(self) -> dict[str, str]:
        """Of `server.properties`; only `admin` has rights from the start."""
        made = {}
        if self.users:
            known = " ".join(f'user_{user}="{password}"' for user, password in self.users.items())
            made |= {
                "sasl.enabled.mechanisms": "PLAIN",
                "sasl.mechanism.inter.broker.protocol": "PLAIN",
                f"listener.name.{self.protocol.lower()}.plain.sasl.jaas.config": self._login(known),
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": f"User:{ADMIN};User:ANONYMOUS",  # no login where the broker meets its controller
            }
        if self.tls:
            made |= {"ssl.keystore.location": str(self.folder / "keys.p12"), "ssl.keystore.password": PASSWORD}
            made |= {"ssl.keystore.type": "PKCS12", **self._trust()}
        return made

    def tools(self) -> dict[str, str]:
        """Of Kafka's command line tools."""
        made = {"security.protocol": self.protocol}
        if self.users:
            made |= {"sasl.mechanism": "PLAIN", "sasl.jaas.config": self._login()}
        return made | (self._trust() if self.tls else {})

    def client(self, user: str = ADMIN) -> dict[str, str]:
        """Of librdkafka, beside the address."""
        made = {"security.protocol": self.protocol} if self.users or self.tls else {}
        if self.users:
            made |= {"sasl.mechanism": "PLAIN", "sasl.username": user, "sasl.password": self.users[user]}
        return made | ({"ssl.ca.location": str(self.certificate)} if self.tls else {})

    def _login(self, known: str = "") -> str:
        return f'{MODULE} required username="{ADMIN}" password="{self.users[ADMIN]}" {known};'

    def _trust(self) -> dict[str, str]:
        return {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(self.certificate)}
