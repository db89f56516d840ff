"""Segments are rolled and removed beside whoever records and reads, by one process at a time, which ends with its run."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from tape_samples import appends, record, told

from connectors.tape import Keep, Recording
from connectors.tape import remove_old as remove
from connectors.tape import roll_closed as roll
from connectors.tape.locks import looking_after
from connectors.tape.upkeep import Task, Upkeep
from events.errors import RunError


def test_what_is_read_is_rolled_meanwhile_but_not_removed(tmp_path):
    written = appends(9, 8)
    offsets = record(tmp_path, written, segment_bytes=1)
    recording = Recording(tmp_path)
    found = recording.read(0)
    given = [next(found)]
    assert len(roll(tmp_path)) == 7
    assert remove(tmp_path, Keep(total_bytes=0), offsets[-1]) == 0, "somebody reads it"
    given += found
    assert [(after, told(one)) for after, one in given] == list(zip(offsets, map(told, written)))
    del recording, found
    assert remove(tmp_path, Keep(total_bytes=0), offsets[-1]) == offsets[-2]


def test_one_process_at_a_time_looks_after_a_tape(tmp_path):
    offsets = record(tmp_path, appends(9, 3), segment_bytes=1)
    with looking_after(tmp_path):
        with pytest.raises(RunError, match="another process rolls"):
            roll(tmp_path)
        with pytest.raises(RunError, match="another process rolls"):
            remove(tmp_path, Keep(total_bytes=0), offsets[-1])
    assert len(roll(tmp_path)) == 2


def test_the_program_beside_a_run_ends_with_it_and_says_what_is_wrong(tmp_path, capfd):
    record(tmp_path, appends(9, 3), segment_bytes=1)
    upkeep = Upkeep(task := Task(tmp_path))
    assert Task.of(task.arguments()) == task
    kept = replace(task, roll=False, keep_days=0.5, keep_bytes=7, store=tmp_path / "store")
    assert Task.of(kept.arguments()) == kept
    upkeep.start()
    upkeep.start()
    upkeep.stop()
    upkeep.stop()
    damaged = sorted(tmp_path.glob("*.tape"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    program = [sys.executable, "-m", "connectors.tape.upkeep", *task.arguments()]
    reader, writer = os.pipe()
    done = subprocess.run(program, stdin=reader, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    os.close(reader)
    assert done.returncode == 1
    assert done.stderr.startswith(f"tidewax: warning: closed segments of {tmp_path} were not looked after: {tmp_path}")
    assert capfd.readouterr() == ("", "")
