"""What the topics of the newest hold."""

from __future__ import annotations

import json
from typing import Any

from connectors.kafka.standing import GONE
from connectors.kafka.wire import Message
from events.codec import rows_to_json
from events.streams import Records, Stream


def newest_message(instrument: str, name: str, stream: Stream, newest: Any) -> Message:
    """What the topic of the newest gets: JSON under `instrument|stream` of a row, under the instrument of a record; null of what
    is no more.

    Args:
        instrument: whose it is.
        name: of the stream.
        stream: what its rows are.
        newest: one row as an array, a record, or GONE.
    """
    headers = [("stream", name.encode())]
    if isinstance(stream, Records):
        key, value = instrument, None if newest is GONE else newest.canonical()
    else:
        key, value = f"{instrument}|{name}", None
        if newest is not GONE:
            told = json.dumps({"instrument": instrument, "stream": name}, separators=(",", ":"), ensure_ascii=False)
            value = f"{told[:-1]},{rows_to_json(stream, newest)[0][1:]}"
    return Message(key.encode(), value if value is None else value.encode(), headers)  # type: ignore[arg-type]
