"""The command line in a process that kills itself: `killed.py SIGNAL SOON MOST DELAY_S WITHIN COMMAND...`; as COMMAND
`bytewax.run ...` stands for the engine's own runner.

It gets the signal DELAY_S after it has written SOON rows to segments or to a file of its own, wherever it is then; at the latest
amid the write in which they become MOST. Rows count in run directories whose path has WITHIN in it. It counts by itself: on no
machine, fast or slow, does it come to an end before.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

from connectors.files.writer import RowsFile
from connectors.segments import sink
from flows.__main__ import main


def kill_by_rows(how: signal.Signals, soon: int, most: int, delay_s: float, within: str) -> None:
    """Let what writes rows count them, and signal the process by that; SIGINT and SIGSTOP once."""
    rows, done = 0, threading.Lock()
    write_rows, write, write_file = sink.SegmentPartition._write, sink._Segment.write, RowsFile.write

    def kill():
        if done.acquire(blocking=False):
            os.killpg(os.getpgrp(), how)

    timer = threading.Timer(delay_s, kill)

    def count(more):
        nonlocal rows
        before, rows = rows, rows + more
        if before < soon <= rows:
            timer.start()

    def counting(partition, stream, waiting):
        if within in str(partition._directory):
            count(sum(len(more) for _, more in waiting))
        write_rows(partition, stream, waiting)

    def tearing(segment, message):
        half = len(message) // 2 if rows >= most else 0
        if half:
            write(segment, bytes(message)[:half])
            segment._file.flush()
            kill()
        write(segment, message[half:])

    def counting_file(file, more):
        count(len(more))
        write_file(file, more)
        if rows >= most:
            kill()

    sink.SegmentPartition._write, sink._Segment.write, RowsFile.write = counting, tearing, counting_file


if __name__ == "__main__":
    _how, _soon, _most, _delay_s, _within, *_command = sys.argv[1:]
    kill_by_rows(signal.Signals(int(_how)), int(_soon), int(_most), float(_delay_s), _within)
    if _command[0] == "bytewax.run":
        sys.argv = _command
        runpy.run_module("bytewax.run", run_name="__main__")
    else:
        main(_command)
