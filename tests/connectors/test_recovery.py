"""A kill between the engine's two writes of an epoch leaves snapshots from ahead of the input: they must not come back."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from datetime import timedelta

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulLogic
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, cluster_main, run_main

from connectors.recovery import forget_what_was_not_reached, make_store, resume_epoch, resume_state

ITEMS = 100


class Numbers(FixedPartitionedSource):
    """0 to 99, some a batch, which is an epoch; it raises in front of `crash`."""

    def __init__(self, batch, crash):
        self.batch, self.crash, self.resumed = batch, crash, None

    def list_parts(self):
        return ["numbers"]

    def build_part(self, step_id, for_part, resume_state):
        self.resumed = resume_state
        return Part(self, resume_state or 0)


class Part(StatefulSourcePartition):
    def __init__(self, source, at):
        self.source, self.at = source, at

    def next_batch(self):
        if self.at >= ITEMS:
            raise StopIteration
        if self.at >= self.source.crash:
            raise InterruptedError
        first, self.at = self.at, self.at + self.source.batch
        return [("key", n) for n in range(first, self.at)]

    def snapshot(self):
        return self.at


class Sum(StatefulLogic):
    def __init__(self, total):
        self.total = total or 0

    def on_item(self, value):
        self.total += value
        return [self.total], StatefulLogic.RETAIN

    def snapshot(self):
        return self.total


def resumed_with(store):
    """The state with which the engine resumes the numbers, and which it stores again."""
    flow, source = Dataflow("sums"), Numbers(1, 0)
    op.output("out", op.input("numbers", flow, source), TestingSink([]))
    with suppress(BytewaxRuntimeError):
        run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(store)))
    return source.resumed


def run(store, batch, crash=ITEMS):
    """The sums of 10, 30, 50, 70, 90 that this execution gives; the step that makes them is seldom awake."""
    out, flow = [], Dataflow("sums")
    numbers = op.input("numbers", flow, Numbers(batch, crash))
    rare = op.filter("rare", numbers, lambda item: item[1] % 20 == 10)
    op.output("out", op.stateful("sum", rare, Sum), TestingSink(out))
    with suppress(BytewaxRuntimeError):
        run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(store)))
    return [total for _, total in out]


def killed_between_the_writes(store):
    """As if the last epoch that was completed had not been: its snapshots are there, its frontier is not."""
    with closing(sqlite3.connect(store / "part-0.sqlite3")) as tables, tables:
        tables.execute("UPDATE fronts SET worker_frontier = worker_frontier - 1")


@pytest.mark.parametrize(("forget", "total"), [(True, 250), (False, 290)])
def test_state_from_ahead_of_the_input_does_not_come_back(tmp_path, forget, total):
    """Left there, it does: that is what the engine of this version does, and why the snapshots are deleted."""
    store = tmp_path / "store"
    make_store(store)
    assert run(store, batch=50, crash=50) == [10, 40]  # one epoch: 0 to 49
    killed_between_the_writes(store)
    began = resume_epoch(store)
    assert not forget or forget_what_was_not_reached(store) > 0
    assert run(store, batch=1, crash=5) == []  # five epochs, in none of which the sum is awake
    assert resume_epoch(store) > began
    assert not forget or forget_what_was_not_reached(store) == 0
    assert run(store, batch=1)[-1] == total


def test_what_the_engine_will_resume_a_partition_with_is_known(tmp_path):
    store = tmp_path / "store"
    make_store(store)
    assert resume_state(store, "numbers", "numbers") is None
    for batch, crash in ((10, 30), (1, 34), (50, 84)):
        run(store, batch, crash)
        expected = resume_state(store, "numbers", "numbers")
        assert expected == resumed_with(store) >= crash
    run(store, 1, 90)
    killed_between_the_writes(store)
    expected = resume_state(store, "numbers", "numbers")
    forget_what_was_not_reached(store)
    assert expected == resumed_with(store)
    assert resume_state(store, "numbers", "another") is resume_state(store, "other", "numbers") is None


def test_a_store_that_nobody_ran_on_has_nothing_to_forget(tmp_path):
    make_store(tmp_path / "store")
    assert resume_epoch(tmp_path / "store") is None
    assert forget_what_was_not_reached(tmp_path / "store") == 0


def test_the_slowest_worker_decides(tmp_path):
    store = tmp_path / "store"
    make_store(store)
    flow = Dataflow("idle")
    numbers = op.input("numbers", flow, Numbers(10, ITEMS))
    op.output("out", numbers, TestingSink([]))
    cluster_main(
        flow, [], 0, worker_count_per_proc=2, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(store))
    )
    before = resume_epoch(store)
    with closing(sqlite3.connect(store / "part-0.sqlite3")) as tables, tables:
        tables.execute("UPDATE fronts SET worker_frontier = 3 WHERE worker_index = 1")
    assert before > 3
    assert resume_epoch(store) == 3
