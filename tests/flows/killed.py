"""The command line in a process that kills itself (-9): `killed.py SOON MOST DELAY_S COMMAND...`.

It is killed DELAY_S after it has written SOON rows to the segments, wherever it is then; at the latest amid the write in which
they become MOST. It counts by itself: on no machine, fast or slow, does it come to an end before.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from connectors.segments import sink
from flows.__main__ import main


def kill() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def kill_within(soon: int, most: int, delay_s: float) -> None:
    """Let what writes segments count its rows, and kill the process by them."""
    rows, write_rows, write, finish = (
        0,
        sink.SegmentPartition._write,
        sink._Segment.write,
        sink.SegmentPartition._finish,
    )
    timer = threading.Timer(delay_s, kill)

    def counting(partition, stream, waiting):
        nonlocal rows
        before, rows = rows, rows + sum(len(more) for _, more in waiting)
        if before < soon <= rows:
            timer.start()
        write_rows(partition, stream, waiting)

    def tearing(segment, message):
        if rows >= most:
            write(segment, bytes(message)[: len(message) // 2])
            segment._file.flush()
            kill()
        write(segment, message)

    def finishing(partition):
        finish(partition)
        os.write(2, f"it came to its end after {rows} rows, before {most}\n".encode())
        os._exit(3)

    sink.SegmentPartition._write, sink._Segment.write, sink.SegmentPartition._finish = counting, tearing, finishing


if __name__ == "__main__":
    kill_within(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    main(sys.argv[4:])
