"""The upkeep of a tape beside the live run that records it: closed segments are rolled and, after a while, removed.

Rolling takes seconds of a processor, so it is done by a process of its own: `python -m connectors.tape.upkeep`, of low priority,
which ends when the run does. It is begun when a segment is closed, does what there is to do, and ends.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.recovery import resume_state
from connectors.tape.locks import Busy
from connectors.tape.retention import Keep, remove_old, roll_closed
from events.times import DAY_NS

_NICE: Final = 10


@dataclass(frozen=True)
class Task:
    """What is to be done.

    Attributes:
        directory: of the tape.
        roll: whether closed segments are rolled.
        keep_days: segments closed before so many days may go; None: none goes by its age.
        keep_bytes: the oldest go while all together are larger; None: none goes by size.
        store: recovery store of the run; without one nothing is removed, since a restart reads the whole tape.
        step, part: the input step and its partition that stand on the tape in that store.
    """

    directory: Path
    roll: bool = True
    keep_days: float | None = None
    keep_bytes: int | None = None
    store: Path | None = None
    step: str = "live"
    part: str = "live"

    @property
    def removes(self) -> bool:
        """Whether segments are ever removed."""
        return self.store is not None and (self.keep_days is not None or self.keep_bytes is not None)

    def run(self, now_ns: int) -> None:
        """Do it, to what is closed at that time.

        Raises:
            InputError: the tape is damaged.
            RunError: files cannot be written or removed, or another process does it.
        """
        if self.roll:
            roll_closed(self.directory)
        if self.removes:
            newer_than_ns = None if self.keep_days is None else now_ns - round(self.keep_days * DAY_NS)
            remove_old(self.directory, Keep(newer_than_ns, self.keep_bytes), self.floor())

    def floor(self) -> int:
        """The oldest offset that the run may still go on from: 0 until it has stored its first state."""
        state = resume_state(self.store, self.step, self.part) if self.store is not None else None
        return 0 if state is None else int(state[1])

    def arguments(self) -> list[str]:
        """Of the program that does it."""
        given = {"keep-days": self.keep_days, "keep-bytes": self.keep_bytes, "store": self.store}
        options = [f"--{name}={value}" for name, value in given.items() if value is not None]
        return [str(self.directory), f"--step={self.step}", f"--part={self.part}", *options, *["--roll"] * self.roll]

    @staticmethod
    def of(arguments: list[str]) -> Task:
        """The task of these arguments."""
        parser = argparse.ArgumentParser(prog="upkeep", description="Roll closed segments of a tape, remove old ones.")
        parser.add_argument("directory", type=Path)
        parser.add_argument("--roll", action="store_true")
        parser.add_argument("--keep-days", type=float)
        parser.add_argument("--keep-bytes", type=int)
        parser.add_argument("--store", type=Path)
        parser.add_argument("--step", default=Task.step)
        parser.add_argument("--part", default=Task.part)
        return Task(**vars(parser.parse_args(arguments)))


class Upkeep:
    """Does a task in a process of its own, whenever it is told that there may be something to do; one at a time.

    A failure there is a warning on standard error and no more: the tape grows, the run goes on.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, if there is something to be done and it is not under way."""
        if not (self.task.roll or self.task.removes) or self._running():
            return
        line = [sys.executable, "-m", __name__, *self.task.arguments()]
        try:  # in a group of its own, so that Ctrl-C is the run's alone
            self._process = subprocess.Popen(line, stdin=subprocess.PIPE, process_group=0)
        except OSError as error:
            _warn(self.task.directory, error)

    def stop(self) -> None:
        """End it; what was not finished is done at the next start."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _running(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            self.stop()
        return self._process is not None


def _warn(directory: Path, error: BaseException) -> None:
    said = f"tidewax: warning: closed segments of {directory} were not looked after: {error}\n"
    os.write(sys.stderr.fileno(), said.encode())  # at once and whole, as other processes write there


def _end_with_parent() -> None:
    """End this process when its standard input does: that is closed by the process that began it, or by its end."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(0)  # at any moment: a roll that was cut short is done again


def _main(arguments: list[str]) -> int:
    os.nice(_NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    task = Task.of(arguments)
    try:
        task.run(time.time_ns())
    except Busy:
        return 0
    except Exception as error:  # whatever it is, it concerns the tape's upkeep alone
        _warn(task.directory, error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
