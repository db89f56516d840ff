"""1m bars of trades in Kafka by Quix Streams: run as a script by the Python of its own virtual environment.

    python quix_bars.py SERVERS TOPIC TRADES OUT.json FOLDER

It makes open, high, low, close and volume of tumbling windows of a minute of the times of the trades, by key, final ones only, and
writes {"seconds": from the first to the last trade, "bars": [[key, start in ms, open, high, low, close, volume], ...]}.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from quixstreams import Application
from quixstreams.dataframe.windows import First, Last, Max, Min, Sum


def main(servers: str, topic: str, trades: int, target: Path, folder: str) -> None:
    """Make the bars of so many trades."""
    times: list[float] = []
    bars = []

    def note(value: dict) -> dict:
        times.append(time.perf_counter())
        return value

    def look(topic: str, partition: int, offset: int) -> None:
        if offset == trades - 1:
            app.stop()

    app = Application(
        broker_address=servers,
        consumer_group=f"quix-{time.time_ns()}",
        auto_offset_reset="earliest",
        state_dir=folder,
        loglevel="ERROR",
        auto_create_topics=True,
        use_changelog_topics=False,
        on_message_processed=look,
    )
    given = app.topic(
        topic, key_deserializer="str", timestamp_extractor=lambda value, headers, timestamp, kind: value["timestamp"]
    )
    frame = app.dataframe(given).apply(note)
    windows = frame.tumbling_window(60_000).agg(
        open=First("price"), high=Max("price"), low=Min("price"), close=Last("price"), volume=Sum("amount")
    )
    frame = windows.final()
    frame.update(lambda bar, key, timestamp, headers: bars.append((key, bar)), metadata=True)
    app.run()
    rows = [[key, b["start"], b["open"], b["high"], b["low"], b["close"], b["volume"]] for key, b in bars]
    target.write_text(json.dumps({"seconds": times[-1] - times[0], "bars": rows}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])
