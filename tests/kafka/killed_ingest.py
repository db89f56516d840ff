"""`tidewax ingest` in a process that signals itself when it has come to a place so many times: `SIGNAL WHERE TIMES ...`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from connectors.kafka.delivery import Delivery
from connectors.kafka.partition import KafkaPartition
from connectors.tape import Tape
from flows.__main__ import main

PLACES: dict[str, tuple[type, str]] = {
    "recorded": (Tape, "append"),
    "queued": (Delivery, "send"),
    "sent": (Delivery, "send"),
    "settled": (Delivery, "settle"),
    "snapshot": (KafkaPartition, "snapshot"),
}


def kill_at(how: signal.Signals, where: str, times: int) -> None:
    """Let the process get a signal behind that call of it; `sent`: once the brokers have all of it."""
    kind, name = PLACES[where]
    called: Callable[..., Any] = getattr(kind, name)
    left = times

    def counted(self: Any, *given: Any) -> Any:
        nonlocal left
        out = called(self, *given)
        left -= 1
        if left == 0:
            if where == "sent":
                self._producer.flush(30)
            os.kill(os.getpid(), how)
        return out

    setattr(kind, name, counted)


if __name__ == "__main__":
    kill_at(signal.Signals(int(sys.argv[1])), sys.argv[2], int(sys.argv[3]))
    main(sys.argv[4:])
